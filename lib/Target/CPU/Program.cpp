#include "Program.h"
#include "Chain.h"
#include "ds/Analysis/OutputNeeds.h"
#include "ds/Analysis/RowSharing.h"
#include "ds/Target/CPU/Kernel.h"
#include "dsrt/package.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ds;
using namespace ds_plan;

KernelOperand ds::describeOperand(Value place, const SymbolTable &symbols) {
  KernelOperand operand{};
  operand.kind = KernelOperand::Kind::rows;
  operand.type = cast<MemRefType>(place.getType());
  TypeSwitch<Operation *>(place.getDefiningOp())
      .Case<InputOp, OutputOp>([&](auto op) { operand.rows = op.getRows(); })
      .Case<BufferOp>([&](BufferOp op) {
        operand.rows = op.getRows();
        operand.grouped = op.getGrouped();
      })
      .Case<ds_plan::WeightOp>([&](ds_plan::WeightOp op) {
        operand.kind = KernelOperand::Kind::weight;
        auto storage = symbols.lookup<StorageOp>(op.getStorage());
        operand.layout = storage.getLayout();
        operand.inState = storage.getState().has_value();
        auto parameter = storage.getParameter() ? symbols.lookup<ParameterOp>(*storage.getParameter()) : ParameterOp();
        auto quantized = parameter ? dyn_cast<QuantizedType>(parameter.getTensorType().getElementType()) : QuantizedType();
        // Without what they need no kernel takes them.
        if (operand.layout == Layout::panel_codes && quantized)
          operand.codes.emplace(quantized, parameter.getTensorType().getDimSize(1), panelWidth(operand.type));
        if (operand.layout == Layout::tiles && parameter)
          operand.tiles.emplace(std::nullopt, parameter.getTensorType().getDimSize(0), parameter.getTensorType().getDimSize(1),
                                operand.element().isF16());
        if (operand.layout == Layout::tile_codes && quantized)
          operand.tiles.emplace(quantized, parameter.getTensorType().getDimSize(0), parameter.getTensorType().getDimSize(1));
      })
      .Case<ds_plan::CacheOp>([&](ds_plan::CacheOp op) {
        operand.kind = KernelOperand::Kind::cache;
        operand.cacheKind = op.getKind();
        operand.kvHeads = op.getKvHeads();
      });
  return operand;
}

std::string ds::kernelKey(LaunchOp launch, const SymbolTable &symbols, bool chosenAreTokens) {
  std::string key;
  llvm::raw_string_ostream stream(key);
  stream << launch.getKernel();
  SmallVector<KernelOperand> kinds;
  for (Value operand : launch->getOperands())
    kinds.push_back(describeOperand(operand, symbols));
  const bool hasOnlyChosen = chosenAreTokens && llvm::none_of(kinds, [](const KernelOperand &kind) {
                               return kind.kind == KernelOperand::Kind::rows && kind.rows == Rows::tokens;
                             });
  for (KernelOperand &kind : kinds) {
    if (hasOnlyChosen && kind.kind == KernelOperand::Kind::rows && kind.rows == Rows::selected)
      kind.rows = Rows::tokens;
    stream << '|' << kind.type << ' ' << static_cast<int>(kind.kind) << ' ' << static_cast<int>(kind.rows) << ' '
           << static_cast<int>(kind.layout) << ' ' << static_cast<int>(kind.cacheKind) << ' ' << kind.kvHeads << ' ' << kind.grouped << ' '
           << kind.inState;
    if (kind.codes)
      stream << ' ' << kind.codes->type;
    if (kind.tiles)
      stream << ' ' << kind.tiles->rows << 'x' << kind.tiles->depth;
    if (kind.tiles && kind.tiles->type)
      stream << ' ' << *kind.tiles->type;
  }
  return key;
}

/// The input that says which layers run (`ds_plan.switch`).
static constexpr llvm::StringLiteral layerGatesName = "layer_gates";

