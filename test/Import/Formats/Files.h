// Bytes of small model files, and folders to put them in.
#ifndef DS_TEST_IMPORT_FORMATS_FILES_H
#define DS_TEST_IMPORT_FORMATS_FILES_H

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

inline std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A folder that goes with the test.
struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/ds-formats-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  void write(const std::string &name, const std::string &bytes) const {
    std::filesystem::create_directories(std::filesystem::path(path + "/" + name).parent_path());
    std::ofstream(path + "/" + name, std::ios::binary) << bytes;
  }
};

template <typename T> std::string raw(T value) { return std::string(reinterpret_cast<const char *>(&value), sizeof(value)); }

inline std::string safetensors(const std::string &header, size_t dataBytes) {
  return raw<uint64_t>(header.size()) + header + std::string(dataBytes, '\0');
}

#endif // DS_TEST_IMPORT_FORMATS_FILES_H
