"""Real small packages on the device: their answers are those of the CPU."""

import pathlib

from . import expected


def run(settings, name, emit):
    """Compare one package, with the launches one by one and as graphs where the library has both."""
    folder = pathlib.Path(settings.packages) / name
    return expected.compare(folder, folder / expected.FOLDER, settings.device, settings.library)
