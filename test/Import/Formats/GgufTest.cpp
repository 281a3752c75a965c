#include "Files.h"
#include "ds/Import/GgufTokenizer.h"
#include <chrono>
#include <gtest/gtest.h>

static ds::Result<ds::GgufContent> parse(const std::string &bytes) {
  std::vector<char> copy(bytes.begin(), bytes.end());
  return ds::parseGguf(reinterpret_cast<const uint8_t *>(copy.data()), copy.size(), "t.gguf");
}
static std::string text(const std::string &value) { return raw<uint64_t>(value.size()) + value; }
static std::string header(uint64_t tensors, uint64_t keys) {
  return raw<uint32_t>(0x46554747) + raw<uint32_t>(3) + raw(tensors) + raw(keys);
}
static std::string tensor(const std::string &name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
  std::string bytes = text(name) + raw<uint32_t>(static_cast<uint32_t>(dims.size()));
  for (uint64_t dim : dims)
    bytes += raw(dim);
  return bytes + raw(type) + raw(offset);
}
static std::string padded(std::string bytes, size_t data) {
  bytes.resize((bytes.size() + 31) / 32 * 32 + data);
  return bytes;
}

TEST(Gguf, EveryTruncationIsAnError) {
  auto begin = std::chrono::steady_clock::now();
  for (const char *name : {"bytes.gguf", "pieces.gguf"}) {
    std::string whole = readFile(std::string(DS_SOURCE_DIR "/test/Fuzz/corpus/gguf/") + name);
    auto parsed = parse(whole);
    ASSERT_TRUE(parsed) << parsed.error().message;
    ASSERT_TRUE(ds::makeTokenizer(*parsed));
    // The file may end in padding, which no tensor needs.
    size_t needed = 0;
    while (needed < whole.size() && !parse(whole.substr(0, needed)))
      ++needed;
    EXPECT_LT(whole.size() - needed, 32u);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

TEST(Gguf, ShapeIsInTorchOrder) {
  auto parsed = parse(padded(header(1, 0) + tensor("w", {4, 2}, 0, 0), 32));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->tensors[0].shape, (std::vector<int64_t>{2, 4}));
}

TEST(Gguf, Refuses) {
  EXPECT_FALSE(parse("GGUX"));
  EXPECT_FALSE(parse(header(UINT64_MAX, 0)));
  EXPECT_FALSE(parse(header(0, UINT64_MAX)));
  EXPECT_FALSE(parse(padded(header(2, 0) + tensor("a", {16}, 0, 0) + tensor("b", {16}, 0, 32), 96))); // overlap
  EXPECT_FALSE(parse(padded(header(1, 0) + tensor("a", {8}, 0, 4), 64)));                             // not aligned
  EXPECT_FALSE(parse(padded(header(1, 0) + tensor("a", {8}, 0, 64), 64)));                            // out of range
  EXPECT_FALSE(parse(padded(header(1, 0) + tensor("a", {8}, 0, UINT64_MAX - 31), 64)));
  EXPECT_FALSE(parse(padded(header(1, 0) + tensor("a", {1ull << 32, 1ull << 32}, 0, 0), 64))); // overflow
  EXPECT_FALSE(parse(padded(header(1, 0) + tensor("a", {16}, 8, 0), 64)));                     // half a block
  EXPECT_FALSE(parse(padded(header(0, 1) + raw<uint64_t>(UINT64_MAX), 64)));                   // a key's length
  EXPECT_FALSE(
      parse(padded(header(0, 2) + text("k") + raw<uint32_t>(4) + raw<uint32_t>(1) + text("k") + raw<uint32_t>(4) + raw<uint32_t>(1), 0)));
  EXPECT_FALSE(parse(padded(header(0, 1) + text("k") + raw<uint32_t>(9) + raw<uint32_t>(4) + raw<uint64_t>(UINT64_MAX), 64)));
  auto named = parse(padded(header(1, 0) + tensor("a", {256}, 16, 0), 256));
  ASSERT_FALSE(named);
  EXPECT_NE(named.error().message.find("IQ2_XXS"), std::string::npos);
}

TEST(Gguf, BooleansAreZeroOrOne) {
  const std::string one = text("k") + raw<uint32_t>(7), several = text("k") + raw<uint32_t>(9) + raw<uint32_t>(7) + raw<uint64_t>(2);
  EXPECT_TRUE(parse(header(0, 1) + one + '\1'));
  EXPECT_TRUE(parse(header(0, 1) + several + std::string("\0\1", 2)));
  for (const std::string &bytes : {one + '\2', several + std::string("\0\2", 2)}) {
    auto parsed = parse(header(0, 1) + bytes);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().message, "'t.gguf': key 'k': expects a boolean of 0 or 1, found 2");
  }
}

TEST(GgufTokenizer, NamesWhatItDoesNotKnow) {
  auto string = [](const char *key, const char *value) { return text(key) + raw<uint32_t>(8) + text(value); };
  auto parsed = parse(header(0, 1) + string("tokenizer.ggml.model", "bert"));
  ASSERT_TRUE(parsed);
  auto made = ds::makeTokenizer(*parsed);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("bert"), std::string::npos);
}
