#include "ds/Target/CUDA/Emulation.h"
#include "EmulationLowering.h"
#include "ds/Target/CPU/Link.h"
#include "ds/Target/CPU/MachineCode.h"
#include "dsrt/emulate.h"
#include "mlir/Bytecode/BytecodeWriter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"

using namespace mlir;
using namespace ds;

/// The modules of the GPU alone, as bytecode.
static std::string gpuModulesOf(ModuleOp module) {
  OwningOpRef<ModuleOp> copy = ModuleOp::create(UnknownLoc::get(module.getContext()));
  for (auto gpuModule : module.getOps<gpu::GPUModuleOp>())
    copy->push_back(gpuModule->clone());
  std::string bytes;
  llvm::raw_string_ostream stream(bytes);
  (void)writeBytecodeToFile(*copy, stream); // fails for old versions alone
  return bytes;
}

/// The stacks of emulated threads are small, and nothing lies between them.
static constexpr uint64_t mostStackBytes = DS_EMULATE_STACK_BYTES;

/// Errors for functions that need more stack than there is, once code is made of `module`.
static void watchStacks(llvm::Module &module, std::string &errors) {
  for (llvm::Function &function : module)
    function.addFnAttr("warn-stack-size", std::to_string(mostStackBytes));
  module.getContext().setDiagnosticHandlerCallBack(
      [](const llvm::DiagnosticInfo *info, void *errors) {
        if (auto *stack = llvm::dyn_cast<llvm::DiagnosticInfoStackSize>(info))
          llvm::raw_string_ostream(*static_cast<std::string *>(errors))
              << stack->getFunction().getName() << " needs " << stack->getStackSize() << " bytes of stack, more than " << mostStackBytes;
      },
      &errors);
}

llvm::Expected<std::string> ds::compileForEmulation(ModuleOp module) {
  const CpuLevel &level = *findCpuLevel("x86-64-v3");
  DialectRegistry registry;
  registry.insert<arith::ArithDialect, cf::ControlFlowDialect, gpu::GPUDialect, LLVM::LLVMDialect, NVVM::NVVMDialect, scf::SCFDialect,
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
    return llvm::createStringError("code for emulation: " + what + ": " + llvm::StringRef(diagnostics).rtrim());
  };

  OwningOpRef<ModuleOp> lowered = parseSourceString<ModuleOp>(gpuModulesOf(module), ParserConfig(&context));
  if (!lowered)
    return failed("reading the kernels failed");
  if (llvm::Error error = EmulationLowering(*lowered, level).run())
    return std::move(error);
  if (mlir::failed(verify(*lowered)))
    return failed("the lowered kernels are not valid");
  if (mlir::failed(lowerToLLVM(*lowered)))
    return failed("lowering failed");

  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> translated = translateModuleToLLVMIR(*lowered, llvmContext, "ds-emulation");
  if (!translated)
    return failed("translation to LLVM IR failed");
  llvm::Expected<std::unique_ptr<llvm::TargetMachine>> machine = targetMachineFor(level);
  if (!machine)
    return machine.takeError();
  watchStacks(*translated, diagnostics);
  optimize(*translated, **machine, level);
  std::string object = emitMachineCode(*translated, **machine, llvm::CodeGenFileType::ObjectFile);
  return diagnostics.empty() ? linkSharedObject(object) : failed("making machine code failed");
}
