#include "ds/Import/Safetensors.h"
#include "Files.h"
#include <gtest/gtest.h>

static bool parses(const std::string &bytes) {
  // A copy of its own size on the heap, so that a sanitizer sees a read beyond it.
  std::vector<char> copy(bytes.begin(), bytes.end());
  return static_cast<bool>(ds::parseSafetensors(reinterpret_cast<const uint8_t *>(copy.data()), copy.size(), "t.safetensors"));
}
static std::string entry(const char *name, const char *shape, const char *offsets) {
  return std::string("\"") + name + R"(":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(Safetensors, EveryTruncationIsAnError) {
  std::string whole = safetensors("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[]", "[8,12]") + "}", 12);
  ASSERT_TRUE(parses(whole));
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(parses(whole.substr(0, size))) << size;
  EXPECT_FALSE(parses(whole + "x"));
}

TEST(Safetensors, Refuses) {
  EXPECT_FALSE(parses(raw<uint64_t>(1000) + "{}"));
  EXPECT_FALSE(parses(raw<uint64_t>(UINT64_MAX) + "{}"));
  EXPECT_FALSE(parses(safetensors("[]", 0)));
  EXPECT_FALSE(parses(safetensors(" {}", 0)));
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[4,12]") + "}", 12))); // overlap
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[1]", "[0,4]") + "," + entry("b", "[1]", "[8,12]") + "}", 12))); // hole
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[1]", "[4,8]") + "}", 8)));                                      // hole at the begin
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[4]", "[0,16]") + "}", 8)));                                     // out of range
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[1]", "[8,4]") + "}", 8)));
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[2]", "[0,4]") + "}", 4)));
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[4294967296,4294967296]", "[0,0]") + "}", 0))); // overflow
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[-1]", "[0,4]") + "}", 4)));
  EXPECT_FALSE(parses(safetensors("{" + entry("a", "[1]", "[0,4]") + "," + entry("a", "[1]", "[0,4]") + "}", 4))); // twice
}

static const std::string shard = safetensors("{" + entry("a", "[1]", "[0,4]") + "}", 4);
static std::string index(const std::string &map) { return R"({"weight_map":{)" + map + "}}"; }

TEST(SafetensorsFolder, OpensShardsAndRefusesDisagreement) {
  Folder folder;
  folder.write("s1.safetensors", shard);
  folder.write("model.safetensors.index.json", index(R"("a":"s1.safetensors")"));
  EXPECT_TRUE(ds::openSafetensorsFolder(folder.path));
  folder.write("model.safetensors.index.json", index(R"("a":"s1.safetensors","b":"s1.safetensors")"));
  EXPECT_FALSE(ds::openSafetensorsFolder(folder.path)); // the shard lacks b
  folder.write("s2.safetensors", shard);
  folder.write("model.safetensors.index.json", index(R"("a":"s1.safetensors","b":"s2.safetensors")"));
  EXPECT_FALSE(ds::openSafetensorsFolder(folder.path)); // a is in both
  folder.write("model.safetensors.index.json", index(R"("a":"gone.safetensors")"));
  EXPECT_FALSE(ds::openSafetensorsFolder(folder.path));
}

TEST(SafetensorsFolder, RefusesNamesAndLinksThatLeave) {
  Folder folder;
  folder.write("out.safetensors", shard);
  folder.write("m/sub/in.safetensors", shard);
  std::string model = folder.path + "/m";
  std::filesystem::create_symlink(folder.path + "/out.safetensors", model + "/link.safetensors");
  std::filesystem::create_symlink(folder.path, model + "/up");
  for (std::string name :
       {std::string("../out.safetensors"), folder.path + "/out.safetensors", std::string("link.safetensors"),
        std::string("up/out.safetensors"), std::string("sub/../../out.safetensors"), std::string("sub"), std::string()}) {
    folder.write("m/model.safetensors.index.json", index("\"a\":\"" + name + "\""));
    EXPECT_FALSE(ds::openSafetensorsFolder(model)) << name;
  }
  folder.write("m/model.safetensors.index.json", index(R"("a":"sub/in.safetensors")"));
  EXPECT_TRUE(ds::openSafetensorsFolder(model));
}

TEST(SafetensorsFolder, TakesTheCacheOfHuggingFace) {
  Folder folder;
  folder.write("models--x/blobs/0123", shard);
  std::string snapshot = folder.path + "/models--x/snapshots/c0";
  std::filesystem::create_directories(snapshot);
  std::filesystem::create_symlink("../../blobs/0123", snapshot + "/model.safetensors");
  EXPECT_TRUE(ds::openSafetensorsFolder(snapshot));
}

TEST(SafetensorsFolder, SaysThatPickleIsNotRead) {
  Folder folder;
  folder.write("pytorch_model.bin", "x");
  auto opened = ds::openSafetensorsFolder(folder.path);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("safetensors"), std::string::npos);
}
