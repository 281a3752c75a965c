// Every kernel of a plan becomes stages, every launch of a program launches of those.
#include "Sample.h"
#include "ds/Analysis/OutputNeeds.h"
#include "ds/Conversion/ModulePath.h"
#include "ds/Target/CUDA/CodeGen.h"
#include "ds/Target/CUDA/Kernel.h"
#include "dsrt/package.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <map>
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace ds;
using namespace ds_plan;
using Json = nlohmann::ordered_json;

char UnservedKernel::ID;

static constexpr int64_t scratchAlignment = 256;

namespace {

/// A kernel of the plan with its stages, and the functions of those that some program launches.
struct BuiltKernel {
  std::unique_ptr<GpuKernel> kernel;
  SmallVector<int64_t> functions; // by stage: index in `kernels`, or -1
};

class KernelsEmitter {
public:
  KernelsEmitter(ModuleOp planned, llvm::ArrayRef<GpuArch> archs, int64_t libraryRows, Tuning &tuning)
      : planned(planned), libraryRows(libraryRows), tuning(tuning), symbols(planned), builder(planned.getContext()),
        loc(builder.getUnknownLoc()), module(ModuleOp::create(loc)), e(builder, *module) {
    for (const GpuArch &arch : archs)
      mostSharedBytes = std::min(mostSharedBytes, arch.sharedBytes);
    hasWarpgroups = llvm::any_of(archs, [](const GpuArch &arch) { return arch.hasWarpgroups; });
    if (!archs.empty())
      tuningArch = archs.front().name;
    auto withMma = llvm::find_if(archs, [](const GpuArch &arch) { return !arch.hasWarpgroups; });
    mmaArch = withMma == archs.end() ? everyMachine.str() : withMma->name;
  }

  llvm::Expected<GpuKernels> run();

private:
  llvm::Error emitProgram(ProgramOp program);
  llvm::Error emitLaunch(LaunchOp launch, ProgramOp program, int64_t number, int64_t scratchOffset, Json &launches);
  llvm::Expected<BuiltKernel *> built(LaunchOp launch);
  int64_t function(BuiltKernel &built, size_t stage, LaunchOp launch);
  gpu::GPUFuncOp startFunction(std::string name, ArrayRef<Type> types, const GpuShape &shape);
  void beginBody(const GpuShape &shape);
  int64_t sampleFunction(const SampleStage &stage, int64_t vocab);
  std::optional<Json> sampling(ProgramOp program, int64_t scratchOffset, int64_t &scratch);
  llvm::Expected<Json> argument(Operation *place);

  /// Takes down what `stage` was chosen by, of steps that `program` has.
  void noteChoices(const GpuKernel::Stage &stage, int64_t mostRows);