namespace {

/// A barrier stands before the launch; places may stand between.
bool meetsBefore(LaunchOp launch) {
  Operation *before = launch->getPrevNode();
  while (before && !isa<LaunchOp, BarrierOp>(before))
    before = before->getPrevNode();
  return isa_and_nonnull<BarrierOp>(before);
}

/// The chain writes the buffer and reads it, and nobody else touches it.
bool isInside(Value place, ArrayRef<LaunchOp> chain) {
  auto isOut = [&](OpOperand &use) {
    auto launch = dyn_cast<LaunchOp>(use.getOwner());
    return launch && llvm::is_contained(launch.getOuts(), use.get());
  };
  return place.getDefiningOp<BufferOp>() && llvm::any_of(place.getUses(), isOut) && !llvm::all_of(place.getUses(), isOut) &&
         llvm::all_of(place.getUsers(), [&](Operation *user) { return llvm::is_contained(chain, user); });
}

class ModuleEmitter {
public:
  ModuleEmitter(ModuleOp planned, const CpuLevel &level)
      : planned(planned), level(level), symbols(planned), builder(planned.getContext()), loc(builder.getUnknownLoc()),
        module(ModuleOp::create(loc)), e(builder, *module, level) {}

  llvm::Expected<OwningOpRef<ModuleOp>> run() {
    builder.setInsertionPointToEnd(module->getBody());
    LLVM::GlobalOp::create(builder, loc, builder.getI32Type(), /*isConstant=*/true, LLVM::Linkage::External, DS_ABI_SYMBOL,
                           builder.getI32IntegerAttr(DS_ABI));
    for (ProgramOp program : planned.getOps<ProgramOp>())
      if (llvm::Error error = emitProgram(program))
        return std::move(error);
    return std::move(module);
  }

private:
  LLVM::LLVMFuncOp startFunction(llvm::StringRef name, ArrayRef<Type> arguments, LLVM::Linkage linkage);
  llvm::Error emitProgram(ProgramOp program);
  /// `traceAt`: where a thread's trace has its times. One that is off leaves none.
  llvm::Error emitLaunch(LaunchOp launch, int64_t traceAt);
  llvm::Error addPlace(Operation *op);
  /// The launches of the chain or the slab that begins at `op`, which moves behind the last.
  llvm::Error emitTogether(Block::iterator &op, int64_t &nextLaunch);
  llvm::Expected<LLVM::LLVMFuncOp> kernelFunction(LaunchOp launch);
  llvm::Error emitKernel(KernelOp kernel, LaunchOp launch, LLVM::LLVMFuncOp function);
  llvm::Expected<Value> emitPlace(Operation *op);
  /// Fills `forOneOutput`. Launches of one chain or slab run together or not at all.
  void findNeeds(ProgramOp program);
  /// The output that all launches between a barrier and the next serve alone, or null.
  OutputOp onlyOutputBehind(Operation *barrier);
  Value rowsOf(LaunchOp launch);
  /// Whether layer `gate` runs in this step, i1; null where the program has no gates.
  Value isOn(int64_t gate);
  /// Emits `body` for steps in which the layer of `launch` runs and somebody wants what it is for.
  llvm::Error emitGated(LaunchOp launch, llvm::function_ref<void()> body);

  ModuleOp planned;
  const CpuLevel &level;
  SymbolTable symbols;
  OpBuilder builder;
  Location loc;
  OwningOpRef<ModuleOp> module;
  Emitter e;
  llvm::StringMap<LLVM::LLVMFuncOp> kernels; // by kernel and kinds of operands

