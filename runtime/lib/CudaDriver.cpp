#include "runtime/lib/CudaDriver.h"
#include <cstdlib>
#include <dlfcn.h>

using namespace dsrt;
using namespace dsrt::cuda;

std::string Driver::describe(Result result) const {
  const char *name = nullptr, *text = nullptr;
  if (getErrorName(result, &name) != success || !name)
    return concat("CUDA error ", result);
  if (getErrorString(result, &text) != success || !text)
    return name;
  return concat(name, " (", text, ")");
}

/// One line, as the loader's message may have several.
static std::string loaderError() {
  const char *text = dlerror();
  std::string line = text ? text : "no reason given";
  for (char &byte : line)
    if (byte == '\n')
      byte = ' ';
  return line;
}

Status Driver::open(Driver &driver) {
  driver = Driver();
  const char *library = std::getenv("DS_CUDA_LIBRARY");
  if (!library || !*library)
    library = "libcuda.so.1";
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return Status::unavailable("no NVIDIA driver: ", loaderError());
  const char *missing = nullptr;
#define DSRT_CUDA_FIND(member, name, parameters) driver.member = reinterpret_cast<Result(*) parameters>(dlsym(handle, name));
#define DSRT_CUDA_REQUIRE(member, name, parameters)                                                                                        \
  DSRT_CUDA_FIND(member, name, parameters)                                                                                                 \
  if (!driver.member && !missing)                                                                                                          \
    missing = name;
  DSRT_CUDA_FUNCTIONS(DSRT_CUDA_REQUIRE)
  DSRT_CUDA_OPTIONAL_FUNCTIONS(DSRT_CUDA_FIND)
#undef DSRT_CUDA_REQUIRE
#undef DSRT_CUDA_FIND
  std::string needed = concat("; a driver for CUDA ", oldestVersion / 1000, ".", oldestVersion % 1000 / 10, " or later is needed");
  if (driver.driverGetVersion)
    driver.driverGetVersion(&driver.version);
  if (missing)
    return Status::unavailable("the NVIDIA driver", driver.version ? " for CUDA " + driver.versionText() : std::string(), " (", library,
                               ") has no ", missing, needed);
  if (Result result = driver.init(0); result != success)
    return result == noDevice ? Status::unavailable("no NVIDIA GPU: cuInit: ", driver.describe(result))
                              : Status::unavailable("the NVIDIA driver does not start: cuInit: ", driver.describe(result));
  return Status();
}
