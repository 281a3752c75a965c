#include "ds/Import/SafeOpen.h"
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace ds;

MappedFile::MappedFile(MappedFile &&other) noexcept { *this = std::move(other); }

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(bytes, other.bytes);
  std::swap(length, other.length);
  std::swap(name, other.name);
  return *this;
}

MappedFile::~MappedFile() {
  if (bytes)
    munmap(const_cast<uint8_t *>(bytes), length);
}

Result<MappedFile> MappedFile::map(int file, const std::string &path) {
  struct stat status;
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(file);
    return Error::badData("'" + path + "': expects a regular file, found something else");
  }
  MappedFile mapped;
  mapped.name = path;
  if (status.st_size > 0) {
    void *address = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
    if (address == MAP_FAILED) {
      int error = errno;
      close(file);
      return Error::missing("'" + path + "': cannot map: " + std::strerror(error));
    }
    mapped.bytes = static_cast<const uint8_t *>(address);
    mapped.length = static_cast<size_t>(status.st_size);
  }
  close(file);
  return mapped;
}

Result<MappedFile> MappedFile::open(const std::string &path) {
  // Without O_NONBLOCK a named pipe would make us wait for a writer.
  int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0)
    return Error::missing("'" + path + "': cannot open: " + std::strerror(errno));
  return map(file, path);
}

/// The file that a path is in the end, "" when there is none.
static std::string resolved(const std::string &path) {
  char *real = realpath(path.c_str(), nullptr);
  std::string result = real ? real : "";
  std::free(real);
  return result;
}

static bool isBeneath(const std::string &path, const std::string &folder) {
  return path.size() > folder.size() && path.compare(0, folder.size(), folder) == 0 && (folder == "/" || path[folder.size()] == '/');
}

/// Why `name` is not the name of a file in a model's folder, or "".
static const char *refuseName(const std::string &name) {
  if (name.empty() || name.find('\0') != std::string::npos)
    return "a file name";
  if (name[0] == '/')
    return "a relative name";
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = std::min(name.find('/', begin), name.size());
    if (name.compare(begin, end - begin, "..") == 0)
      return "a name without '..'";
    begin = end + 1;
  }
  return nullptr;
}

Result<MappedFile> MappedFile::openBeneath(const std::string &folder, const std::string &name) {
  if (const char *expected = refuseName(name))
    return Error::badData("'" + folder + "': expects " + expected + ", found '" + name + "'");
  std::string path = folder + "/" + name, root = resolved(folder), target = resolved(path);
  if (root.empty() || target.empty())
    return Error::missing("'" + path + "': " + std::strerror(ENOENT));
  // A cache of Hugging Face has models--x/snapshots/<commit>/ as the folder, and its files in models--x/blobs/.
  std::string blobs = resolved(root + "/../../blobs");
  bool inCache = !blobs.empty() && isBeneath(target, blobs) && resolved(root + "/..").ends_with("/snapshots");
  if (!isBeneath(target, root) && !inCache)
    return Error::badData("'" + path + "': expects a file in the model's folder, found a link that leaves it");
  // `target` has no links left; one that appears in between is refused by O_NOFOLLOW at least at the end of the path.
  int file = ::open(target.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (file < 0)
    return Error::missing("'" + path + "': cannot open: " + std::strerror(errno));
  return map(file, path);
}

bool ds::existsBeneath(const std::string &folder, const std::string &name) {
  struct stat status;
  return lstat((folder + "/" + name).c_str(), &status) == 0;
}

Result<std::string> ds::readBeneath(const std::string &folder, const std::string &name, size_t limit) {
  Result<MappedFile> file = MappedFile::openBeneath(folder, name);
  if (!file)
    return file.error();
  if (file->size() > limit)
    return Error::badData("'" + file->path() + "': expects at most " + std::to_string(limit) + " bytes, found " +
                          std::to_string(file->size()));
  return std::string(reinterpret_cast<const char *>(file->data()), file->size());
}