  /// What every package has code for.
  static constexpr llvm::StringLiteral everyMachine = "compute_80";
  ModuleOp planned;
  int64_t libraryRows;
  Tuning &tuning;
  int64_t mostSharedBytes = 227 << 10;
  bool hasWarpgroups = false;
  std::string tuningArch = everyMachine.str(), mmaArch = everyMachine.str();
  SymbolTable symbols;
  DenseMap<Operation *, OutputOp> forOneOutput; // of the program at hand
  OpBuilder builder;
  Location loc;
  OwningOpRef<ModuleOp> module;
  GpuEmitter e;
  gpu::GPUModuleOp kernelModule;
  llvm::StringMap<BuiltKernel> kernels;
  llvm::StringMap<int64_t> names;                                     // of functions, and how often each was taken
  std::map<std::pair<int64_t, std::string>, int64_t> sampleFunctions; // by vocabulary and stage
  Json kernelList = Json::array(), programList = Json::array();
  std::vector<std::string> notes;
};

/// The JSON name of a size in a launch.
StringRef nameOfSize(GpuSize size, LaunchOp launch, const SymbolTable &symbols) {
  if (size == GpuSize::batch)
    return "batch";
  if (size == GpuSize::tokens)
    return "tokens";
  KernelOperand first = describeOperand(launch.getOuts().front(), symbols);
  if (first.kind == KernelOperand::Kind::rows && first.rows == Rows::selected)
    return "selected";
  return first.kind == KernelOperand::Kind::rows && first.rows == Rows::batch ? "batch" : "token_rows";
}

int64_t mostOf(StringRef size, ProgramOp program) { return size == "batch" ? program.getMaxBatch() : program.getMaxRows(); }

/// Steps that a stage is launched for, and whether where cuBLASLt is there, or is not, alone.
struct StageUse {
  SmallVector<GpuBound, 2> when;
  std::optional<bool> library;
};

SmallVector<StageUse, 2> usesOf(const GpuShape &shape) {
  if (shape.withLibrary)
    return {{shape.when, true}};
  if (shape.withoutLibraryFrom == 0)
    return {{shape.when, std::nullopt}};
  StageUse few{shape.when, std::nullopt}, many{shape.when, false};
  auto rowsOf = [](StageUse &use) -> GpuBound & {
    return *llvm::find_if(use.when, [](const GpuBound &bound) { return bound.size == GpuSize::rows; });
  };
  rowsOf(few).most = std::min(rowsOf(few).most, shape.withoutLibraryFrom - 1);
  rowsOf(many).least = std::max(rowsOf(many).least, shape.withoutLibraryFrom);
  SmallVector<StageUse, 2> uses;
  for (StageUse *use : {&few, &many})
    if (rowsOf(*use).least <= rowsOf(*use).most)
      uses.push_back(*use);
  return uses;
}

Json productOf(const GpuLibraryProduct &product, int64_t scratchOffset) {
  auto place = [&](const GpuScratchPlace &at) { return Json{{"offset", scratchOffset + at.bytes}, {"bytes_per_row", at.bytesPerRow}}; };
  return {{"type", product.type == MmaType::bf16 ? "bf16" : "f16"},
          {"columns", product.columns},
          {"depth", product.depth},
          {"x", place(product.x)},
          {"weights", place(product.weights)},
          {"sums", place(product.sums)}};
}

} // namespace

llvm::Expected<BuiltKernel *> KernelsEmitter::built(LaunchOp launch) {
  BuiltKernel &entry = kernels[kernelKey(launch, symbols)];
  if (entry.kernel)
    return &entry;
  auto kernel = symbols.lookup<KernelOp>(launch.getKernel());
  const std::string module = modulePath(launch.getLoc());
  auto unserved = [&](std::string reason) {
    return llvm::make_error<UnservedKernel>((module.empty() ? "" : "'" + module + "': ") + reason);
  };
  GpuKernelBuilder build = findGpuKernelBuilder(kernel.getFamily());
  if (!build)
    return unserved(
        ("kernel '" + kernel.getSymName() + "' is of family '" + kernel.getFamily() + "', which the CUDA target does not have").str());
  auto describe = [&](OperandRange operands) {
    SmallVector<KernelOperand> list;
    for (Value operand : operands)
      list.push_back(describeOperand(operand, symbols));
    return list;
  };
  auto made = std::make_unique<GpuKernel>(kernel, describe(launch.getIns()), describe(launch.getAux()), describe(launch.getOuts()));
  made->mostSharedBytes = mostSharedBytes;
  made->hasWarpgroups = hasWarpgroups;
  made->libraryRows = libraryRows;
  made->tuning = &tuning;
  made->tuningArch = tuningArch;
  made->mmaArch = mmaArch;
  if (llvm::Error error = build(*made))
    return unserved(llvm::toString(std::move(error)));
  for (const GpuKernel::Stage &stage : made->stages) {
    const llvm::StringRef only = stage.shape.only;
    const int64_t most = only.empty() ? mostSharedBytes : llvm::cantFail(findGpuArch(only)).sharedBytes;
    if (stage.shape.sharedBytes > most)
      return unserved(llvm::toString(made->error("stage '" + stage.shape.name + "' needs " + llvm::Twine(stage.shape.sharedBytes) +
                                                 " bytes of shared memory, a block has at most " + llvm::Twine(most))));
  }
  if (made->stages.empty())
    return made->error("its builder made no stage");
  if (!made->note.empty())
    notes.push_back((module.empty() ? "" : "'" + module + "': ") + made->note);
  entry.kernel = std::move(made);
  entry.functions.assign(entry.kernel->stages.size(), -1);
  return &entry;
}