  // Of the program at hand.
  Value step, batch, tokens, tokenRows, selected, inputs, outputs, kv, weights, arena, state, thread, threads, trace, traceOffset;
  Value gates; // of layers; null where the program has none
  DenseMap<Value, Value> places;
  DenseMap<Operation *, OutputOp> forOneOutput;
};

LLVM::LLVMFuncOp ModuleEmitter::startFunction(llvm::StringRef name, ArrayRef<Type> arguments, LLVM::Linkage linkage) {
  builder.setInsertionPointToEnd(module->getBody());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()), arguments);
  auto function = LLVM::LLVMFuncOp::create(builder, loc, name, type, linkage);
  Block *entry = function.addEntryBlock(builder);
  builder.setInsertionPointToEnd(entry);
  return function;
}

void ModuleEmitter::findNeeds(ProgramOp program) {
  forOneOutput = launchesForOneOutput(program);
  auto launches = llvm::to_vector(program.getOps<LaunchOp>());
  for (size_t first = 0, end; first < launches.size(); first = end) {
    LaunchOp launch = launches[first];
    auto isTogether = [&](LaunchOp other) {
      return (launch.getChain() || launch.getSlab()) && other.getChain() == launch.getChain() && other.getSlab() == launch.getSlab();
    };
    end = first + 1;
    while (end < launches.size() && isTogether(launches[end]))
      ++end;
    auto together = ArrayRef(launches).slice(first, end - first);
    if (llvm::any_of(together, [&](LaunchOp other) { return forOneOutput.lookup(other) != forOneOutput.lookup(launch); }))
      for (LaunchOp other : together)
        forOneOutput.erase(other);
  }
}

OutputOp ModuleEmitter::onlyOutputBehind(Operation *barrier) {
  OutputOp only;
  for (Operation *op = barrier->getNextNode(); op && !isa<BarrierOp>(op); op = op->getNextNode())
    if (auto launch = dyn_cast<LaunchOp>(op)) {
      OutputOp output = forOneOutput.lookup(launch);
      if (!output || (only && output != only))
        return {};
      only = output;
    }
  return only;
}

/// The rows of outs[0], or of the first rows that are read where it is a gradient.
Value ModuleEmitter::rowsOf(LaunchOp launch) {
  KernelOperand first = describeOperand(launch.getOuts().front(), symbols);
  if (first.kind == KernelOperand::Kind::weight)
    for (Value operand : launch.getIns())
      if (first.kind == KernelOperand::Kind::weight || first.rows == Rows::single)
        first = describeOperand(operand, symbols);
  if (first.kind == KernelOperand::Kind::rows && first.rows == Rows::single)
    return e.constant(1);
  if (first.kind == KernelOperand::Kind::rows && first.rows == Rows::selected)
    return selected;
  return first.kind == KernelOperand::Kind::rows && first.rows == Rows::batch ? batch : tokenRows;
}

Value ModuleEmitter::isOn(int64_t gate) { return gates ? e.ne(e.load(e.i32(), e.at(gates, gate * 4)), 0) : Value(); }

llvm::Expected<Value> ModuleEmitter::emitPlace(Operation *op) {
  if (auto choice = dyn_cast<ds_plan::SwitchOp>(op)) {
    Value on = isOn(choice.getGate());
    if (!on)
      return llvm::createStringError("a switch in a program without an input " + layerGatesName);
    return e.select(on, places.lookup(choice.getOn()), places.lookup(choice.getOff()));
  }
  if (auto input = dyn_cast<InputOp>(op)) {
    Value place = e.load(e.ptr(), e.at(inputs, input.getIndex() * 8));
    if (input.getName() == layerGatesName)
      gates = place;
    return place;
  }
  if (auto output = dyn_cast<OutputOp>(op))
    return e.load(e.ptr(), e.at(outputs, output.getIndex() * 8));
  if (isa<ds_plan::CacheOp>(op))
    return kv;
  if (auto buffer = dyn_cast<BufferOp>(op)) {
    if (!buffer.getOffset())
      return llvm::createStringError("a buffer has no offset: place the buffers before code is made");
    return e.at(arena, *buffer.getOffset());
  }
  auto storage = symbols.lookup<StorageOp>(cast<ds_plan::WeightOp>(op).getStorage());
  if (!storage.getOffset())
    return llvm::createStringError("storage '" + storage.getSymName() + "' has no offset: place the weights before code is made");
  return e.at(storage.getState() ? state : weights, *storage.getOffset());
}

