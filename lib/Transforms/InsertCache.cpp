// Makes `@prefill` and `@decode` of `@forward`: attention over a cache, logits of chosen tokens.
#include "SelectRows.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/Remarks.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_INSERTCACHE
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

/// A cache keeps keys in groups of this many slots.
static constexpr int64_t slotGroup = 16;

/// What a cache of `attention` is: its keys' elements (f32), bf16, or codes of 8 bits with a scale for each head (int8).
static RankedTensorType cacheTypeOf(AttentionOp attention, int64_t context, StringRef elements) {
  RankedTensorType key = attention.getKey().getType();
  Type element = key.getElementType();
  const int64_t headSize = key.getDimSize(2) / static_cast<int64_t>(attention.getKvHeads());
  if (elements == "bf16")
    element = BFloat16Type::get(key.getContext());
  if (elements == "int8")
    element = QuantizedType::get(key.getContext(), 8, QuantizedKind::symmetric, headSize, Float32Type::get(key.getContext()));
  return RankedTensorType::get({ShapedType::kDynamic, context, key.getDimSize(2)}, element);
}

/// attention(q, k, v) -> attention(q, cache_append(k), cache_append(v), past), with the caches of its place in the model
static LogicalResult insertCache(AttentionOp attention, int64_t index, Value past, int64_t context, StringRef elements) {
  if (attention.getMask() || attention.getPast())
    return attention.emitError("expects attention without mask and past to insert a cache");
  if (!attention.getCausal())
    return attention.emitError("expects causal attention to insert a cache: a token would see tokens of later steps");
  OpBuilder builder(attention);
  RankedTensorType cacheType = cacheTypeOf(attention, context, elements);
  for (auto [operand, suffix] : {std::pair(&attention.getKeyMutable(), ".k"), std::pair(&attention.getValueMutable(), ".v")}) {
    auto cache = FlatSymbolRefAttr::get(builder.getContext(), std::to_string(index) + suffix);
    operand->assign(CacheAppendOp::create(builder, attention.getLoc(), cacheType, cache, operand->get(), past));
  }
  attention.getPastMutable().assign(past);
  return success();
}

/// Declares the caches of every attention of `forward`.
static LogicalResult declareCaches(func::FuncOp forward, int64_t context, StringRef elements) {
  auto module = forward->getParentOfType<ModuleOp>();
  OpBuilder builder(forward);
  int64_t index = 0;
  WalkResult walk = forward.walk([&](AttentionOp attention) {
    RankedTensorType type = cacheTypeOf(attention, context, elements);
    for (StringRef suffix : {".k", ".v"}) {
      std::string name = std::to_string(index) + suffix.str();
      if (module.lookupSymbol(name)) {
        attention.emitError("expects no symbol with the name of cache '") << name << "'";
        return WalkResult::interrupt();
      }
      ds::CacheOp::create(builder, attention.getLoc(), name, type);
    }
    ++index;
    return WalkResult::advance();
  });
  return failure(walk.wasInterrupted());
}

/// A clone of `forward` with a cache, called `name`.
static LogicalResult makeProgram(func::FuncOp forward, StringRef name, int64_t context, StringRef elements) {
  OpBuilder builder(forward);
  func::FuncOp function = cast<func::FuncOp>(builder.clone(*forward));
  function.setName(name);
  auto vector = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  for (StringRef argument : {"past", "rows"})
    if (failed(insertNamedArgument(function, function.getNumArguments(), argument, vector)))
      return failure();
  Value past = function.getArgument(function.getNumArguments() - 2), rows = function.getArguments().back();
  int64_t index = 0;
  WalkResult walk = function.walk([&](AttentionOp attention) {
    return failed(insertCache(attention, index++, past, context, elements)) ? WalkResult::interrupt() : WalkResult::advance();
  });
  if (walk.wasInterrupted())
    return failure();
  std::optional<unsigned> hidden = resultNamed(function, "hidden"), logits = resultNamed(function, "logits");
  if (!hidden || !logits)
    return function.emitError("expects results with ds.name 'hidden' and 'logits'");
  return selectRows(function, *hidden, *logits, rows, /*intoLayers=*/true);
}

namespace {
struct InsertCache : ds::impl::InsertCacheBase<InsertCache> {
  using InsertCacheBase::InsertCacheBase;

  /// The slots of a cache, or a diagnostic when the model has fewer positions.
  FailureOr<int64_t> slots(ModuleOp module) {
    auto model = module->getAttrOfType<DictionaryAttr>("ds.model");
    auto positions = model ? model.getAs<IntegerAttr>("max_positions") : IntegerAttr();
    if (!positions)
      return module.emitError("expects max_positions in ds.model"), failure();
    int64_t limit = positions.getInt();
    if (limit < slotGroup)
      return module.emitError("expects a model of at least ") << slotGroup << " positions, got " << limit, failure();
    if (context < 0 || context > limit)
      return module.emitError("expects a context of at most the ") << limit << " positions of the model, got " << context.getValue(),
             failure();
    int64_t wanted = context == 0 ? limit : context.getValue(), slots = llvm::alignTo(wanted, slotGroup);
    if (slots <= limit)
      return slots;
    slots -= slotGroup; // a slot without a position would read behind the tables
    if (context != 0)
      module.emitRemark("context is ") << slots << ", not " << wanted << ": slots come in groups of " << slotGroup << " and the model has "
                                       << limit << " positions";
    return slots;
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto forward = module.lookupSymbol<func::FuncOp>("forward");
    if (!forward)
      return;
    if (elements != "f32" && elements != "bf16" && elements != "int8") {
      module.emitError("expects elements to be f32, bf16 or int8, got '") << elements << "'";
      return signalPassFailure();
    }
    FailureOr<int64_t> count = slots(module);
    if (failed(count))
      return signalPassFailure();
    if (failed(declareCaches(forward, *count, elements)))
      return signalPassFailure();
    for (StringRef name : {"prefill", "decode"})
      if (failed(makeProgram(forward, name, *count, elements)))
        return signalPassFailure();
    if (!keepForward)
      forward.erase();
  }
};
} // namespace
