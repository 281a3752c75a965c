#include "runtime/lib/CudaStaging.h"
#include "runtime/lib/CudaDevice.h"
#include <algorithm>
#include <cstring>
#include <sys/mman.h>

using namespace dsrt;
using namespace dsrt::cuda;

namespace {
constexpr int64_t bytesLeast = 1 << 20, bytesMost = 32 << 20;

/// Maps pages of a file at once in place of a fault for every few.
void touch([[maybe_unused]] const uint8_t *from, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_POPULATE_READ
  constexpr uintptr_t page = 4096;
  auto begin = (reinterpret_cast<uintptr_t>(from) + page - 1) / page * page,
       end = (reinterpret_cast<uintptr_t>(from) + bytes) / page * page;
  if (bytes >= bytesLeast && end > begin)
    madvise(reinterpret_cast<void *>(begin), end - begin, MADV_POPULATE_READ); // advice: copying works without
#endif
}
} // namespace

/// Buffers large enough for `bytes`, or as large as they get.
Status CudaStaging::prepare(int64_t bytes) {
  int64_t wanted = std::clamp(bytes, bytesLeast, bytesMost);
  if (wanted <= bufferBytes)
    return Status();
  for (Buffer &buffer : buffers)
    if (buffer.isBusy)
      DSRT_TRY(device.waitFor(buffer.event));
  free();
  for (Buffer &buffer : buffers) {
    void *data = nullptr;
    Result result = device.driver.memoryHostAllocate(&data, wanted, 0);
    if (result == cuda::outOfMemory)
      return Status::outOfMemory(device.text(), ": ", wanted, " bytes of pinned memory");
    DSRT_TRY(device.check(result, "cuMemHostAlloc"));
    buffer.data = static_cast<uint8_t *>(data);
    DSRT_TRY(device.check(device.driver.eventCreate(&buffer.event, eventWithoutTime), "cuEventCreate"));
  }
  bufferBytes = wanted;
  return Status();
}

void CudaStaging::free() {
  for (Buffer &buffer : buffers) {
    if (buffer.event)
      device.driver.eventDestroy(buffer.event);
    if (buffer.data)
      device.driver.memoryHostFree(buffer.data);
    buffer = Buffer();
  }
  bufferBytes = 0;
}

/// The buffer whose turn it is, once its last copy is done.
Status CudaStaging::next(Buffer *&buffer) {
  buffer = &buffers[turn];
  turn = 1 - turn;
  if (buffer->isBusy)
    DSRT_TRY(device.waitFor(buffer->event));
  buffer->isBusy = false;
  return Status();
}

Status CudaStaging::upload(uint64_t to, const uint8_t *from, int64_t bytes) {
  DSRT_TRY(prepare(bytes));
  for (int64_t done = 0; done < bytes;) {
    int64_t part = std::min(bytes - done, bufferBytes);
    Buffer *buffer = nullptr;
    DSRT_TRY(next(buffer));
    touch(from + done, part);
    std::memcpy(buffer->data, from + done, part);
    DSRT_TRY(device.check(device.driver.copyToDevice(to + done, buffer->data, part, device.stream), "cuMemcpyHtoDAsync"));
    DSRT_TRY(device.check(device.driver.eventRecord(buffer->event, device.stream), "cuEventRecord"));
    buffer->isBusy = true;
    done += part;
  }
  if (bytes <= bytesMost)
    return Status();
  // What a step needs is small: the large buffers of the weights go back.
  DSRT_TRY(device.synchronize());
  free();
  return Status();
}

Status CudaStaging::download(uint8_t *to, uint64_t from, int64_t bytes) {
  DSRT_TRY(prepare(bytes));
  Buffer *arriving = nullptr;
  int64_t arrivingBytes = 0, arrived = 0;
  auto take = [&] {
    DSRT_TRY(device.waitFor(arriving->event));
    arriving->isBusy = false;
    std::memcpy(to + arrived, arriving->data, arrivingBytes);
    arrived += arrivingBytes;
    return Status();
  };
  for (int64_t asked = 0; asked < bytes;) {
    int64_t part = std::min(bytes - asked, bufferBytes);
    Buffer *buffer = nullptr;
    DSRT_TRY(next(buffer));
    DSRT_TRY(device.check(device.driver.copyFromDevice(buffer->data, from + asked, part, device.stream), "cuMemcpyDtoHAsync"));
    DSRT_TRY(device.check(device.driver.eventRecord(buffer->event, device.stream), "cuEventRecord"));
    buffer->isBusy = true;
    asked += part;
    if (arriving)
      DSRT_TRY(take());
    arriving = buffer;
    arrivingBytes = part;
  }
  return arriving ? take() : Status();
}
