#include "EmulatedKernel.h"
#include "ds/Target/CUDA/Emulation.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace ds;
using namespace ds::test;
using namespace mlir;

static OwningOpRef<ModuleOp> moduleWith(MLIRContext &context, unsigned pointers, const EmulatedKernel::Body &body) {
  OpBuilder builder(&context);
  Location loc = builder.getUnknownLoc();
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  builder.setInsertionPointToEnd(module->getBody());
  auto kernels = gpu::GPUModuleOp::create(builder, loc, "ds_kernels");
  builder.setInsertionPointToStart(kernels.getBody());
  LLVM::GlobalOp::create(builder, loc, LLVM::LLVMArrayType::get(builder.getI8Type(), 0), /*isConstant=*/false, LLVM::Linkage::External,
                         GpuEmitter::sharedName, Attribute(), /*alignment=*/16, /*addrSpace=*/3);
  SmallVector<Type> types(pointers, LLVM::LLVMPointerType::get(&context));
  auto function = gpu::GPUFuncOp::create(builder, loc, "kernel", builder.getFunctionType(types, {}));
  function->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), builder.getUnitAttr());
  builder.setInsertionPointToStart(&function.getBody().front());
  GpuEmitter e(builder, *module);
  body(e, function.getArguments().take_front(pointers));
  gpu::ReturnOp::create(builder, loc);
  return module;
}

EmulatedKernel::EmulatedKernel(unsigned pointers, const Body &body) {
  DialectRegistry registry;
  registry.insert<arith::ArithDialect, gpu::GPUDialect, LLVM::LLVMDialect, NVVM::NVVMDialect, scf::SCFDialect, vector::VectorDialect>();
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  OwningOpRef<ModuleOp> module = moduleWith(context, pointers, body);
  llvm::Expected<std::string> compiled = compileForEmulation(*module);
  if (!compiled) {
    message = llvm::toString(compiled.takeError());
    return;
  }
  bytes = std::move(*compiled);
  file = memfd_create("code", 0);
  if (write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()))
    handle = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    message = dlerror();
}

EmulatedKernel::~EmulatedKernel() {
  if (handle)
    dlclose(handle);
  if (file >= 0)
    close(file);
}

void EmulatedKernel::use(dsrt::Emulator &emulator) const {
  emulator.setOps(*static_cast<const int32_t *>(dlsym(handle, DS_EMULATE_OP_COUNT_SYMBOL)),
                  static_cast<const DsEmulatedOp *>(dlsym(handle, DS_EMULATE_OPS_SYMBOL)),
                  static_cast<const char *>(dlsym(handle, DS_EMULATE_OP_TEXTS_SYMBOL)));
}

dsrt::Status EmulatedKernel::launch(dsrt::Emulator &emulator, const Launch &launch, const std::vector<void *> &pointers) const {
  std::vector<const void *> args;
  for (void *const &pointer : pointers)
    args.push_back(&pointer);
  dsrt::EmulatedLaunch launched;
  launched.kernel = "kernel";
  launched.function = reinterpret_cast<DsEmulatedKernelFn>(dlsym(handle, DS_EMULATED_PREFIX "kernel"));
  std::copy(std::begin(launch.blocks), std::end(launch.blocks), launched.grid);
  launched.threads = launch.threads;
  launched.sharedBytes = launch.sharedBytes;
  launched.overlaps = launch.overlaps;
  launched.args = args.data();
  return emulator.launch(launched);
}

std::string EmulatedKernel::run(const Launch &launch, const std::vector<Memory> &memory) const {
  std::unique_ptr<dsrt::Emulator> emulator;
  if (dsrt::Status status = dsrt::Emulator::create(launch.options, emulator); !status.ok())
    return status.message();
  use(*emulator);
  std::vector<void *> pointers;
  for (const Memory &block : memory) {
    emulator->addMemory(reinterpret_cast<uint64_t>(block.data), static_cast<int64_t>(block.bytes),
                        "argument " + std::to_string(pointers.size()));
    pointers.push_back(block.data);
  }
  return this->launch(*emulator, launch, pointers).message();
}
