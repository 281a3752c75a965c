// Every rule of the manifest, each by a change of a good one.
#include "runtime/lib/Manifest.h"
#include "FakePackage.h"
#include <gtest/gtest.h>

using namespace dsrt;

TEST(Manifest, NamesWhatIsWrong) {
  fake::Package package(fake::Package::decoder);
  Manifest manifest;
  ASSERT_TRUE(parseManifest(package.manifest, "m", manifest).ok());
  EXPECT_EQ(manifest.programs.size(), 2u);
  const struct {
    const char *from, *to, *message;
  } cases[] = {
      {"ds-package", "other", "format: expects 'ds-package', found 'other'"},
      {"\"version\": 1", "\"version\": 2", "version: this runtime reads version 1, the package has version 2"},
      {"\"version\": 1", "\"version\": 0", "version: this runtime reads version 1, the package has version 0"},
      {"\"abi\": 3", "\"abi\": 9", "abi: this runtime runs abi 3, the package has abi 9"},
      {"\"abi\": 3, ", "", "abi: expects an integer, found nothing"},
      {"causal-lm", "translate", "model.task: expects causal-lm, encoder, masked-lm or sequence-classification, found 'translate'"},
      {"\"causal-lm\"", "\"encoder\"", "programs: a encoder expects the program encode, found none"},
      {"\"vocab_size\": 32", "\"vocab_size\": 0", "model.vocab_size: expects an integer in 1..2147483647, found 0"},
      {"\"vocab_size\": 32", "\"vocab_size\": 1e3", "model.vocab_size: expects an integer, found a number"},
      {"\"vocab_size\": 32", "\"vocab_size\": 33", "programs: prefill expects an output logits [rows, 33], found none"},
      {"\"max_positions\": 40", "\"max_positions\": -2", "model.max_positions: expects an integer in -1..2147483647, found -2"},
      {"\"max_positions\": 40", "\"max_positions\": 0", "model.max_positions: expects at least 1, or -1 for no limit, found 0"},
      {"\"bos\": [1]", "\"bos\": [\"x\"]", "model.bos[0]: expects an integer in -2147483648..2147483647, found 'x'"},
      {"\"arange\"", "\"random\"", "positions.rule: expects arange, from_mask or from_ids, found 'random'"},
      {"\"context\": 24", "\"context\": 0", "cache.context: expects an integer in 1..2147483647, found 0"},
      {"\"context\": 24,", "\"context\": 24, \"type\": \"int3\",", "cache.type: expects f32, bf16 or int8, found 'int3'"},
      {"\"context\": 24,", "\"context\": 24, \"type\": 8,", "cache.type: expects a string, found 8"},
      {"\"cache\"", "\"other\"", "programs: a causal-lm expects a cache, found none"},
      {"\"data_offset\": 4096", "\"data_offset\": 100", "weights.data_offset: expects a multiple of 4096, found 100"},
      {"\"data_offset\": 4096", "\"data_offset\": 1048576", "weights.data_offset: expects an integer in 0..8320, found 1048576"},
      {"\"data_bytes\": 128", "\"data_bytes\": 99999", "weights.data_bytes: expects an integer in 0..4224, found 99999"},
      {"\"file\": \"weights-", "\"file\": \"wights-", "weights.file: expects a name in files, found 'wights-00001.safetensors'"},
      {"\"level\": \"x86-64-v2\"", "\"level\": \"x86-64-v9\"",
       "code[0].level: expects x86-64-v2, x86-64-v3, x86-64-v4, x86-64-v4-vnni, x86-64-v4-bf16, "
       "znver4 or x86-64-v4-fp16, found 'x86-64-v9'"},
      {"\"file\": \"code/x86-64-v2.so\"", "\"file\": \"weights-00001.safetensors\"",
       "code[0].file: expects a name in files with a sha256, found 'weights-00001.safetensors'"},
      {"\"tokenizer.json\": {", "\"../tokenizer.json\": {",
       "files['../tokenizer.json']: expects a file name inside the package, found '../tokenizer.json'"},
      {"\"tokenizer.json\": {", "\"/etc/passwd\": {", "files['/etc/passwd']: expects a file name inside the package, found '/etc/passwd'"},
      {"\"tokenizer.json\": {", "\"a\\nb\": {", "files['a\\x0ab']: expects a file name inside the package, found 'a\\x0ab'"},
      {"\"tokenizer.json\": {\"bytes\": 2", "\"tokenizer.json\": {\"bytes\": -2",
       "files['tokenizer.json'].bytes: expects an integer in 0..17592186044416, found -2"},
      {"\"sha256\": \"", "\"sha256\": \"zz", "files['code/x86-64-v2.so'].sha256: expects 64 hex digits, found"},
      {"\"xxh3_chunks\": {\"bytes\": 4096", "\"xxh3_chunks\": {\"bytes\": 8192",
       "files['weights-00001.safetensors'].xxh3_chunks.hashes: expects 2 hashes for 8320 bytes, found 3"},
      {"\"xxh3_chunks\": {\"bytes\": 4096", "\"xxh3_chunks\": {\"bytes\": 0",
       "files['weights-00001.safetensors'].xxh3_chunks.bytes: expects an integer in 4096..1073741824, found 0"},
      {"\"hashes\": [\"", "\"hashes\": [\"q", "files['weights-00001.safetensors'].xxh3_chunks.hashes[0]: expects 32 hex digits, found"},
      {"\"name\": \"prefill\"", "\"name\": \"train\"", "programs[0].name: expects encode, prefill, decode or forward, found 'train'"},
      {"\"name\": \"prefill\"", "\"name\": \"decode\"", "programs[0].symbol: expects 'ds_program_decode', found 'ds_program_prefill'"},
      {"ds_program_prefill", "system", "programs[0].symbol: expects 'ds_program_prefill', found 'system'"},
      {"\"max_batch\": 4", "\"max_batch\": 0", "programs[0].max_batch: expects an integer in 1..65536, found 0"},
      {"\"max_rows\": 16", "\"max_rows\": 99999999", "programs[0].max_rows: expects an integer in 1..16777216, found 99999999"},
      {"\"arena_bytes\": 4096", "\"arena_bytes\": -1", "programs[0].arena_bytes: expects an integer in 0..4398046511104, found -1"},
      {"\"name\": \"past\"", "\"name\": \"future\"",
       "programs[0].inputs[2].name: expects input_ids, positions, mask, token_type_ids, past or rows, found 'future'"},
      {"\"name\": \"past\"", "\"name\": \"rows\"", "programs[0].inputs[2].shape: expects [rows] for rows"},
      {"\"name\": \"positions\"", "\"name\": \"input_ids\"", "programs[0].inputs[1].name: input_ids occurs twice"},
      {"\"tokens\", 4]", "\"tokens\", 0]", "programs[0].outputs[0].shape[2]: expects a size of at least 1"},
      {"\"tokens\", 4]", "\"tokens\", 2147483648, 2]", "programs[0].outputs[0].shape[3]: expects a size of at least 1"},
      {"\"name\": \"hidden\"", "\"name\": \"secret\"",
       "programs[0].outputs[0].name: expects hidden, logits, embedding or input:..., found 'secret'"},
      {"[\"batch\", \"tokens\", 4]", "[\"tokens\", 4]", "programs[0].outputs[0].shape: expects [batch, tokens, ...]"},
      {"\"inputs\": [", "\"inputs\": [7, ", "programs[0].inputs[0].name: expects a string, found nothing"},
  };
  for (const auto &test : cases) {
    std::string text = package.manifest;
    size_t at = text.find(test.from);
    ASSERT_NE(at, text.npos) << test.from;
    Status status = parseManifest(text.replace(at, std::string(test.from).size(), test.to), "m", manifest);
    EXPECT_EQ(status.code(), DSRT_BAD_DATA) << test.message;
    EXPECT_EQ(status.message().find(std::string("bad data: m: ") + test.message), 0u) << status.message() << "\nexpected " << test.message;
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
  }
}

