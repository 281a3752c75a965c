#include "ds/Target/CPU/CodeGen.h"
#include "Program.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Target/CPU/Link.h"
#include "ds/Target/CPU/MachineCode.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Transforms/Utils/Cloning.h"
#include <atomic>
#include <mutex>
#include <thread>

using namespace mlir;
using namespace ds;

static constexpr llvm::StringLiteral stageNames[] = {"kernels", "mlir", "llvm", "asm", "obj"};

bool ds::isCpuCodeStage(llvm::StringRef stage) { return llvm::is_contained(stageNames, stage); }

namespace {

/// What several compiling threads share.
struct Shared {
  const CpuCodeOptions &options;
  std::string plan; // text: every level has a context of its own
  std::mutex dumping;

  void dump(const CpuLevel &level, llvm::StringRef stage, llvm::function_ref<std::string()> text) {
    if (!options.dump || !options.stages.contains(stage))
      return;
    std::string shown = text();
    std::lock_guard lock(dumping);
    options.dump(level, stage, shown);
  }
};

template <typename T> std::string printed(const T &thing) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  const_cast<T &>(thing).print(stream);
  return text;
}
std::string printed(const llvm::Module &module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream, nullptr);
  return text;
}

llvm::Expected<std::string> compileLevel(const CpuLevel &level, Shared &shared) {
  DialectRegistry registry;
  registry.insert<DSDialect, ds_plan::DSPlanDialect, arith::ArithDialect, cf::ControlFlowDialect, LLVM::LLVMDialect, scf::SCFDialect,
                  vector::VectorDialect>();
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  std::string diagnostics;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    diagnostics += diagnostic.str() + "\n";
    return success();
  });
  auto failed = [&](llvm::StringRef what) {
    return llvm::createStringError("code for " + level.name + ": " + what + ": " + llvm::StringRef(diagnostics).rtrim());
  };

  OwningOpRef<ModuleOp> planned = parseSourceString<ModuleOp>(shared.plan, ParserConfig(&context));
  if (!planned)
    return failed("reading the plan failed");
  llvm::Expected<OwningOpRef<ModuleOp>> emitted = emitCpuModule(*planned, level);
  if (!emitted)
    return emitted.takeError();
  ModuleOp module = **emitted;
  shared.dump(level, "kernels", [&] { return printed(module); });

  if (mlir::failed(verify(module)))
    return failed("the emitted kernels are not valid");
  if (mlir::failed(lowerToLLVM(module)))
    return failed("lowering failed");
  shared.dump(level, "mlir", [&] { return printed(module); });

  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> translated = translateModuleToLLVMIR(module, llvmContext, "ds-package");
  if (!translated)
    return failed("translation to LLVM IR failed");
  llvm::Expected<std::unique_ptr<llvm::TargetMachine>> machine = targetMachineFor(level);
  if (!machine)
    return machine.takeError();
  optimize(*translated, **machine, level);
  shared.dump(level, "llvm", [&] { return printed(*translated); });
  shared.dump(level, "asm",
              [&] { return emitMachineCode(*llvm::CloneModule(*translated), **machine, llvm::CodeGenFileType::AssemblyFile); });
  std::string object = emitMachineCode(*translated, **machine, llvm::CodeGenFileType::ObjectFile);
  shared.dump(level, "obj", [&] { return object; });
  return linkSharedObject(object);
}

} // namespace

llvm::Expected<std::vector<CpuCode>> ds::compileForCpu(ModuleOp planned, ArrayRef<CpuLevel> levels, const CpuCodeOptions &options) {
  Shared shared{options, {}, {}};
  {
    llvm::raw_string_ostream stream(shared.plan);
    planned.print(stream, OpPrintingFlags().printGenericOpForm());
  }
  std::vector<CpuCode> codes(levels.size());
  std::vector<std::optional<llvm::Error>> errors(levels.size());
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i = next++; i < levels.size(); i = next++) {
      llvm::Expected<std::string> bytes = compileLevel(levels[i], shared);
      if (bytes)
        codes[i] = {levels[i].name.str(), std::move(*bytes)};
      else
        errors[i] = bytes.takeError();
    }
  };
  const size_t wanted = options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> workers;
  for (size_t i = 1; i < std::min(wanted, levels.size()); ++i)
    workers.emplace_back(work);
  work();
  for (std::thread &worker : workers)
    worker.join();
  llvm::Error first = llvm::Error::success();
  for (std::optional<llvm::Error> &error : errors)
    if (error) {
      if (first)
        llvm::consumeError(std::move(*error));
      else
        first = std::move(*error);
    }
  if (first)
    return std::move(first);
  return codes;
}