llvm::Error ModuleEmitter::addPlace(Operation *op) {
  llvm::Expected<Value> place = emitPlace(op);
  if (!place)
    return place.takeError();
  places[op->getResult(0)] = *place;
  return llvm::Error::success();
}

llvm::Error ModuleEmitter::emitProgram(ProgramOp program) {
  startFunction((DS_PROGRAM_PREFIX + program.getSymName()).str(), {e.ptr(), e.i32(), e.i32()}, LLVM::Linkage::External);
  Block *entry = builder.getInsertionBlock();
  step = entry->getArgument(0);
  Value thread32 = entry->getArgument(1);
  auto field = [&](Type type, size_t offset) { return e.load(type, e.at(step, static_cast<int64_t>(offset))); };
  thread = e.toI64(thread32);
  threads = e.toI64(entry->getArgument(2));
  batch = e.toI64(field(e.i32(), offsetof(DsStep, batch)));
  tokens = e.toI64(field(e.i32(), offsetof(DsStep, tokens)));
  selected = e.toI64(field(e.i32(), offsetof(DsStep, rows)));
  inputs = field(e.ptr(), offsetof(DsStep, inputs));
  outputs = field(e.ptr(), offsetof(DsStep, outputs));
  kv = field(e.ptr(), offsetof(DsStep, kv));
  weights = field(e.ptr(), offsetof(DsStep, weights));
  arena = field(e.ptr(), offsetof(DsStep, arena));
  state = field(e.ptr(), offsetof(DsStep, state));
  tokenRows = e.mul(batch, tokens);
  int64_t launches = llvm::range_size(program.getOps<LaunchOp>()), nextLaunch = 0;
  trace = field(e.ptr(), offsetof(DsStep, trace));
  traceOffset = e.mul(thread, launches * traceBytes);
  places.clear();
  findNeeds(program);
  gates = {};
  Block &body = program.getBody().front();
  for (auto op = body.begin(); op != body.end();) {
    auto launch = dyn_cast<LaunchOp>(*op);
    if (launch && (launch.getChain() || launch.getSlab())) {
      if (llvm::Error error = emitTogether(op, nextLaunch))
        return error;
      continue;
    }
    if (launch) {
      if (llvm::Error error = emitLaunch(launch, nextLaunch++ * traceBytes))
        return error;
    } else if (isa<BarrierOp>(*op)) {
      // Before launches of which none runs nobody has to meet: the next barrier stands behind them.
      if (Value output = places.lookup(onlyOutputBehind(&*op)))
        e.ifThen(e.ne(output, e.nullPointer()), [&] { emitBarrier(e, step, thread); });
      else
        emitBarrier(e, step, thread);
    } else if (llvm::Error error = addPlace(&*op)) {
      return error;
    }
    ++op;
  }
  LLVM::ReturnOp::create(builder, loc, ValueRange());
  builder.setInsertionPointToEnd(module->getBody());
  LLVM::GlobalOp::create(builder, loc, builder.getI32Type(), /*isConstant=*/true, LLVM::Linkage::External,
                         (DS_LAUNCHES_PREFIX + program.getSymName()).str(), builder.getI32IntegerAttr(launches));
  return llvm::Error::success();
}