TEST(Manifest, CutAtEveryByte) {
  for (fake::Package::Kind kind : {fake::Package::decoder, fake::Package::encoder}) {
    fake::Package package(kind);
    for (size_t length = 0; length + 2 < package.manifest.size(); ++length) {
      Manifest manifest;
      EXPECT_EQ(parseManifest(std::string_view(package.manifest).substr(0, length), "m", manifest).code(), DSRT_BAD_DATA) << length;
    }
  }
}

TEST(Manifest, KeepsWhatItReads) {
  fake::Package package(fake::Package::encoder, "from_ids", 0);
  Manifest manifest;
  ASSERT_TRUE(parseManifest(package.manifest, "m", manifest).ok());
  EXPECT_EQ(manifest.positionRule, PositionRule::fromIds);
  EXPECT_EQ(manifest.positionPad, 1);
  EXPECT_EQ(manifest.model.pad, -1);
  EXPECT_EQ(manifest.model.tokenTypes, 2);
  EXPECT_EQ(manifest.weightsOffset, 4096);
  EXPECT_EQ(manifest.programs[0].inputs.size(), 5u);
  EXPECT_EQ(manifest.programs[0].outputs[1].axes, OutputAxes::rows);
  EXPECT_EQ(manifest.file("weights-00001.safetensors")->chunkHashes.size(), 3u);
  EXPECT_EQ(manifest.file("nothing"), nullptr);
}

TEST(Manifest, TypeOfTheCache) {
  fake::Package encoder(fake::Package::encoder), decoder(fake::Package::decoder);
  Manifest manifest;
  ASSERT_TRUE(parseManifest(encoder.manifest, "m", manifest).ok());
  EXPECT_EQ(manifest.cacheType, "");
  ASSERT_TRUE(parseManifest(decoder.manifest, "m", manifest).ok());
  EXPECT_EQ(manifest.cacheType, "f32"); // older packages do not say
  const std::string context = "\"context\": 24,";
  std::string text = decoder.manifest;
  ASSERT_TRUE(parseManifest(text.replace(text.find(context), context.size(), context + " \"type\": \"int8\","), "m", manifest).ok());
  EXPECT_EQ(manifest.cacheType, "int8");
  ASSERT_TRUE(parseManifest(text.replace(text.find("int8"), 4, "bf16"), "m", manifest).ok());
  EXPECT_EQ(manifest.cacheType, "bf16");
  EXPECT_EQ(manifest.context, 24);
}