/// A kernel without a body; the builder stands in it.
gpu::GPUFuncOp KernelsEmitter::startFunction(std::string name, ArrayRef<Type> types, const GpuShape &shape) {
  for (char &c : name)
    if (!llvm::isAlnum(c))
      c = '_';
  if (int64_t taken = names[name]++)
    name += "_" + std::to_string(taken);
  builder.setInsertionPointToEnd(kernelModule.getBody());
  auto function = gpu::GPUFuncOp::create(builder, loc, name, builder.getFunctionType(types, {}));
  function->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), builder.getUnitAttr());
  function->setAttr("nvvm.maxntid", builder.getDenseI32ArrayAttr({static_cast<int32_t>(shape.threads)}));
  function->setAttr("nvvm.minctasm", builder.getI32IntegerAttr(static_cast<int32_t>(shape.blocksPerProcessor)));
  builder.setInsertionPointToStart(&function.getBody().front());
  return function;
}

void KernelsEmitter::beginBody(const GpuShape &shape) {
  if (shape.letsNextBegin)
    e.gridLaunchDependents();
  if (!shape.waitsItself)
    e.gridWait();
}

int64_t KernelsEmitter::function(BuiltKernel &built, size_t stage, LaunchOp launch) {
  if (built.functions[stage] >= 0)
    return built.functions[stage];
  const GpuKernel &kernel = *built.kernel;
  const GpuShape &shape = kernel.stages[stage].shape;
  std::string name = ds_plan::KernelOp(kernel.kernel).getSymName().str() + (shape.name.empty() ? "" : "_" + shape.name);
  SmallVector<Type> types;
  SmallVector<bool> isWeight;
  GpuBody body{e, kernel.ins, kernel.aux, kernel.outs, {}, {}, {}, {}, {}};
  for (auto *list : {&body.ins, &body.aux, &body.outs})
    for (KernelOperand &operand : *list) {
      types.push_back(e.ptr());
      isWeight.push_back(operand.kind == KernelOperand::Kind::weight);
      if (operand.kind == KernelOperand::Kind::cache) {
        types.push_back(e.i64());
        isWeight.push_back(false);
      }
    }
  types.append({e.ptr(), e.ptr(), e.i32(), e.i32(), e.i32()});
  OpBuilder::InsertionGuard guard(builder);
  gpu::GPUFuncOp function = startFunction(std::move(name), types, shape);
  for (auto [index, weight] : llvm::enumerate(isWeight))
    if (weight) {
      auto number = static_cast<unsigned>(index);
      function.setArgAttr(number, LLVM::LLVMDialect::getNoAliasAttrName(), builder.getUnitAttr());
      function.setArgAttr(number, LLVM::LLVMDialect::getReadonlyAttrName(), builder.getUnitAttr());
    }
  unsigned next = 0;
  for (auto *list : {&body.ins, &body.aux, &body.outs})
    for (KernelOperand &operand : *list) {
      operand.pointer = function.getArgument(next++);
      if (operand.kind == KernelOperand::Kind::cache)
        operand.cacheOffset = function.getArgument(next++);
    }
  for (Value *value : {&body.scratch, &body.counters, &body.batch, &body.tokens, &body.rows})
    *value = function.getArgument(next++);
  beginBody(shape);
  kernel.stages[stage].body(body);
  gpu::ReturnOp::create(builder, loc);

  built.functions[stage] = static_cast<int64_t>(kernelList.size());
  kernelList.push_back({{"name", function.getName().str()}, {"threads", shape.threads}, {"shared_bytes", shape.sharedBytes}});
  auto mark = [&](const char *key, StringRef attribute, const std::string &arch) {
    if (arch.empty())
      return;
    function->setAttr(attribute, builder.getStringAttr(arch));
    kernelList.back()[key] = arch;
  };
  mark("only", onlyAttr, shape.only);
  mark("except", exceptAttr, shape.except);
  return built.functions[stage];
}

void KernelsEmitter::noteChoices(const GpuKernel::Stage &stage, int64_t mostRows) {
  for (const TuningChoice &choice : stage.choices) {
    auto isSame = [&](const TuningChoice &other) { return other.kernel == choice.kernel && other.key == choice.key; };
    if (choice.key.leastRows() <= mostRows && llvm::none_of(tuning.choices, isSame))
      tuning.choices.push_back(choice);
  }
}