llvm::Error ModuleEmitter::emitTogether(Block::iterator &op, int64_t &nextLaunch) {
  auto firstLaunch = cast<LaunchOp>(*op);
  const std::optional<int64_t> slab = firstLaunch.getSlab();
  SmallVector<LaunchOp> chained;
  for (Operation &next : llvm::make_range(op, op->getBlock()->end())) {
    auto launch = dyn_cast<LaunchOp>(next);
    if (launch && (launch.getChain() != firstLaunch.getChain() || launch.getSlab() != slab))
      break;
    if (launch)
      chained.push_back(launch);
  }
  // Places may stand between the launches.
  Block::iterator end = std::next(chained.back()->getIterator());
  for (Operation &between : llvm::make_range(op, end))
    if (!isa<LaunchOp, BarrierOp>(between))
      if (llvm::Error error = addPlace(&between))
        return error;
  llvm::SetVector<Value> used;
  SmallVector<ChainLaunch> launches;
  for (LaunchOp launch : chained) {
    OpBuilder::InsertPoint here = builder.saveInsertionPoint();
    llvm::Expected<LLVM::LLVMFuncOp> function = kernelFunction(launch);
    builder.restoreInsertionPoint(here);
    if (!function)
      return function.takeError();
    ChainLaunch &linked = launches.emplace_back(ChainLaunch{
        *function, {}, launch != firstLaunch && meetsBefore(launch), rowsOfThread(symbols.lookup<KernelOp>(launch.getKernel()))});
    for (Value operand : launch->getOperands()) {
      used.insert(operand);
      KernelOperand kind = describeOperand(operand, symbols);
      const bool isSame = kind.kind != KernelOperand::Kind::rows || kind.rows == Rows::single;
      const int64_t rowBytes = isSame ? 0 : kind.width() * kind.element().getIntOrFloatBitWidth() / 8;
      auto buffer = operand.getDefiningOp<BufferOp>();
      const bool inside = slab ? buffer && buffer.getSlab() : isInside(operand, chained);
      const auto place = static_cast<unsigned>(llvm::find(used, operand) - used.begin());
      linked.operands.push_back({place, rowBytes, inside});
      if (operand.getDefiningOp<OutputOp>())
        linked.outputs.push_back(place);
    }
  }
  SmallVector<Value> pointers;
  for (Value place : used)
    pointers.push_back(places.lookup(place));
  const int64_t traceAt = nextLaunch * traceBytes;
  nextLaunch += static_cast<int64_t>(launches.size());
  op = end;
  const ChainStep whole{batch, tokens, rowsOf(firstLaunch), thread, threads, step, trace, e.add(traceOffset, traceAt)};
  return emitGated(firstLaunch, [&] {
    if (slab)
      emitSlabs(e, launches, pointers, whole, *slab);
    else
      emitChain(e, launches, pointers, whole);
  });
}

llvm::Error ModuleEmitter::emitLaunch(LaunchOp launch, int64_t traceAt) {
  OpBuilder::InsertPoint here = builder.saveInsertionPoint();
  llvm::Expected<LLVM::LLVMFuncOp> function = kernelFunction(launch);
  builder.restoreInsertionPoint(here);
  if (!function)
    return function.takeError();
  SmallVector<Value> arguments;
  for (Value operand : launch->getOperands()) {
    arguments.push_back(places.lookup(operand));
    if (auto cache = operand.getDefiningOp<ds_plan::CacheOp>())
      arguments.push_back(e.constant(cache.getOffset()));
  }
  arguments.append({batch, tokens, rowsOf(launch), thread, threads, step});
  Value wanted;
  for (Value out : launch.getOuts())
    if (out.getDefiningOp<OutputOp>()) {
      Value given = e.ne(places.lookup(out), e.nullPointer());
      wanted = wanted ? e.bitAnd(wanted, given) : given;
    }
  auto call = [&] {
    emitTimeStamp(e, trace, e.add(traceOffset, traceAt));
    LLVM::CallOp::create(builder, loc, *function, arguments);
    emitTimeStamp(e, trace, e.add(traceOffset, traceAt + 8));
  };
  return emitGated(launch, [&] {
    if (wanted)
      e.ifThen(wanted, call);
    else
      call();
  });
}

