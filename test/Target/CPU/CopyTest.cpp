// Programs of more than one launch, and what code generation refuses.
#include "CompiledPlan.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Target/CPU/CodeGen.h"
#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace ds;
using namespace ds::test;

namespace {

/// Copies 7 values a row: buffer to buffer, then to two outputs, of all tokens.
constexpr const char *twoCopies = R"(
ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x7xf32>):
  ds_plan.return %x : tensor<?x?x7xf32>
}
ds_plan.program @run max_batch 64 max_rows 64 arena 8192 kv_bytes 0 {
  %x = ds_plan.buffer tokens offset 0 : memref<?x7xf32>
  %y = ds_plan.buffer tokens offset 4096 : memref<?x7xf32>
  %a = ds_plan.output "hidden" 0 tokens : memref<?x7xf32>
  %b = ds_plan.output "logits" 1 tokens : memref<?x7xf32>
  ds_plan.launch @copy ins(%x : memref<?x7xf32>) outs(%y : memref<?x7xf32>)
  ds_plan.barrier
  ds_plan.launch @copy ins(%y : memref<?x7xf32>) outs(%a : memref<?x7xf32>)
  ds_plan.launch @copy ins(%y : memref<?x7xf32>) outs(%b : memref<?x7xf32>)
}
)";

std::string refusal(const char *text) {
  CompiledPlan code(text, *findCpuLevel("x86-64-v2"));
  return code ? "" : code.error();
}

TEST(Copy, rowsOfEverySize) {
  for (const CpuLevel &level : allCpuLevels()) {
    if (!machineRuns(level))
      continue;
    CompiledPlan code(twoCopies, level);
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows = 1; rows <= 64; ++rows) {
      GuardedBytes arena(8192), a(rows * 28);
      for (int32_t i = 0; i < rows * 7; ++i)
        arena.as<float>()[i] = static_cast<float>(i);
      StepData step;
      step.batch = 1;
      step.tokens = rows;
      step.outputs = {a.as<void>(), nullptr};
      step.arena = arena.as<void>();
      code.run("run", step, rows % 3 + 1);
      for (int32_t i = 0; i < rows * 7; ++i)
        ASSERT_EQ(a.as<float>()[i], static_cast<float>(i));
    }
  }
}

TEST(CodeGen, refusesWhatHasNoPlace) {
  EXPECT_NE(refusal(R"(
ds_plan.program @run max_batch 1 max_rows 1 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x7xf32>
}
)")
                .find("buffer has no offset"),
            std::string::npos);
}

TEST(CodeGen, refusesAnUnknownFamily) {
  EXPECT_NE(refusal(R"(
ds_plan.kernel @k "magic" schedule {} {
^bb0(%x: tensor<?x?x7xf32>):
  ds_plan.return %x : tensor<?x?x7xf32>
}
ds_plan.program @run max_batch 1 max_rows 1 arena 4096 kv_bytes 0 {
  %x = ds_plan.buffer tokens offset 0 : memref<?x7xf32>
  %y = ds_plan.buffer tokens offset 64 : memref<?x7xf32>
  ds_plan.launch @k ins(%x : memref<?x7xf32>) outs(%y : memref<?x7xf32>)
}
)")
                .find("family 'magic'"),
            std::string::npos);
}

TEST(CodeGen, showsItsStages) {
  mlir::DialectRegistry registry;
  registry.insert<DSDialect, ds_plan::DSPlanDialect>();
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(twoCopies, mlir::ParserConfig(&context));
  ASSERT_TRUE(module);
  CpuCodeOptions options;
  llvm::StringMap<std::string> seen;
  for (const char *stage : {"kernels", "mlir", "llvm", "asm", "obj"}) {
    EXPECT_TRUE(isCpuCodeStage(stage));
    options.stages.insert(stage);
  }
  options.dump = [&](const CpuLevel &level, llvm::StringRef stage, llvm::StringRef text) {
    seen[(level.name + "/" + stage).str()] = text.str();
  };
  auto codes = compileForCpu(*module, allCpuLevels(), options);
  ASSERT_TRUE(static_cast<bool>(codes));
  EXPECT_EQ(codes->size(), allCpuLevels().size());
  EXPECT_EQ(seen.size(), 5 * allCpuLevels().size());
  EXPECT_NE(seen["x86-64-v4/kernels"].find("scf.for"), std::string::npos);
  EXPECT_NE(seen["x86-64-v3/llvm"].find("define void @ds_program_run"), std::string::npos);
  EXPECT_NE(seen["x86-64-v4/asm"].find("zmm"), std::string::npos);
  // The same plan gives the same bytes.
  auto again = compileForCpu(*module, allCpuLevels());
  ASSERT_TRUE(static_cast<bool>(again));
  for (size_t i = 0; i < codes->size(); ++i)
    EXPECT_TRUE((*again)[i].bytes == (*codes)[i].bytes) << i;
}

} // namespace