int64_t KernelsEmitter::sampleFunction(const SampleStage &stage, int64_t vocab) {
  auto [entry, isNew] = sampleFunctions.try_emplace({vocab, stage.shape.name}, static_cast<int64_t>(kernelList.size()));
  if (!isNew)
    return entry->second;
  OpBuilder::InsertionGuard guard(builder);
  gpu::GPUFuncOp function = startFunction("sample_" + stage.shape.name, {e.ptr(), e.ptr(), e.ptr(), e.ptr(), e.i64()}, stage.shape);
  beginBody(stage.shape);
  auto argument = [&](unsigned index) { return function.getArgument(index); };
  SampleBody body{e, argument(0), argument(1), argument(2), argument(3), argument(4)};
  stage.body(body);
  gpu::ReturnOp::create(builder, loc);
  kernelList.push_back({{"name", function.getName().str()}, {"threads", stage.shape.threads}, {"shared_bytes", stage.shape.sharedBytes}});
  return entry->second;
}

/// The launches that choose tokens from the logits of a program that has them, of one row for each sequence; their scratch lies where that
/// of the launches before was.
std::optional<Json> KernelsEmitter::sampling(ProgramOp program, int64_t scratchOffset, int64_t &scratch) {
  for (OutputOp output : program.getBody().getOps<OutputOp>()) {
    if (output.getName() != "logits" || output.getRows() != Rows::selected || program.getKvBytes() == 0)
      continue;
    const int64_t vocab = output.getResult().getType().getShape().back();
    Json launches = Json::array();
    for (const SampleStage &stage : sampleStages(vocab))
      for (int64_t pass : stage.passes) {
        Json json = Json::object();
        json["kernel"] = sampleFunction(stage, vocab);
        if (!stage.part.empty())
          json["part"] = stage.part;
        json["grid"] =
            Json::array({Json::array({stage.shape.grid[0].constant}), Json::array({1, Json::array({"selected", 1})}), Json::array({1})});
        json["args"] = Json::array({Json::array({"output", output.getIndex()}), Json::array({"sampling"}), Json::array({"chosen"}),
                                    Json::array({"arena", scratchOffset}), Json::array({"i64", pass})});
        launches.push_back(json);
      }
    scratch = std::max<int64_t>(scratch, sampleScratchBytes(vocab) * program.getMaxBatch());
    return Json{{"output", output.getIndex()}, {"launches", std::move(launches)}};
  }
  return std::nullopt;
}

llvm::Expected<Json> KernelsEmitter::argument(Operation *op) {
  if (auto input = dyn_cast<InputOp>(op))
    return Json{"input", input.getIndex()};
  if (auto output = dyn_cast<OutputOp>(op))
    return Json{"output", output.getIndex()};
  if (isa<ds_plan::CacheOp>(op))
    return Json::array({"kv"});
  if (auto buffer = dyn_cast<BufferOp>(op)) {
    if (!buffer.getOffset())
      return llvm::createStringError("a buffer has no offset: place the buffers before code is made");
    return Json{"arena", *buffer.getOffset()};
  }
  auto storage = symbols.lookup<StorageOp>(cast<ds_plan::WeightOp>(op).getStorage());
  if (!storage.getOffset())
    return llvm::createStringError("storage '" + storage.getSymName() + "' has no offset: place the weights before code is made");
  return Json{"weights", *storage.getOffset()};
}

