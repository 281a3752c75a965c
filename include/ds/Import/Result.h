// A value or one line of error. Needs neither MLIR nor exceptions, so that file formats can be built and fuzzed alone.
#ifndef DS_IMPORT_RESULT_H
#define DS_IMPORT_RESULT_H

#include <optional>
#include <string>
#include <utility>

namespace ds {

/// The exit code a tool ends with.
enum class ErrorCode { Usage = 2, BadData = 65, Missing = 66, Unavailable = 69, Internal = 70, CannotWrite = 73 };

/// One line: file, place, expected, found.
struct Error {
  ErrorCode code;
  std::string message;

  static Error usage(std::string message) { return make(ErrorCode::Usage, std::move(message)); }
  static Error badData(std::string message) { return make(ErrorCode::BadData, std::move(message)); }
  static Error missing(std::string message) { return make(ErrorCode::Missing, std::move(message)); }
  static Error unavailable(std::string message) { return make(ErrorCode::Unavailable, std::move(message)); }
  static Error internal(std::string message) { return make(ErrorCode::Internal, std::move(message)); }
  static Error cannotWrite(std::string message) { return make(ErrorCode::CannotWrite, std::move(message)); }

private:
  /// Names come from untrusted files: what would break the line or drive a terminal is shown as '?'.
  static Error make(ErrorCode code, std::string message) {
    for (char &c : message)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        c = '?';
    return {code, std::move(message)};
  }
};

/// A value, or why there is none. `error()` may be asked only of a failure, `*` only of a success.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : held(std::move(value)) {}
  Result(Error error) : failure(std::move(error)) {}

  explicit operator bool() const { return held.has_value(); }
  T &operator*() { return *held; }
  const T &operator*() const { return *held; }
  T *operator->() { return &*held; }
  const T *operator->() const { return &*held; }
  const Error &error() const { return *failure; }

private:
  std::optional<T> held;
  std::optional<Error> failure;
};

template <> class [[nodiscard]] Result<void> {
public:
  Result() = default;
  Result(Error error) : failure(std::move(error)) {}

  explicit operator bool() const { return !failure.has_value(); }
  const Error &error() const { return *failure; }

private:
  std::optional<Error> failure;
};

} // namespace ds
#endif // DS_IMPORT_RESULT_H
