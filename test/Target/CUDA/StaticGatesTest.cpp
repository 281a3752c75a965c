// What machine code of typical kernels looks like: it is accepted, keeps its values in registers, as many as its blocks have, and uses the
// instructions that were planned. Needs ptxas.
#include "GemmKernel.h"
#include "NarrowCache.h"
#include "SampleRows.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Target/CUDA/CodeGen.h"
#include "ds/Target/CUDA/Tuning.h"
#include "mlir/Parser/Parser.h"
#include <nlohmann/json.hpp>
#include <regex>

using namespace ds;
using namespace ds::test;

namespace {

struct Plan {
  std::string name, text;
};

constexpr TileType bf16{16}, f16{16, false, 0, false, false, true}, int8{8, false, 64, true}, int4{4, false, 64, true};

Product withHeads(TileType type, int64_t heads, int64_t size, const std::string &rope, const std::string &store) {
  Product product{heads * size, type};
  product.heads = heads;
  product.rope = rope;
  product.rotary = rope.empty() ? 0 : size;
  product.store = store;
  product.result = store.empty();
  return product;
}

Plan gemm(const std::string &name, const GemmShape &shape) { return {name, GemmKernel(shape).text()}; }

/// The products of a small decoder's layer.
GemmShape llamaQueries(TileType type) {
  return {576,
          {withHeads(type, 9, 64, "half", ""), withHeads(type, 3, 64, "half", "keys"), withHeads(type, 3, 64, "", "values")},
          "rms_norm",
          false,
          2048};
}
std::vector<Plan> llama(TileType type) {
  const GemmShape queries = llamaQueries(type);
  const std::string of = " of " + type.text();
  return {gemm("queries, keys and values" + of, queries), gemm("gate and up" + of, {576, {{1536, type, false, "silu", true}}, "rms_norm"}),
          gemm("down" + of, {1536, {{576, type, false, "", false, true}}})};
}

/// Those of an encoder's.
std::vector<Plan> bert() {
  GemmShape queries{384, {withHeads(bf16, 12, 32, "", ""), withHeads(bf16, 12, 32, "", "keys"), withHeads(bf16, 12, 32, "", "values")}};
  for (Product &product : queries.products)
    product.bias = true;
  return {gemm("an encoder's queries, keys and values", queries), gemm("an encoder's up", {384, {{1536, bf16, true, "gelu erf"}}}),
          gemm("an encoder's down", {1536, {{384, bf16, true, "", false, true}}})};
}

Plan encoderAttention() {
  OneLaunch plan;
  const std::string t = "tensor<?x?x384xf32>";
  const std::vector<std::string> ins = {plan.rows("tokens", 384), plan.rows("packed", 384), plan.rows("packed", 384),
                                        plan.indices("tokens")};
  const std::string region = "^bb0(%q: " + t + ", %k: " + t + ", %v: " + t +
                             ", %m: tensor<?x?xi32>):\n  %y = ds.attention %q, %k, %v mask %m : tensor<?x?xi32> heads 12 kv_heads 12 "
                             "scale 0.177 : " +
                             t + ", " + t + "\n  ds_plan.return %y : " + t + "\n";
  return {"an encoder's attention", plan.text("attention", region, ins, {plan.rows("tokens", 384)})};
}

/// Of a decoder with a cache of f32, bf16 or i8.
Plan attention(int64_t heads, int64_t kvHeads, int64_t size, const std::string &stored = "f32") {
  OneLaunch plan;
  constexpr int64_t context = 2048;
  const bool codes = stored == "i8";
  const int64_t width = heads * size, kvWidth = kvHeads * size;
  const int64_t bytes = stored == "f32" ? context * kvWidth * 4 : NarrowCache::bytesOf(codes, kvHeads, size, context);
  auto text = [](int64_t value) { return std::to_string(value); };
  const std::string q = "tensor<?x?x" + text(width) + "xf32>",
                    k = "tensor<?x2048x" + text(kvWidth) + "x" + (codes ? cacheCodes(size) : stored) + ">";
  const std::vector<std::string> ins = {plan.rows("tokens", width), plan.cache("keys", kvHeads, 0, context, kvWidth, stored),
                                        plan.cache("values", kvHeads, bytes, context, kvWidth, stored), plan.indices("batch")};
  const std::string out = plan.rows("tokens", width);
  const std::vector<std::string> aux = {plan.rows("batch", heads * 8 * (16 + (size + 15) / 16 * 16))};
  const std::string region = "^bb0(%q: " + q + ", %k: " + k + ", %v: " + k +
                             ", %p: tensor<?xi32>):\n  %y = ds.attention %q, %k, %v past %p : tensor<?xi32> heads " + text(heads) +
                             " kv_heads " + text(kvHeads) + " scale 0.125 causal : " + q + ", " + k + "\n  ds_plan.return %y : " + q + "\n";
  return {"attention of " + text(heads) + "/" + text(kvHeads) + "x" + text(size) + " " + stored,
          plan.text("attention", region, ins, {out}, aux)};
}

Plan norm(const std::string &op, int64_t width) {
  OneLaunch plan;
  const std::string t = "tensor<?x?x" + std::to_string(width) + "xf32>", v = "tensor<" + std::to_string(width) + "xf32>";
  std::string x = plan.rows("tokens", width), g = plan.weight("vector", 0, "memref<" + std::to_string(width) + "xf32>"),
              y = plan.rows("tokens", width);
  return {op, plan.text("row",
                        "^bb0(%x: " + t + ", %g: " + v + "):\n  %y = ds." + op + " %x, %g eps 1.0e-5 : " + t + ", " + v +
                            "\n  ds_plan.return %y : " + t + "\n",
                        {x, g}, {y})};
}

bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

/// The number behind the first match of `pattern`, or -1.
int64_t numberIn(const std::string &text, const std::string &pattern) {
  std::smatch match;
  return std::regex_search(text, match, std::regex(pattern)) ? std::stoll(match[1]) : -1;
}

/// From `begin` to the next `end`.
std::string between(const std::string &text, const std::string &begin, const std::string &end) {
  const size_t at = text.find(begin);
  return at == std::string::npos ? "" : text.substr(at, text.find(end, at + begin.size()) - at);
}

/// Bytes of shared memory that a block may have.
int64_t mostShared(const GpuArch &arch) {
  return arch.number == 80 ? 163 << 10 : arch.number == 90 || arch.number == 100 ? 227 << 10 : 99 << 10;
}

void checkKernel(const std::string &ptx, const std::string &log, const std::string &name, int64_t threads, int64_t shared,
                 const GpuArch &arch) {
  const std::string said = between(log, "'" + name + "'", "Compiling entry function"), code = between(ptx, ".entry " + name + "(", "\n}\n");
  ASSERT_NE(said, "") << log;
  ASSERT_NE(code, "");
  EXPECT_TRUE(has(said, " 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")) << log;
  const int64_t registers = numberIn(said, "Used (\\d+) registers"), blocks = numberIn(code, "\\.minnctapersm (\\d+)");
  ASSERT_GT(registers, 0) << said;
  ASSERT_GT(blocks, 0) << code.substr(0, 2000);
  EXPECT_LE((registers + 7) / 8 * 8 * threads * blocks, 65536) << said;
  EXPECT_LE(shared, mostShared(arch));

  const bool skinny = std::regex_search(name, std::regex("_rows\\d+$")), tiles = has(name, "_tiles"), prefill = has(name, "_prefill");
  const bool warpgroups = has(name, "_wgmma");
  EXPECT_EQ(has(code, "wgmma.mma_async.sync.aligned.m64n"), warpgroups);
  EXPECT_EQ(has(code, "cp.async.bulk.shared::cluster.global.mbarrier"), warpgroups);
  // Where it cannot keep products in flight ptxas says so, and they wait for each other.
  EXPECT_FALSE(std::regex_search(log, std::regex("wgmma[^\n]* serialized [^\n]*'" + name + "'"))) << log;
  // A number of a chunk, tokens here and there, columns that rope turns, a sum.
  const bool readsFew = std::regex_search(name, std::regex("^sample_(greedy|penalty)$|_heads$|_finish$"));
  EXPECT_EQ(has(code, "mma.sync.aligned.m16n8k16"), skinny || tiles || prefill) << code.substr(0, 2000);
  if (skinny || has(name, "_decode")) // matrices; keys and values
    EXPECT_TRUE(has(code, ".L1::no_allocate.L2::256B.v4.b32")) << "what is read once comes by the first-level cache";
  if (tiles)
    EXPECT_TRUE(has(code, "cp.async.cg.shared.global"));
  EXPECT_TRUE(tiles || warpgroups || readsFew || std::regex_search(code, std::regex("\\sld\\.[^ ]*(v4\\.[bf]32|v2\\.b64)")))
      << "no loads of 128 bits";
  // Distances are those of the host: quotients are rounded as it rounds them, and nothing is contracted.
  if (std::regex_search(name, std::regex("^sample_(search|weigh|pick)$")))
    EXPECT_TRUE(has(code, "div.rn.f32") && !has(code, "fma.rn.f32") && !has(code, "div.full")) << code;
  EXPECT_EQ(has(code, "griddepcontrol.wait"), arch.number >= 90);
  // Behind prepared rows nothing begins early, nor do products of a library.
  EXPECT_EQ(has(code, "griddepcontrol.launch_dependents"), arch.number >= 90 && !has(name, "_prepare") && !has(name, "_unpack"));
  EXPECT_FALSE(has(code, ".local")) << "memory of a thread";
}

/// Calls `body` with the kernels of `plan` and the `kernels` of their table.
void withKernels(const Plan &plan, const std::function<void(const GpuKernels &, const nlohmann::json &)> &body,
                 const std::vector<GpuArch> &archs = {}, int64_t libraryRows = 0, Tuning *tuning = nullptr) {
  mlir::DialectRegistry registry;
  registry.insert<DSDialect, ds_plan::DSPlanDialect>();
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(plan.text, mlir::ParserConfig(&context));
  ASSERT_TRUE(module) << plan.text;
  auto kernels = emitGpuKernels(*module, archs, libraryRows, tuning);
  ASSERT_TRUE(bool(kernels)) << llvm::toString(kernels.takeError());
  body(*kernels, nlohmann::json::parse(kernels->launches)["kernels"]);
}

/// `which`: the kernels that are looked at.
void checkOn(const GpuArch &arch, const std::string &ptxas, const Plan &plan, const GpuKernels &kernels, const nlohmann::json &table,
             const std::string &which) {
  auto ptx = compileToPtx(kernels, arch);
  ASSERT_TRUE(bool(ptx)) << llvm::toString(ptx.takeError());
  std::string log;
  auto code = assemblePtx(*ptx, arch, ptxas, &log);
  ASSERT_TRUE(bool(code)) << llvm::toString(code.takeError());
  for (const auto &kernel : table) {
    const std::string name = kernel["name"];
    if (kernel.value("only", arch.name) != arch.name || kernel.value("except", "") == arch.name)
      continue;
    if (!std::regex_search(name, std::regex(which)))
      continue;
    SCOPED_TRACE(plan.name + ", " + name + ", " + arch.name);
    checkKernel(*ptx, log, name, kernel["threads"], kernel["shared_bytes"], arch);
  }
}

void check(const std::vector<Plan> &plans, const std::vector<std::string> &archs, int64_t libraryRows = 0, const std::string &which = "") {
  const std::string ptxas = findPtxas();
  if (ptxas.empty())
    GTEST_SKIP() << "no ptxas";
  std::vector<GpuArch> found;
  for (const std::string &name : archs)
    found.push_back(llvm::cantFail(findGpuArch(name)));
  auto checkAll = [&](const Plan &plan) {
    auto each = [&](const GpuKernels &kernels, const nlohmann::json &table) {
      for (const GpuArch &arch : found)
        checkOn(arch, ptxas, plan, kernels, table, which);
    };
    withKernels(plan, each, found, libraryRows);
  };
  for (const Plan &plan : plans)
    checkAll(plan);
}

/// Deep rows stay within the shared memory of a block of the smallest machine a package is for.
TEST(GpuStaticGates, sharedMemoryOfDeepRows) {
  for (const char *name : {"sm_80", "sm_86", "sm_90a"})
    for (TileType type : {bf16, int8})
      for (int64_t depth : {2048, 3072, 8192})
        for (int64_t columns : {16, 2400}) {
          const GpuArch arch = llvm::cantFail(findGpuArch(name)), large = llvm::cantFail(findGpuArch("sm_90a"));
          auto fits = [&](const GpuKernels &, const nlohmann::json &table) {
            for (const auto &kernel : table)
              EXPECT_LE(kernel["shared_bytes"].get<int64_t>(), kernel.contains("only") ? large.sharedBytes : arch.sharedBytes)
                  << kernel["name"] << " of depth " << depth << " on " << name;
          };
          withKernels(gemm("deep rows", {depth, {{columns, type}}}), fits, {large, arch});
        }
}

const std::vector<std::string> allArchs = {"sm_80", "sm_90a", "sm_100a", "sm_120"};

TEST(GpuStaticGates, decoderProducts) { check(llama(bf16), allArchs); }
TEST(GpuStaticGates, decoderProductsOfF16) { check(llama(f16), {"sm_80", "sm_90a"}); }
TEST(GpuStaticGates, decoderProductsOfBytes) { check(llama(int8), {"sm_90a"}); }
TEST(GpuStaticGates, decoderProductsOf4Bits) { check(llama(int4), {"sm_90a"}); }
TEST(GpuStaticGates, decoderProductsBeforeNarrowCaches) {
  for (bool codes : {false, true}) {
    GemmShape queries = llamaQueries(bf16);
    queries.bf16 = !codes, queries.codes = codes;
    check({gemm("queries, keys and values", queries)}, {"sm_80", "sm_90a"});
  }
}
TEST(GpuStaticGates, encoderProducts) { check(bert(), {"sm_90a"}); }
/// Every shape of tiles of warpgroups.
TEST(GpuStaticGates, wideProducts) {
  std::vector<Plan> plans;
  for (TileType type : {bf16, f16, int8, int4})
    plans.push_back(gemm("a wide product of " + type.text(), {768, {{8448, type}}}));
  check(plans, {"sm_90a"});
}

/// The best candidates of a product by the model keep, but for some bytes, to registers, about as many as the model says; and products of
/// warpgroups stay in flight.
void checkCandidates(const Plan &plan, size_t count) {
  constexpr int64_t mostSpilled = 32, mostBeyond = 48;
  const std::string ptxas = findPtxas();
  if (ptxas.empty())
    GTEST_SKIP() << "no ptxas";
  const GpuArch arch = llvm::cantFail(findGpuArch("sm_90a"));
  Tuning ruled;
  withKernels(plan, [](const GpuKernels &, const nlohmann::json &) {}, {arch}, 0, &ruled);
  for (size_t i = 0; i < count; ++i) {
    std::string lines;
    int64_t most = 0;
    for (const TuningChoice &choice : ruled.choices) {
      const std::vector<TuningCandidate> space = *tuningSpace(choice.key);
      const TuningCandidate &candidate = space[std::min(i, space.size() - 1)];
      lines += lineOf({choice.key, candidate.config, std::nullopt, ""}) + "\n";
      most = std::max(most, candidate.registers);
    }
    SCOPED_TRACE(plan.name + "\n" + lines);
    Tuning tuning;
    tuning.asked = *TuningDatabase::parse(lines, "t.jsonl");
    auto assemble = [&](const GpuKernels &kernels, const nlohmann::json &) {
      auto ptx = compileToPtx(kernels, arch);
      ASSERT_TRUE(bool(ptx)) << llvm::toString(ptx.takeError());
      std::string log;
      auto code = assemblePtx(*ptx, arch, ptxas, &log);
      ASSERT_TRUE(bool(code)) << llvm::toString(code.takeError());
      EXPECT_FALSE(has(log, "serialized")) << log;
      const std::regex stores("(\\d+) bytes spill stores"), registers("Used (\\d+) registers");
      for (std::sregex_iterator match(log.begin(), log.end(), stores), end; match != end; ++match)
        EXPECT_LE(std::stoll((*match)[1]), mostSpilled) << log;
      for (std::sregex_iterator match(log.begin(), log.end(), registers), end; match != end; ++match)
        EXPECT_LE(std::stoll((*match)[1]), most + mostBeyond) << log;
    };
    withKernels(plan, assemble, {arch}, 0, &tuning);
    EXPECT_TRUE(tuning.unused().empty());
  }
}

TEST(GpuStaticGates, candidates) {
  for (TileType type : {bf16, int8, int4})
    checkCandidates(gemm("a product of " + type.text(), {2048, {{2048, type, false, "", false, true}}}), 3);
}

/// What stands around the products of cuBLASLt.
TEST(GpuStaticGates, productsOfTheLibrary) {
  GemmShape mixed{576, {{1536, bf16, true}, {512, TileType{4, true, 32, true}}}, "layer_norm", true};
  std::vector<Plan> plans = llama(bf16), bytes = llama(int8);
  plans.insert(plans.end(), {bytes[0], llama(int4)[1], bert()[1], gemm("products of two types", mixed)});
  check(plans, allArchs, 512, "_(prepare_plain|unpack|finish)$");
}

TEST(GpuStaticGates, attention) { check({attention(9, 3, 64), encoderAttention()}, allArchs); }
/// Groups of 3, 4 and 8 heads, and heads of up to 256 values.
TEST(GpuStaticGates, attentionOfNarrowCaches) {
  for (const std::string stored : {"bf16", "i8"}) {
    check({attention(9, 3, 64, stored)}, allArchs);
    check({attention(32, 8, 128, stored), attention(8, 1, 128, stored), attention(8, 1, 256, stored), attention(7, 1, 64, stored),
           attention(12, 12, 100, stored)},
          {"sm_90a"});
  }
}
TEST(GpuStaticGates, sampling) { check({{"sampling", sampleText(128256)}}, allArchs); }
TEST(GpuStaticGates, norms) { check({norm("rms_norm", 576), norm("layer_norm", 384), norm("layer_norm", 2048)}, allArchs); }

} // namespace
