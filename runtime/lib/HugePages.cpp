// Formats: proc(5) (meminfo, self/cgroup), Documentation/admin-guide/mm/transhuge.rst and cgroup-v2.rst (memory.max) of the kernel.
#include "runtime/lib/HugePages.h"
#include "runtime/lib/Cgroup.h"
#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <string_view>
#include <sys/mman.h>

using namespace dsrt;

static constexpr int64_t hugePage = 2 << 20;
/// Moved at once: few calls, and little memory beside what is moved.
static constexpr int64_t pieceBytes = 8 * hugePage;

/// Moves `size` bytes from `data` on, both multiples of a huge page. False where the system refuses.
static bool movePiece(uint8_t *data, int64_t size) {
  void *block = mmap(nullptr, size + hugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED)
    return false;
  auto *begin = static_cast<uint8_t *>(block), *aligned = begin + (hugePage - reinterpret_cast<uintptr_t>(begin) % hugePage) % hugePage;
  bool placed = madvise(aligned, size, MADV_HUGEPAGE) == 0;
  if (placed) {
    std::memcpy(aligned, data, size);
    mprotect(aligned, size, PROT_READ);
    placed = mremap(aligned, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, data) != MAP_FAILED;
  }
  if (!placed) {
    munmap(block, size + hugePage);
    return false;
  }
  if (aligned > begin)
    munmap(begin, aligned - begin);
  if (begin + hugePage > aligned)
    munmap(aligned + size, begin + hugePage - aligned);
  return true;
}

int32_t dsrt::readerOf(const std::vector<MatrixRange> &matrices, int64_t place, int32_t threads) {
  auto behind = std::upper_bound(matrices.begin(), matrices.end(), place, [](int64_t at, const MatrixRange &m) { return at < m.begin; });
  if (behind == matrices.begin() || place >= std::prev(behind)->end)
    return 0;
  const MatrixRange &matrix = *std::prev(behind);
  return static_cast<int32_t>(static_cast<double>(place - matrix.begin) / static_cast<double>(matrix.end - matrix.begin) * threads);
}

int64_t dsrt::moveToHugePages(uint8_t *data, int64_t bytes, const std::vector<MatrixRange> &matrices, WorkerPool &pool) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  const int64_t skipped = static_cast<int64_t>((hugePage - address % hugePage) % hugePage);
  const int64_t end = skipped + (bytes - skipped) / hugePage * hugePage;
  if (end <= skipped || !memoryForHugePages(end - skipped))
    return 0;
  std::atomic<int64_t> moved = 0;
  pool.run([&](int32_t worker) {
    auto isOwn = [&](int64_t page) { return readerOf(matrices, page + hugePage / 2, pool.size()) == worker; };
    int64_t begin = skipped;
    while (begin < end) {
      int64_t size = 0;
      while (begin + size < end && size < pieceBytes && isOwn(begin + size))
        size += hugePage;
      if (size > 0 && !movePiece(data + begin, size))
        return;
      moved += size;
      begin += std::max(size, hugePage);
    }
  });
  return moved;
}

bool dsrt::memoryForHugePages(int64_t bytes, const std::string &root, const std::string &proc, const std::string &sys) {
  auto numberIn = [](std::string_view text) { return takeNumber(text); };
  std::string enabled = readSmallFile(sys + "/kernel/mm/transparent_hugepage/enabled");
  if (enabled.find('[') == std::string::npos || enabled.find("[never]") != std::string::npos)
    return false;
  std::string memory = readSmallFile(proc + "/meminfo");
  size_t available = memory.find("MemAvailable:");
  if (available == std::string::npos || numberIn(std::string_view(memory).substr(available + 13)) * 1024 / 2 < bytes)
    return false;
  bool fits = true;
  forEachCgroup(readSmallFile(proc + "/self/cgroup"), root, "memory", [&](const std::string &folder, bool unified) {
    const int64_t most = numberIn(readSmallFile(folder + (unified ? "/memory.max" : "/memory.limit_in_bytes")));
    const int64_t used = numberIn(readSmallFile(folder + (unified ? "/memory.current" : "/memory.usage_in_bytes")));
    // A group's usage counts the file pages that are read now; to be safe they are not taken as free.
    fits = fits && (most < 0 || most - std::max<int64_t>(used, 0) > bytes);
  });
  return fits;
}
