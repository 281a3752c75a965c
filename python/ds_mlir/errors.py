"""What goes wrong, as exceptions. The text is the line that the tools print, the code their exit status."""


class Error(Exception):
    """Base of all errors of this package."""

    code = 70


class InvalidArgument(Error, ValueError):
    """The caller's mistake: nothing ran."""

    code = 2


class BadData(Error, ValueError):
    """A file is not what it should be."""

    code = 65


class Missing(Error, FileNotFoundError):
    """A file or folder is not there."""

    code = 66


class Unavailable(Error, RuntimeError):
    """This machine lacks something, such as a CPU level."""

    code = 69


class Internal(Error, RuntimeError):
    """A mistake of the compiler or the runtime."""

    code = 70


class CannotWrite(Error, OSError):
    """The output cannot be written."""

    code = 73


_BY_CODE = {kind.code: kind for kind in (InvalidArgument, BadData, Missing, Unavailable, Internal, CannotWrite)}


def raise_for(code: int, message: str) -> None:
    """Raise the exception of an exit status."""
    raise _BY_CODE.get(code, Internal)(message)
