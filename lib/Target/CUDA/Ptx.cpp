// From kernels to PTX by LLVM's NVPTX back end.
#include "ds/Target/CPU/MachineCode.h"
#include "ds/Target/CUDA/CodeGen.h"
#include "ds/Target/CUDA/Kernel.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/DialectConversion.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/TargetParser/Triple.h"
#include <mutex>

using namespace mlir;
using namespace ds;

llvm::Expected<GpuArch> ds::findGpuArch(llvm::StringRef name) {
  // The first PTX version that knows the machine and the hints of loads: a later one would ask for a later driver.
  constexpr int64_t ampere = 163 << 10, small = 99 << 10, hopper = 227 << 10;
  static const GpuArch known[] = {{"compute_80", "+ptx74", 80, ampere}, {"sm_80", "+ptx74", 80, ampere},
                                  {"sm_86", "+ptx74", 86, small},       {"sm_89", "+ptx78", 89, small},
                                  {"sm_90", "+ptx78", 90, hopper},      {"sm_90a", "+ptx80", 90, hopper, true},
                                  {"sm_100a", "+ptx86", 100, hopper},   {"sm_120", "+ptx87", 120, small}};
  std::string names;
  for (const GpuArch &arch : known) {
    if (arch.name == name)
      return arch;
    names += (names.empty() ? "" : ", ") + arch.name;
  }
  return llvm::createStringError("expects " + names + ", got '" + name + "'");
}

static llvm::Expected<std::unique_ptr<llvm::TargetMachine>> nvptxMachineFor(const GpuArch &arch) {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
  const llvm::Triple triple("nvptx64-nvidia-cuda");
  std::string message;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, message);
  if (!target)
    return llvm::createStringError("code for " + arch.name + ": " + message);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Fast;
  std::string cpu = arch.name == "compute_80" ? "sm_80" : arch.name;
  return std::unique_ptr<llvm::TargetMachine>(
      target->createTargetMachine(triple, cpu, arch.features, options, std::nullopt, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

/// Replaces the ops of the `gpu` dialect. MLIR's pass of this name would refuse LLVM's intrinsics for math, as it calls a library for them;
/// those that kernels use are instructions.
static LogicalResult lowerGpuOps(gpu::GPUModuleOp kernels) {
  MLIRContext *context = kernels.getContext();
  LowerToLLVMOptions options(context);
  options.useBarePtrCallConv = true;
  options.overrideIndexBitwidth(32);
  LLVMTypeConverter converter(context, options);
  RewritePatternSet patterns(context);
  populateGpuToNVVMConversionPatterns(converter, patterns);
  LLVMConversionTarget target(*context);
  target.addIllegalDialect<gpu::GPUDialect>();
  target.addLegalOp<gpu::GPUModuleOp>();
  target.addLegalDialect<NVVM::NVVMDialect>();
  return applyPartialConversion(kernels, target, std::move(patterns));
}

/// The `gpu.module` becomes a module of LLVM functions.
static LogicalResult lower(ModuleOp module, const GpuArch &arch) {
  if (arch.number < 90) // griddepcontrol begins with sm_90; before it launches wait for each other anyway
    module.walk([](NVVM::GriddepcontrolOp op) { op.erase(); });
  auto run = [&](std::initializer_list<std::unique_ptr<Pass>> list) {
    PassManager passes(module.getContext());
    passes.enableVerifier(false);
    for (const std::unique_ptr<Pass> &pass : list)
      passes.addPass(std::move(const_cast<std::unique_ptr<Pass> &>(pass)));
    return passes.run(module);
  };
  if (failed(run({createCanonicalizerPass(), createCSEPass(), createSCFToControlFlowPass()})))
    return failure();
  for (auto kernels : module.getOps<gpu::GPUModuleOp>())
    if (failed(lowerGpuOps(kernels)))
      return failure();
  ArithToLLVMConversionPassOptions arithmetic;
  arithmetic.indexBitwidth = 32;
  return run({createConvertVectorToLLVMPass(), createArithToLLVMConversionPass(arithmetic), createConvertControlFlowToLLVMPass(),
              createReconcileUnrealizedCastsPass()});
}

llvm::Expected<std::string> ds::compileToPtx(const GpuKernels &kernels, const GpuArch &arch) {
  MLIRContext &context = *kernels.module.get()->getContext();
  std::string diagnostics;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    diagnostics += diagnostic.str() + "\n";
    return success();
  });
  auto failed = [&](llvm::StringRef what) {
    return llvm::createStringError("code for " + arch.name + ": " + what + ": " + llvm::StringRef(diagnostics).rtrim());
  };
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
  context.appendDialectRegistry(registry);
  if (mlir::failed(verify(*kernels.module)))
    return failed("the emitted kernels are not valid");
  OwningOpRef<ModuleOp> module = ModuleOp(*kernels.module).clone();
  module->walk([&](gpu::GPUFuncOp function) {
    auto only = function->getAttrOfType<StringAttr>(onlyAttr), except = function->getAttrOfType<StringAttr>(exceptAttr);
    if ((only && only.getValue() != arch.name) || (except && except.getValue() == arch.name)) {
      function.erase();
      return;
    }
    function->removeAttr(onlyAttr);
    function->removeAttr(exceptAttr);
  });
  if (mlir::failed(lower(*module, arch)))
    return failed("lowering failed");
  // The functions alone are what is translated.
  OwningOpRef<ModuleOp> functions = ModuleOp::create(module->getLoc());
  for (auto kernelModule : module->getOps<gpu::GPUModuleOp>())
    functions->getBody()->getOperations().splice(functions->getBody()->end(), kernelModule.getBody()->getOperations());
  for (Operation &op : llvm::make_early_inc_range(functions->getBody()->getOperations()))
    if (!isa<LLVM::LLVMFuncOp, LLVM::GlobalOp>(op))
      op.erase();

  llvm::Expected<std::unique_ptr<llvm::TargetMachine>> machine = nvptxMachineFor(arch);
  if (!machine)
    return machine.takeError();
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> translated = translateModuleToLLVMIR(*functions, llvmContext, "ds-kernels");
  if (!translated)
    return failed("translation to LLVM IR failed");
  runOptimizations(*translated, **machine);
  return emitMachineCode(*translated, **machine, llvm::CodeGenFileType::AssemblyFile);
}
