#include "ds/Conversion/KernelRegistry.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace ds;

namespace {

/// A chain as a fused region would hold it, and an op that no kernel computes.
constexpr const char *chain = R"(
ds.parameter @g from "g" : tensor<64xf32>
ds.parameter @w from "w" : tensor<96x64xf32>
func.func @chain(%x: tensor<?x?x64xf32>) -> tensor<?x?x96xf32> {
  %g = ds.weight @g : tensor<64xf32>
  %w = ds.weight @w : tensor<96x64xf32>
  %0 = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  %1 = ds.linear %0, %w : tensor<?x?x64xf32>, tensor<96x64xf32>
  %2 = ds.silu %1 : tensor<?x?x96xf32>
  return %2 : tensor<?x?x96xf32>
})";

struct KernelRegistryTest : testing::Test {
  KernelRegistryTest() {
    context.loadDialect<DSDialect, func::FuncDialect>();
    module = parseSourceString<ModuleOp>(chain, &context);
    for (Operation &op : module->lookupSymbol<func::FuncOp>("chain").getBody().front().without_terminator())
      ops.push_back(&op);
  }
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  SmallVector<Operation *> ops;
};

TEST_F(KernelRegistryTest, EachOpAlone) {
  const KernelRegistry &registry = KernelRegistry::standard();
  for (auto [index, family, name] :
       {std::tuple(2, "row", "rms_norm_64"), std::tuple(3, "gemm", "gemm_64x96"), std::tuple(4, "row", "silu_96")}) {
    const KernelEntry *entry = registry.lookup(ops[index]);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->family, family);
    EXPECT_EQ(entry->name(ops[index]), name);
  }
  EXPECT_EQ(registry.lookup(ops[2])->role(ops[2], 1), OperandRole::vector);
  EXPECT_EQ(registry.lookup(ops[3])->role(ops[3], 1), OperandRole::matrix);
  EXPECT_EQ(registry.lookup(ops[4])->role(ops[4], 0), OperandRole::rows);
}

TEST_F(KernelRegistryTest, TheLinearIsTheRootOfAFusedRegion) {
  FailureOr<KernelRegion> region = KernelRegistry::standard().region(ArrayRef(ops).drop_front(2));
  ASSERT_TRUE(succeeded(region));
  EXPECT_EQ(region->ops.size(), 3u);
  EXPECT_EQ(region->root, ops[3]);
}

TEST_F(KernelRegistryTest, OpsWithoutABuilderAreNamed) {
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { message = diagnostic.str(); });
  EXPECT_TRUE(failed(KernelRegistry::standard().region(ops[0])));
  EXPECT_EQ(message, "expects an op that a kernel family serves, got ds.weight");
}

TEST_F(KernelRegistryTest, ABackEndReplacesAnEntry) {
  KernelRegistry registry = KernelRegistry::standard();
  KernelEntry entry = *registry.lookup(ops[4]);
  entry.family = "elementwise";
  registry.add<SiluOp>(entry);
  EXPECT_EQ(registry.lookup(ops[4])->family, "elementwise");
  EXPECT_EQ(KernelRegistry::standard().lookup(ops[4])->family, "row");
}

} // namespace