llvm::Error KernelsEmitter::emitLaunch(LaunchOp launch, ProgramOp program, int64_t number, int64_t scratchOffset, Json &launches) {
  llvm::Expected<BuiltKernel *> entry = built(launch);
  if (!entry)
    return entry.takeError();
  Json arguments = Json::array(), wants = Json::array();
  for (Value operand : launch->getOperands()) {
    llvm::Expected<Json> one = argument(operand.getDefiningOp());
    if (!one)
      return one.takeError();
    arguments.push_back(*one);
    if (auto cache = operand.getDefiningOp<ds_plan::CacheOp>())
      arguments.push_back({"i64", cache.getOffset()});
  }
  std::string rows = nameOfSize(GpuSize::rows, launch, symbols).str();
  arguments.push_back({"arena", scratchOffset});
  arguments.push_back({"counters", 0});
  arguments.push_back(Json::array({"batch"}));
  arguments.push_back(Json::array({"tokens"}));
  arguments.push_back(Json::array({rows}));
  for (Value out : launch.getOuts())
    if (auto output = out.getDefiningOp<OutputOp>())
      wants.push_back(output.getIndex());
  if (OutputOp output = forOneOutput.lookup(launch))
    wants.push_back(output.getIndex());

  auto sizeName = [&](GpuSize size) { return nameOfSize(size, launch, symbols).str(); };
  for (auto [stage, built] : llvm::enumerate((*entry)->kernel->stages)) {
    const GpuShape &shape = built.shape;
    bool isUsed = false;
    for (const StageUse &use : usesOf(shape)) {
      if (llvm::any_of(use.when, [&](const GpuBound &bound) { return bound.least > mostOf(sizeName(bound.size), program); }))
        continue;
      isUsed = true;
      Json json = Json::object();
      if (built.product)
        json["product"] = productOf(*built.product, scratchOffset);
      else
        json["kernel"] = function(**entry, stage, launch);
      json["launch"] = number;
      if (use.library)
        json["library"] = *use.library;
      for (const GpuBound &bound : use.when)
        json["when"].push_back(Json::array({sizeName(bound.size), bound.least, bound.most}));
      if (!wants.empty())
        json["wants"] = wants;
      if (!built.product) {
        for (const GpuGrid &grid : shape.grid) {
          Json dimension = Json::array({grid.constant});
          for (auto [size, divisor] : grid.factors)
            dimension.push_back(Json::array({sizeName(size), divisor}));
          json["grid"].push_back(dimension);
        }
        json["args"] = arguments;
      }
      launches.push_back(json);
    }
    if (isUsed)
      noteChoices(built, mostOf(rows, program));
  }
  return llvm::Error::success();
}

llvm::Error KernelsEmitter::emitProgram(ProgramOp program) {
  const int64_t scratchOffset = llvm::alignTo(program.getArenaBytes(), scratchAlignment);
  int64_t scratch = 0, counters = 0, number = 0;
  Json launches = Json::array();
  forOneOutput = launchesForOneOutput(program);
  for (LaunchOp launch : program.getBody().getOps<LaunchOp>()) {
    if (llvm::Error error = emitLaunch(launch, program, number++, scratchOffset, launches))
      return error;
    const GpuKernel &kernel = *kernels[kernelKey(launch, symbols)].kernel;
    int64_t rows = mostOf(nameOfSize(GpuSize::rows, launch, symbols), program);
    scratch = std::max(scratch, kernel.scratchBytes(rows));
    counters = std::max<int64_t>(counters, kernel.countersPerSequence * program.getMaxBatch() * 4);
  }
  std::optional<Json> sampled = sampling(program, scratchOffset, scratch);
  programList.push_back({{"name", program.getSymName().str()},
                         {"arena_bytes", scratchOffset + scratch},
                         {"counters_bytes", counters},
                         {"launches", std::move(launches)}});
  if (sampled)
    programList.back()["sampling"] = std::move(*sampled);
  return llvm::Error::success();
}

llvm::Expected<GpuKernels> KernelsEmitter::run() {
  (*module)->setAttr(gpu::GPUDialect::getContainerModuleAttrName(), builder.getUnitAttr());
  builder.setInsertionPointToEnd(module->getBody());
  kernelModule = gpu::GPUModuleOp::create(builder, loc, "ds_kernels");
  builder.setInsertionPointToStart(kernelModule.getBody());
  auto bytes = LLVM::LLVMArrayType::get(builder.getI8Type(), 0);
  LLVM::GlobalOp::create(builder, loc, bytes, /*isConstant=*/false, LLVM::Linkage::External, GpuEmitter::sharedName, Attribute(),
                         /*alignment=*/16, static_cast<unsigned>(NVVM::NVVMMemorySpace::Shared));
  for (ProgramOp program : planned.getOps<ProgramOp>())
    if (llvm::Error error = emitProgram(program))
      return std::move(error);
  return GpuKernels{std::move(module), Json{{"kernels", std::move(kernelList)}, {"programs", std::move(programList)}}.dump(),
                    std::move(notes)};
}

llvm::Expected<GpuKernels> ds::emitGpuKernels(ModuleOp planned, llvm::ArrayRef<GpuArch> archs, int64_t libraryRows, Tuning *tuning) {
  Tuning builtIn;
  planned.getContext()
      ->loadDialect<arith::ArithDialect, cf::ControlFlowDialect, gpu::GPUDialect, LLVM::LLVMDialect, NVVM::NVVMDialect, scf::SCFDialect,
                    vector::VectorDialect>();
  return KernelsEmitter(planned, archs, libraryRows, tuning ? *tuning : builtIn).run();
}
