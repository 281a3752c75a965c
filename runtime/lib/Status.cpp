// The message of the last failure, one for each thread.
#include "runtime/lib/Status.h"

namespace {
thread_local std::string lastError;
}

dsrt_status dsrt::report(const Status &status) {
  if (!status.ok())
    lastError = status.message();
  return status.code();
}

extern "C" const char *dsrt_last_error(void) { return lastError.c_str(); }
