// The checks of the emulator against kernels that are almost right: without one of their barriers or waits, or with a bound that is off by
// one, something has to be said, or results have to differ.
#include "GemmKernel.h"
#include "SampleRows.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include <map>

using namespace ds;
using namespace ds::test;
using namespace mlir;

namespace {

/// One way to change kernels: at the places of `find`, one at a time, by `change`.
struct Mutation {
  const char *name;
  std::function<bool(Operation *)> find;
  std::function<void(Operation *)> change;
};

/// An `slt` that an `scf.if` asks for, alone or with others.
bool isBound(Operation *op) {
  auto compare = dyn_cast<arith::CmpIOp>(op);
  if (!compare || compare.getPredicate() != arith::CmpIPredicate::slt)
    return false;
  std::function<bool(Value)> isAsked = [&](Value value) {
    return llvm::any_of(value.getUsers(),
                        [&](Operation *user) { return isa<scf::IfOp>(user) || (isa<arith::AndIOp>(user) && isAsked(user->getResult(0))); });
  };
  return isAsked(compare.getResult());
}

bool isAssembly(Operation *op, llvm::StringRef part) {
  auto assembly = dyn_cast<LLVM::InlineAsmOp>(op);
  return assembly && assembly.getAsmString().contains(part);
}

const Mutation mutations[] = {
    {"barrier", [](Operation *op) { return isa<gpu::BarrierOp>(op); }, [](Operation *op) { op->erase(); }},
    {"wait", [](Operation *op) { return isa<NVVM::CpAsyncWaitGroupOp>(op); }, [](Operation *op) { op->erase(); }},
    {"launch wait",
     [](Operation *op) {
       auto control = dyn_cast<NVVM::GriddepcontrolOp>(op);
       return control && control.getKind() == NVVM::GridDepActionKind::wait;
     },
     [](Operation *op) { op->erase(); }},
    {"mbarrier's wait", [](Operation *op) { return isAssembly(op, "mbarrier.try_wait"); }, [](Operation *op) { op->erase(); }},
    {"parity", [](Operation *op) { return isAssembly(op, "mbarrier.try_wait"); },
     [](Operation *op) {
       OpBuilder builder(op);
       Value one = arith::ConstantOp::create(builder, op->getLoc(), builder.getI32IntegerAttr(1));
       op->setOperand(1, arith::XOrIOp::create(builder, op->getLoc(), op->getOperand(1), one));
     }},
    {"arrival", [](Operation *op) { return isAssembly(op, "mbarrier.arrive"); }, [](Operation *op) { op->erase(); }},
    {"bytes of a copy", [](Operation *op) { return isAssembly(op, "cp.async.bulk"); },
     [](Operation *op) {
       OpBuilder builder(op);
       Value piece = arith::ConstantOp::create(builder, op->getLoc(), builder.getI32IntegerAttr(16));
       op->setOperand(2, arith::SubIOp::create(builder, op->getLoc(), op->getOperand(2), piece));
     }},
    {"bulk copy", [](Operation *op) { return isAssembly(op, "cp.async.bulk"); }, [](Operation *op) { op->erase(); }},
    {"fence", [](Operation *op) { return isAssembly(op, "wgmma.fence") || isAssembly(op, "fence.mbarrier_init"); },
     [](Operation *op) {
       for (Operation *user : llvm::make_early_inc_range(op->getUsers())) {
         auto value = cast<LLVM::ExtractValueOp>(user); // what it gives is what it was given
         value.replaceAllUsesWith(op->getOperand(static_cast<unsigned>(value.getPosition()[0])));
         value.erase();
       }
       op->erase();
     }},
    {"group", [](Operation *op) { return isAssembly(op, "wgmma.commit_group"); }, [](Operation *op) { op->erase(); }},
    {"wgmma's wait", [](Operation *op) { return isAssembly(op, "wgmma.wait_group"); },
     [](Operation *op) { // by waits for all but one group
       auto assembly = cast<LLVM::InlineAsmOp>(op);
       assembly.setAsmString("wgmma.wait_group.sync.aligned 1;");
     }},
    {"second factor", [](Operation *op) { return isAssembly(op, "wgmma.mma_async"); },
     [](Operation *op) { // one piece of 16 bytes on
       OpBuilder builder(op);
       Value one = arith::ConstantOp::create(builder, op->getLoc(), builder.getI64IntegerAttr(1));
       op->setOperand(4, arith::AddIOp::create(builder, op->getLoc(), op->getOperand(4), one));
     }},
    {"bound", isBound, [](Operation *op) { cast<arith::CmpIOp>(op).setPredicate(arith::CmpIPredicate::sle); }},
    {"end of a loop", [](Operation *op) { return isa<scf::ForOp>(op); },
     [](Operation *op) {
       auto loop = cast<scf::ForOp>(op);
       OpBuilder builder(op);
       Value one = arith::ConstantOp::create(builder, op->getLoc(), builder.getIntegerAttr(loop.getUpperBound().getType(), 1));
       loop.setUpperBound(arith::AddIOp::create(builder, op->getLoc(), loop.getUpperBound(), one));
     }},
};

/// A plan, the stage whose function is changed, and a step that runs it.
struct Subject {
  std::string text, stage;
  /// What the step writes, or `error`.
  std::function<std::vector<std::vector<float>>(const EmulatedPlan &, std::string &error)> run;
  /// Mutants that compute the same, and why.
  std::map<std::string, std::string> equivalent = {};
  /// Of the mutations; none: all.
  std::string only = {};
  std::string arch = {};
};

/// Applies `mutation` at its place `number` in the function of a stage. Says where that is, or nothing where there are fewer places.
std::string mutate(ModuleOp module, const std::string &stage, const Mutation &mutation, int64_t number) {
  Operation *place = nullptr;
  module.walk([&](gpu::GPUFuncOp function) {
    if (function.getName().ends_with(stage))
      function.walk([&](Operation *op) {
        if (mutation.find(op) && number-- == 0)
          place = op;
      });
  });
  if (!place)
    return "";
  std::string text;
  llvm::raw_string_ostream stream(text);
  place->print(stream, OpPrintingFlags().skipRegions().useLocalScope());
  mutation.change(place);
  return text;
}

void check(const Subject &subject) {
  std::string error;
  EmulatedPlan right(subject.text, {}, subject.arch);
  ASSERT_TRUE(right) << right.error();
  const auto expected = subject.run(right, error);
  ASSERT_EQ(error, "");
  auto isSame = [](const std::vector<float> &a, const std::vector<float> &b) { return memcmp(a.data(), b.data(), a.size() * 4) == 0; };
  for (const Mutation &mutation : mutations) {
    if (!subject.only.empty() && mutation.name != subject.only)
      continue;
    for (int64_t number = 0;; ++number) {
      std::string where;
      EmulatedPlan wrong(subject.text, [&](ModuleOp module) { where = mutate(module, subject.stage, mutation, number); }, subject.arch);
      if (where.empty())
        break;
      ASSERT_TRUE(wrong) << wrong.error();
      const auto results = subject.run(wrong, error);
      const bool survives = error.empty() && std::equal(results.begin(), results.end(), expected.begin(), isSame);
      const std::string name = mutation.name + (" " + std::to_string(number));
      EXPECT_EQ(survives, subject.equivalent.contains(name)) << subject.stage << ": " << name << ": " << where << " " << error;
    }
  }
}

Subject gemm(const GemmShape &shape, const std::string &stage, int32_t rows) {
  auto kernel = std::make_shared<GemmKernel>(shape);
  return {kernel->text(rows), stage,
          [kernel, rows](const EmulatedPlan &code, std::string &error) { return kernel->run(code, 1, rows, error); }};
}

const std::string firstSum = "of the first sum over the block, whose memory nobody has used before", oneRow = "row 0 is always there",
                  beyondUnits = "a unit that is not there has no columns", beyondTurns = "a turn too many has no units",
                  behindRow = "behind a row is room that nobody reads";

TEST(GpuMutations, oneRow) {
  Subject subject = gemm({96, {{264, {16}, true}}, "layer_norm"}, "_rows1", 1);
  subject.equivalent = {{"barrier 0", firstSum},
                        {"bound 1", oneRow},
                        {"bound 2", oneRow},
                        {"bound 3", oneRow},
                        {"bound 4", beyondUnits},
                        {"end of a loop 0", behindRow},
                        {"end of a loop 2", beyondTurns}};
  check(subject);
}

TEST(GpuMutations, fewRows) {
  Subject subject = gemm({96, {{264, {8, false, 32, true}}}}, "_rows8", 5);
  subject.equivalent = {{"bound 1", "a factor of a row that is not there has room"},
                        {"bound 2", "a row that is not there is made from the last one, and its results are not looked at"},
                        {"bound 3", beyondUnits},
                        {"end of a loop 0", behindRow},
                        {"end of a loop 2", beyondTurns}};
  check(subject);
}

/// Rows in parts share their memory.
TEST(GpuMutations, rowsInParts) {
  Subject subject = gemm({3200, {{16, {16}}}}, "_rows16", 16);
  subject.only = "barrier";
  check(subject);
}

/// Sums of one turn stand beside those of the next.
TEST(GpuMutations, turns) {
  Subject subject = gemm({32, {{70000, {16}}}}, "_rows1", 1);
  subject.only = "barrier";
  check(subject);
}

TEST(GpuMutations, preparation) { check(gemm({100, {{24, {16}}}, "rms_norm"}, "_prepare", 19)); }

TEST(GpuMutations, tiles) {
  Subject subject = gemm({160, {{40, {16}, true}}}, "_tiles32x32", 35);
  subject.equivalent = {{"bound 9", beyondUnits}};
  check(subject);
}

/// Eight steps along the depth and fewer stages, so that each is used again.
TEST(GpuMutations, warpgroups) {
  Subject subject = gemm({32 * 13, {{40, {16}, true}}}, "_wgmma64x32", 35);
  subject.arch = "sm_90a";
  subject.equivalent = {{"bound 2", beyondUnits}, {"end of a loop 2", "behind the last sum no unit is there"}};
  check(subject);
}

TEST(GpuMutations, preparedPieces) {
  Subject subject = gemm({100, {{24, {16}}}, "rms_norm"}, "_prepare_pieces", 19);
  subject.arch = "sm_90a";
  check(subject);
}

/// Heads that are rounded as a whole; the last token is behind the last slot.
TEST(GpuMutations, codes) {
  GemmShape shape{32, {{36, {16}}, {24, {16}}}, "", false, 48};
  shape.codes = true;
  for (Product &product : shape.products)
    product.result = false;
  shape.products[0].heads = 3, shape.products[0].store = "keys", shape.products[0].rope = "half", shape.products[0].rotary = 12;
  shape.products[1].heads = 2, shape.products[1].store = "values";
  Subject subject = gemm(shape, "_heads", 36);
  for (const char *bound : {"bound 2", "bound 3", "bound 4", "bound 5"})
    subject.equivalent[bound] = "rope turns all of a head";
  check(subject);
}

constexpr int64_t sampledVocab = 2050; // three chunks

/// A step of two rows, whose tokens depend on all of it.
SampleRows sampledStep(uint32_t number, int32_t topK, float topP, bool isRandom, float penalty) {
  SampleRows step{sampledVocab, {}, {}};
  step.step = number;
  step.options.sample = isRandom;
  step.options.temperature = 0.4f;
  step.options.topK = topK;
  step.options.topP = topP;
  step.options.repetitionPenalty = penalty;
  for (uint32_t row = 0; row < 2; ++row) {
    std::vector<float> &logits = step.logits.emplace_back(Numbers(10 * number + row).take(sampledVocab));
    logits[sampledVocab - 1 - 1024 * number] = row == 1 ? 1.01f : 0.7f; // at the end of a chunk, at times the greatest
    std::vector<int32_t> &seen = step.seen.emplace_back();
    for (int32_t token = 0; penalty != 1 && token < 300; ++token)
      seen.push_back(static_cast<int32_t>(token * 3 + row));
  }
  return step;
}

/// Two equal tokens, and the number where the second begins.
SampleRows onTheBorder(int64_t first, int64_t second) {
  SampleRows step{sampledVocab, {}, {std::vector<float>(sampledVocab, -infinite)}};
  step.logits[0][first] = step.logits[0][second] = 1;
  step.options.sample = true;
  step.random = uint64_t(1) << 63;
  return step;
}

Subject sample(const std::string &stage, std::vector<SampleRows> steps, std::map<std::string, std::string> equivalent = {}) {
  auto run = [steps](const EmulatedPlan &code, std::string &error) {
    std::vector<std::vector<float>> all;
    error.clear();
    for (const SampleRows &step : steps) {
      std::string what;
      const std::vector<int32_t> tokens = step.onDevice(code, what);
      error = error.empty() ? what : error;
      all.emplace_back(tokens.begin(), tokens.end());
    }
    return all;
  };
  return {sampleText(sampledVocab), stage, run, std::move(equivalent)};
}

std::vector<SampleRows> sampledSteps() {
  return {sampledStep(0, 30, 0.6f, true, 1), sampledStep(1, 0, 1, true, 1), sampledStep(2, 0, 0.7f, true, 1)};
}

const std::string firstMax = "of the first maximum over the block, whose memory nobody has used before",
                  noMaximum = "behind the numbers of chunks is room that nobody wrote, and a NaN is no maximum";

TEST(GpuMutations, sampleGreatest) {
  check(sample("sample_greatest", {sampledStep(0, 0, 1, false, 1), sampledStep(1, 0, 1, false, 1), sampledStep(2, 0, 1, false, 1)}));
}
TEST(GpuMutations, sampleGreedy) {
  check(sample("sample_greedy", {sampledStep(0, 0, 1, false, 1), sampledStep(1, 0, 1, false, 1)}, {{"end of a loop 0", noMaximum}}));
}
TEST(GpuMutations, samplePenalty) {
  check(sample("sample_penalty", {sampledStep(0, 0, 1, false, 2), sampledStep(1, 0, 1, false, 2), sampledStep(2, 0, 1, false, 2)}));
}
TEST(GpuMutations, sampleSearch) {
  check(sample("sample_search", {sampledSteps().front()}, {{"barrier 0", firstMax}, {"end of a loop 0", noMaximum}}));
}
TEST(GpuMutations, sampleWeigh) {
  std::vector<SampleRows> steps = sampledSteps();
  steps.push_back(onTheBorder(9, 2049));
  check(sample("sample_weigh", steps, {{"barrier 0", firstMax}, {"end of a loop 0", noMaximum}}));
}
TEST(GpuMutations, samplePick) {
  // The second token is another thread's, or another chunk's.
  std::vector<SampleRows> steps = {sampledSteps()[1],       onTheBorder(0, 8), onTheBorder(5, 9),
                                   onTheBorder(1034, 1036), onTheBorder(7, 8), onTheBorder(9, 2049)};
  check(sample("sample_pick", steps,
               {{"barrier 0", firstMax},
                {"barrier 5", "the sums of chunks were read before the barrier in front of it"},
                {"end of a loop 0", noMaximum},
                {"end of a loop 2", "one more adds to the sum over all, which nobody asks for"}}));
}

TEST(GpuMutations, norm) {
  constexpr int64_t width = 1100, rows = 2;
  OneLaunch plan;
  const std::string t = "tensor<?x?x1100xf32>", v = "tensor<1100xf32>";
  std::string x = plan.rows("tokens", width), g = plan.weight("vector", 0, "memref<1120xf32>"), y = plan.rows("tokens", width);
  std::string text = plan.text("row",
                               "^bb0(%x: " + t + ", %g: " + v + "):\n  %y = ds.layer_norm %x, %g eps 1.0e-5 : " + t + ", " + v +
                                   "\n  ds_plan.return %y : " + t + "\n",
                               {x, g}, {y});
  auto run = [](const EmulatedPlan &code, std::string &error) {
    Floats in(Numbers(3).take(rows * width)), out(rows * width), gain(Numbers(4).take(width));
    EmulatedStep step;
    step.tokens = rows;
    step.outputs = {all(in), all(out)};
    step.weights = bytesOf(gain);
    error = code.run(step);
    return std::vector<std::vector<float>>{std::vector<float>(all(out).begin(), all(out).end())};
  };
  check({text, "", run, {{"barrier 0", firstSum}}});
}

} // namespace
