// Whether what a tool printed got out.
#ifndef TOOLS_PROFILING_PRINTED_H
#define TOOLS_PROFILING_PRINTED_H

#include <cerrno>
#include <cstdio>
#include <cstring>

/// The exit code of a tool called `name` that ended with `code`: 73 (cannot write), with a message, where it was 0 and standard output
/// did not take all that was printed.
inline int afterPrinting(const char *name, int code) {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  if (code != 0 || (flushed && std::ferror(stdout) == 0))
    return code;
  std::fprintf(stderr, "%s: cannot write: standard output%s%s\n", name, errno ? ": " : "", errno ? std::strerror(errno) : "");
  return 73;
}

#endif // TOOLS_PROFILING_PRINTED_H
