// A device that is no device: the kernels of a package, compiled for the processor, in the emulator.
#ifndef DSRT_LIB_EMULATEDDEVICE_H
#define DSRT_LIB_EMULATEDDEVICE_H

#include "runtime/lib/Device.h"

namespace dsrt {

/// DS_EMULATE_CHECK and DS_EMULATE_SEED choose what is looked for and in which order threads run (Emulator.h). A launch runs to its end
/// when it is asked for. Fails with invalid argument (the environment) and out of memory.
Status makeEmulatedDevice(std::unique_ptr<Device> &device);

} // namespace dsrt
#endif // DSRT_LIB_EMULATEDDEVICE_H
