// What a model runs on: "cpu", "cuda", "cuda:1", "emulate".
#ifndef DSRT_LIB_DEVICENAME_H
#define DSRT_LIB_DEVICENAME_H

#include "runtime/lib/Status.h"
#include <cstdint>

namespace dsrt {

/// `automatic` becomes cpu or cuda:0, by what the package has.
enum class DeviceKind { automatic, cpu, cuda, emulate };

struct DeviceName {
  DeviceKind kind = DeviceKind::automatic;
  int32_t index = 0; // of cuda
  std::string text() const;
};

/// The device to use: `name`, else the environment's DS_DEVICE, else automatic. Fails with invalid argument for another name.
Status chooseDevice(const char *name, DeviceName &device);

} // namespace dsrt
#endif // DSRT_LIB_DEVICENAME_H
