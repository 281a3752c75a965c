#include "runtime/lib/DeviceName.h"
#include <charconv>
#include <cstdlib>

using namespace dsrt;

std::string DeviceName::text() const {
  switch (kind) {
  case DeviceKind::cpu:
    return "cpu";
  case DeviceKind::cuda:
    return concat("cuda:", index);
  case DeviceKind::emulate:
    return "emulate";
  case DeviceKind::automatic:
    break;
  }
  return "automatic";
}

static bool parse(std::string_view name, DeviceName &device) {
  device = DeviceName();
  device.kind = name == "cpu" ? DeviceKind::cpu : name == "emulate" ? DeviceKind::emulate : DeviceKind::cuda;
  if (name == "cpu" || name == "emulate" || name == "cuda")
    return true;
  if (name.substr(0, 5) != "cuda:")
    return false;
  const char *begin = name.data() + 5, *end = name.data() + name.size();
  auto [last, error] = std::from_chars(begin, end, device.index);
  return error == std::errc() && last == end && *begin != '-';
}

Status dsrt::chooseDevice(const char *name, DeviceName &device) {
  device = DeviceName();
  const char *source = "device";
  if (!name || !*name) {
    name = std::getenv("DS_DEVICE");
    source = "DS_DEVICE";
  }
  if (!name || !*name || parse(name, device))
    return Status();
  return Status::invalidArgument(source, ": expects cpu, cuda, cuda:N or emulate, got ", inQuotes(name));
}