llvm::Error ModuleEmitter::emitGated(LaunchOp launch, llvm::function_ref<void()> body) {
  if (Value place = places.lookup(forOneOutput.lookup(launch))) {
    e.ifThen(e.ne(place, e.nullPointer()), body);
    return llvm::Error::success();
  }
  if (!launch.getGate()) {
    body();
    return llvm::Error::success();
  }
  Value on = isOn(*launch.getGate());
  if (!on)
    return llvm::createStringError("a launch with a gate in a program without an input " + layerGatesName);
  e.ifThen(on, body);
  return llvm::Error::success();
}

llvm::Expected<LLVM::LLVMFuncOp> ModuleEmitter::kernelFunction(LaunchOp launch) {
  LLVM::LLVMFuncOp &function = kernels[kernelKey(launch, symbols, /*chosenAreTokens=*/true)];
  if (function)
    return function;
  auto kernel = symbols.lookup<KernelOp>(launch.getKernel());
  SmallVector<Type> arguments;
  for (Value operand : launch->getOperands()) {
    arguments.push_back(e.ptr());
    if (operand.getDefiningOp<ds_plan::CacheOp>())
      arguments.push_back(e.i64());
  }
  arguments.append(5, e.i64());
  arguments.push_back(e.ptr());
  std::string name = (kernel.getSymName() + "." + Twine(kernels.size())).str();
  function = startFunction(name, arguments, LLVM::Linkage::Internal);
  // One copy of a kernel, however often it is launched.
  function.setPassthroughAttr(builder.getStrArrayAttr({"noinline"}));
  if (llvm::Error error = emitKernel(kernel, launch, function))
    return std::move(error);
  return function;
}

llvm::Error ModuleEmitter::emitKernel(KernelOp kernel, LaunchOp launch, LLVM::LLVMFuncOp function) {
  KernelBuilder build = findKernelBuilder(kernel.getFamily());
  if (!build)
    return llvm::createStringError("kernel '" + kernel.getSymName() + "' is of family '" + kernel.getFamily() +
                                   "', which the CPU target does not have");
  KernelContext context{e, level, kernel, {}, {}, {}, {}, {}, {}, {}, {}, {}};
  unsigned next = 0;
  auto take = [&](Value operand, SmallVector<KernelOperand> &list) {
    KernelOperand described = describeOperand(operand, symbols);
    described.pointer = function.getArgument(next);
    if (described.kind == KernelOperand::Kind::weight) {
      // The state may be written, by the same launch even.
      if (!described.inState) {
        function.setArgAttr(next, LLVM::LLVMDialect::getNoAliasAttrName(), builder.getUnitAttr());
        function.setArgAttr(next, LLVM::LLVMDialect::getReadonlyAttrName(), builder.getUnitAttr());
      }
      function.setArgAttr(next, LLVM::LLVMDialect::getAlignAttrName(), builder.getI64IntegerAttr(DS_ALIGN));
    }
    ++next;
    if (described.kind == KernelOperand::Kind::cache)
      described.cacheOffset = function.getArgument(next++);
    list.push_back(described);
  };
  for (Value operand : launch.getIns())
    take(operand, context.ins);
  for (Value operand : launch.getAux())
    take(operand, context.aux);
  for (Value operand : launch.getOuts())
    take(operand, context.outs);
  auto isGrouped = [](const KernelOperand &operand) { return operand.grouped; };
  if (kernel.getFamily() != "gemm" && (llvm::any_of(context.ins, isGrouped) || llvm::any_of(context.outs, isGrouped)))
    return context.error("expects rows that are not grouped");
  for (Value *size : {&context.batch, &context.tokens, &context.rows, &context.thread, &context.threads, &context.step})
    *size = function.getArgument(next++);
  if (llvm::Error error = build(context))
    return error;
  LLVM::ReturnOp::create(builder, loc, ValueRange());
  return llvm::Error::success();
}

} // namespace

llvm::Expected<OwningOpRef<ModuleOp>> ds::emitCpuModule(ModuleOp planned, const CpuLevel &level) {
  return ModuleEmitter(planned, level).run();
}
