// How functions of the runtime fail: a code of the C API and one line that opens with the code's class.
#ifndef DSRT_LIB_STATUS_H
#define DSRT_LIB_STATUS_H

#include "dsrt/dsrt.h"
#include <string>
#include <string_view>
#include <type_traits>

namespace dsrt {

inline void appendText(std::string &line, std::string_view text) { line += text; }
template <typename Number, std::enable_if_t<std::is_arithmetic_v<Number>, int> = 0> void appendText(std::string &line, Number number) {
  line += std::to_string(number);
}

/// Joins strings and numbers.
template <typename... Parts> std::string concat(const Parts &...parts) {
  std::string line;
  (appendText(line, parts), ...);
  return line;
}

/// Text from outside, in quotes: control characters escaped, cut after 80 bytes, so that a message stays one line.
std::string inQuotes(std::string_view text);

class [[nodiscard]] Status {
public:
  Status() = default;
  bool ok() const { return statusCode == DSRT_OK; }
  dsrt_status code() const { return statusCode; }
  const std::string &message() const { return line; }

  template <typename... Parts> static Status invalidArgument(const Parts &...parts) {
    return {DSRT_INVALID_ARGUMENT, concat("invalid argument: ", parts...)};
  }
  template <typename... Parts> static Status badData(const Parts &...parts) { return {DSRT_BAD_DATA, concat("bad data: ", parts...)}; }
  template <typename... Parts> static Status missing(const Parts &...parts) { return {DSRT_MISSING, concat("missing: ", parts...)}; }
  template <typename... Parts> static Status unavailable(const Parts &...parts) {
    return {DSRT_UNAVAILABLE, concat("unavailable: ", parts...)};
  }
  template <typename... Parts> static Status outOfMemory(const Parts &...parts) {
    return {DSRT_UNAVAILABLE, concat("out of memory: ", parts...)};
  }
  template <typename... Parts> static Status cannotWrite(const Parts &...parts) {
    return {DSRT_CANNOT_WRITE, concat("cannot write: ", parts...)};
  }
  template <typename... Parts> static Status internal(const Parts &...parts) { return {DSRT_INTERNAL, concat("internal: ", parts...)}; }

private:
  Status(dsrt_status code, std::string line) : statusCode(code), line(std::move(line)) {}
  dsrt_status statusCode = DSRT_OK;
  std::string line;
};

/// Keeps the message of a failed status for dsrt_last_error() of this thread; returns its code.
dsrt_status report(const Status &status);

} // namespace dsrt

#define DSRT_TRY(expression)                                                                                                               \
  do {                                                                                                                                     \
    if (::dsrt::Status tried = (expression); !tried.ok())                                                                                  \
      return tried;                                                                                                                        \
  } while (false)

#endif // DSRT_LIB_STATUS_H
