// Copies between this process and a GPU through two pinned buffers, one of which is filled while the other is on its way.
#ifndef DSRT_LIB_CUDASTAGING_H
#define DSRT_LIB_CUDASTAGING_H

#include "runtime/lib/CudaDriver.h"

namespace dsrt {

class CudaDevice;

class CudaStaging {
public:
  explicit CudaStaging(CudaDevice &device) : device(device) {}
  CudaStaging(const CudaStaging &) = delete;
  CudaStaging &operator=(const CudaStaging &) = delete;

  Status upload(uint64_t to, const uint8_t *from, int64_t bytes);
  Status download(uint8_t *to, uint64_t from, int64_t bytes);
  /// Gives the buffers back; nothing may be on its way.
  void free();

private:
  struct Buffer {
    uint8_t *data = nullptr;
    cuda::Event event = nullptr; // behind the last copy
    bool isBusy = false;
  };
  Status prepare(int64_t bytes);
  Status next(Buffer *&buffer);

  CudaDevice &device;
  Buffer buffers[2];
  int64_t bufferBytes = 0;
  int turn = 0;
};

} // namespace dsrt
#endif // DSRT_LIB_CUDASTAGING_H
