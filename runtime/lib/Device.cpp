// What a device that neither records nor has a clock of its own does.
#include "runtime/lib/Device.h"
#include <ctime>

using namespace dsrt;

Recording::~Recording() = default;
Device::~Device() = default;

Status Device::beginRecording() { return Status::internal("this device does not record"); }
Status Device::endRecording(std::unique_ptr<Recording> &) { return Status::internal("this device does not record"); }
Status Device::replay(const Recording &) { return Status::internal("this device does not record"); }

Status Device::openLibrary(std::string &why, int64_t &bytes) {
  why = "this device has none";
  bytes = 0;
  return Status();
}
Status Device::prepareProduct(const GpuProduct &) { return Status(); }
Status Device::multiply(const GpuProduct &) { return Status::internal("this device has no library of products"); }

Status Device::stamp() {
  DSRT_TRY(synchronize());
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  stamped.push_back(time.tv_sec * 1'000'000'000LL + time.tv_nsec);
  return Status();
}

Status Device::stamps(std::vector<int64_t> &ns) {
  ns.clear();
  for (int64_t time : stamped)
    ns.push_back(time - stamped.front());
  stamped.clear();
  return Status();
}
