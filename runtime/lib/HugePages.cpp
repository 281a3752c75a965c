// Formats: proc(5) (meminfo, self/cgroup), Documentation/admin-guide/mm/transhuge.rst and cgroup-v2.rst (memory.max) of the kernel.
#include "runtime/lib/HugePages.h"
#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <sys/mman.h>

using namespace dsrt;

static constexpr int64_t hugePage = 2 << 20;
/// Moved at once: few calls, and little memory beside what is moved.
static constexpr int64_t pieceBytes = 8 * hugePage;

int64_t dsrt::moveToHugePages(uint8_t *data, int64_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  const int64_t skipped = static_cast<int64_t>((hugePage - address % hugePage) % hugePage);
  data += skipped;
  bytes = (bytes - skipped) / hugePage * hugePage;
  if (bytes <= 0 || !memoryForHugePages(bytes))
    return 0;
  int64_t moved = 0;
  while (moved < bytes) {
    const int64_t size = std::min(pieceBytes, bytes - moved);
    void *block = mmap(nullptr, size + hugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
      return moved;
    auto *begin = static_cast<uint8_t *>(block), *aligned = begin + (hugePage - reinterpret_cast<uintptr_t>(begin) % hugePage) % hugePage;
    bool placed = madvise(aligned, size, MADV_HUGEPAGE) == 0;
    if (placed) {
      std::memcpy(aligned, data + moved, size);
      mprotect(aligned, size, PROT_READ);
      placed = mremap(aligned, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, data + moved) != MAP_FAILED;
    }
    if (!placed) {
      munmap(block, size + hugePage);
      return moved;
    }
    if (aligned > begin)
      munmap(begin, aligned - begin);
    if (begin + hugePage > aligned)
      munmap(aligned + size, begin + hugePage - aligned);
    moved += size;
  }
  return moved;
}

static std::string textOf(const std::string &path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The number at the start of `text`, or `otherwise` ("max", nothing).
static int64_t numberOf(std::string_view text, int64_t otherwise) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
    text.remove_prefix(1);
  int64_t number = otherwise;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() ? number : otherwise;
}

bool dsrt::memoryForHugePages(int64_t bytes, const std::string &root, const std::string &proc, const std::string &sys) {
  std::string enabled = textOf(sys + "/kernel/mm/transparent_hugepage/enabled");
  if (enabled.find('[') == std::string::npos || enabled.find("[never]") != std::string::npos)
    return false;
  std::string memory = textOf(proc + "/meminfo");
  size_t available = memory.find("MemAvailable:");
  if (available == std::string::npos || numberOf(std::string_view(memory).substr(available + 13), 0) * 1024 / 2 < bytes)
    return false;
  // A group's usage counts the file pages that are read now; to be safe they are not taken as free.
  auto fits = [&](const std::string &folder, const char *limit, const char *usage) {
    int64_t most = numberOf(textOf(folder + limit), INT64_MAX);
    return most == INT64_MAX || most - numberOf(textOf(folder + usage), 0) > bytes;
  };
  std::istringstream groups(textOf(proc + "/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    size_t first = line.find(':'), second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos)
      continue;
    const bool unified = line.substr(0, 2) == "0:";
    if (!unified && line.find("memory") > second)
      continue;
    const std::string mount = unified ? root : root + "/memory";
    for (std::string group = line.substr(second + 1);; group.resize(group.find_last_of('/'))) {
      while (!group.empty() && group.back() == '/')
        group.pop_back();
      if (!fits(mount + group, unified ? "/memory.max" : "/memory.limit_in_bytes", unified ? "/memory.current" : "/memory.usage_in_bytes"))
        return false;
      if (group.find('/') == std::string::npos)
        break;
    }
  }
  return true;
}
