// Writes packages around the fake programs into a temporary folder.
#ifndef DS_TEST_RUNTIME_FAKEPACKAGE_H
#define DS_TEST_RUNTIME_FAKEPACKAGE_H

#include "FakeModel.h"
#include "dsrt/dsrt.h"
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace fake {

/// A new folder beside other temporary ones; who makes it removes it.
std::filesystem::path temporaryFolder();

/// A package that is removed at the end. `manifest` is the text in the folder; rewrite() stores a changed one with its hash.
class Package {
public:
  enum Kind { decoder, encoder };
  explicit Package(Kind kind, const std::string &rule = "arange", int offset = 0);
  ~Package();
  Package(const Package &) = delete;

  std::string path() const { return folder.string(); }
  std::string file(const std::string &name) const { return (folder / name).string(); }
  /// Stores `text` as manifest.json and its hash beside it.
  void rewrite(const std::string &text);
  /// Replaces the first `from` of the manifest, which must be there, and stores it.
  void replace(const std::string &from, const std::string &to);
  /// Adds what a device runs to a decoder: modules of the given architectures ("emulate" for the emulator's), whose content is their name,
  /// and launches.json with `text`. Then `keepCpu` false takes the CPU's code out.
  void addLaunches(const std::vector<std::string> &archs = {"sm_90a", "compute_80"}, bool keepCpu = false, std::string text = "");
  std::string manifest;

private:
  std::filesystem::path folder;
};

std::string readFile(const std::string &path);
void writeFile(const std::string &path, const std::string &content);

/// A loaded model that is freed at the end. `status` says how loading went.
class Loaded {
public:
  explicit Loaded(const std::string &path, int threads = 1, const char *isa = nullptr, const char *device = nullptr);
  ~Loaded() { dsrt_free(model); }
  Loaded(const Loaded &) = delete;
  dsrt_model *model = nullptr;
  dsrt_status status;
};

/// launches.json of the toy decoder: its kernels are in FakeCuda.cpp. With `isSampled` it chooses tokens on the device.
std::string launchesText(const std::vector<std::string> &archs = {"sm_90a", "compute_80"}, bool isSampled = false);

/// The same with a product of cuBLASLt before all else in steps of two tokens and more, for what has it; else a kernel of the package.
std::string libraryLaunchesText();

/// A batch over vectors that must outlive it.
dsrt_batch batchOf(int32_t rows, const std::vector<int32_t> &ids, const std::vector<int32_t> *mask = nullptr);

/// The logits of the toy causal model after tokens at positions.
std::vector<float> expectedLogits(const std::vector<int32_t> &ids, const std::vector<int32_t> &positions);
/// Greedy continuation of a prompt whose positions count from `offset`.
std::vector<int32_t> expectedGreedy(std::vector<int32_t> ids, int count, int offset = 0);

} // namespace fake
#endif // DS_TEST_RUNTIME_FAKEPACKAGE_H
