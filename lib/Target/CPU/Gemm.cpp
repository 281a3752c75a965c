#include "Gemm.h"
#include "CacheView.h"
#include "KernelRegion.h"
#include "PanelReader.h"
#include "RowSlabs.h"
#include "StoreCache.h"
#include "dialects/DSPlan/PanelHalves.h"
#include "dialects/DSPlan/PanelSums.h"
#include "ds/Analysis/RowSharing.h"
#include <numeric>

using namespace mlir;
using namespace ds;

/// Rows for each further thread from which whole blocks are even enough.
static constexpr int64_t rowsToRound = 256;

/// Units of columns from which threads that share them end nearly together.
static constexpr int64_t manyPanels = 64;

/// Rounded rows, where all products of the region can multiply bytes, their codes being integers.
static std::optional<RoundedRows> roundedRowsOf(KernelContext &c, const LinearRegion &region) {
  int64_t segment = 0, least = 32; // shorter ones are scaled too often to gain, but where groups are as short
  bool words = false;
  for (const LinearDomain &domain : region.domains)
    for (LinearOp linear : domain.linears) {
      const KernelOperand &weight = c.ins[cast<BlockArgument>(linear.getWeight()).getArgNumber()];
      if (c.level.byteDots == Dots::none || !weight.codes || weight.codes->type.isE4m3())
        return std::nullopt;
      segment = std::gcd(segment, bytesSegmentOf(weight.codes->group, region.depth));
      least = std::min(least, weight.codes->group);
      words |= c.level.byteDots == Dots::pairwise && wordsOfSum(weight.codes->type.getBits()) == 0;
    }
  return segment < least ? std::nullopt : std::optional(RoundedRows(region.depth, segment, words));
}

/// Row-major weights that are rounded to bf16, rows that are bf16, and dot products of both.
static bool packsPairsOf(const KernelContext &c, const LinearRegion &region, const KernelOperand &input) {
  if (c.level.bf16Dots == Dots::none || region.norm || !input.element().isBF16())
    return false;
  return llvm::all_of(region.domains, [&](const LinearDomain &domain) {
    return llvm::all_of(domain.linears, [&](LinearOp linear) {
      Type rounded = roundedTypeOf(linear);
      return rounded && rounded.isBF16() && isRowMajor(c.ins[cast<BlockArgument>(linear.getWeight()).getArgNumber()]);
    });
  });
}

GemmKernel::GemmKernel(KernelContext &context, LinearRegion matched)
    : c(context), e(context.e), region(std::move(matched)), input(operandOf(context, region.input)) {
  const int64_t copiedBytes = llvm::alignTo(region.depth, linearGroup) * 4;
  groupRows = input->grouped ? c.level.groupRows() : 0;
  packs = llvm::any_of(c.ins, isRowMajor);
  packsPairs = packsPairsOf(c, region, *input);
  int64_t columns = 0;
  SmallVector<int64_t> widths;
  for (LinearDomain &domain : region.domains) {
    for (LinearOp linear : domain.linears) {
      widths.push_back(panelOf(linear));
      domain.chunk = std::lcm(domain.chunk, widths.back());
    }
    columns = std::max<int64_t>(columns, domain.chunk * static_cast<int64_t>(domain.linears.size()));
  }
  isDeep = isDeepProduct();
  packsPairs &= isDeep || linearRowsFit(region.depth);
  auto allMatrices = [&](llvm::function_ref<bool(const KernelOperand &)> are) {
    return llvm::all_of(c.ins, [&](const KernelOperand &o) {
      return o.kind != KernelOperand::Kind::weight || o.layout == ds_plan::Layout::vector || are(o);
    });
  };
  auto allIn = [&](ds_plan::Layout layout) { return allMatrices([&](const KernelOperand &o) { return o.layout == layout; }); };
  hasPanelHalves = allIn(ds_plan::Layout::panel_halves); // whose rows are scaled from where they lie
  roundedRows = roundedRowsOf(c, region);
  roundsManyRows = region.roundsActivations();
  const bool isReadInPlace = packsPairs || hasPanelHalves || groupRows || (roundedRows && roundsManyRows);
  const bool goesLong = allMatrices([&](const KernelOperand &o) { return hasLongPasses(o); });
  // Rows a multiple of 1 KiB apart meet in a quarter of the sets or less, which long passes do not mind, of 4 KiB in one; those that would
  // fill the stack stay where they are.
  const bool evictEachOther = region.depth * 4 % (goesLong ? 4096 : 1024) == 0;
  copies =
      !isDeep && (region.norm || (!isF32Rows(input) && !packsPairs) || (!isReadInPlace && evictEachOther && linearRowsFit(region.depth)));
  rowBytes = copies ? copiedBytes : region.depth * (isDeep ? elementBytes(*input) : 4);
  copiedRowBytes = (gemmPass * 4 / 64 | 1) * 64;
  if (isDeep)
    columns *= std::min(gemmDeepPanels, chunksOf(region.domains.front()));
  hasCodes = llvm::any_of(c.ins, [](const KernelOperand &in) { return in.codes.has_value(); });
  heights = gemmBlockHeights(c.level, widths, groupRows);
  slabRows = linearSlabRows(region.depth, heights.front(), c.level.slabBytes(), packs, /*inPlace=*/isDeep || (!copies && !packsPairs));
  tileRowBytes = (llvm::divideCeil(columns * 4, 64) | 1) * 64; // an odd number of lines
  const bool allPairs = allIn(ds_plan::Layout::panel_pairs);
  const bool hasPairs = (packsPairs && !isDeep) || (c.level.bf16Dots != Dots::none && allPairs);
  roundedBytes = roundedRows ? roundedRows->bytes : hasPairs ? halfBytes() : 0;
  winograd = c.level.addsBeside && !packs && (roundedRows ? !roundsManyRows : roundedBytes == 0) && linearRowsFit(region.depth);
  hasPanelSums = allIn(ds_plan::Layout::panel_sums);
  halves = c.level.multipliesF16 && (allPairs || hasPanelHalves) && !packs && linearRowsFit(region.depth);
  // Whole blocks of either kind, as what is behind the last row is computed too.
  if (winograd)
    slabRows = linearSlabRows(region.depth, winogradHeights[0], c.level.slabBytes(), packs, /*inPlace=*/!copies);
}

/// The weights decide the shape of everything else.
static llvm::Error checkWeights(KernelContext &c, const LinearRegion &region) {
  for (const LinearDomain &domain : region.domains)
    for (LinearOp linear : domain.linears) {
      const KernelOperand &weight = c.ins[cast<BlockArgument>(linear.getWeight()).getArgNumber()];
      if (isRowMajor(weight)) {
        if (!weight.element().isF32() || weight.type.getShape() != linear.getWeight().getType().getShape())
          return c.error("gemm expects a row-major weight of f32, of the shape of the product's");
        if (llvm::any_of(c.ins, [](const KernelOperand &in) { return in.codes.has_value(); }))
          return c.error("gemm expects no codes beside a row-major weight");
        continue;
      }
      if (linear.getTransposed() || linear.getRounded())
        return c.error("gemm expects a row-major weight where it is transposed or rounded");
      if (weight.kind != KernelOperand::Kind::weight || !isInPanels(weight.layout) || !(weight.codes || isa<FloatType>(weight.element())))
        return c.error("gemm expects a weight of floats or codes in panels");
      const int64_t width = ds_plan::panelWidth(weight.type), panels = llvm::divideCeil(domain.columns, width);
      if (width % linearGroup != 0)
        return c.error("gemm expects panels of whole vectors, not rows of a table");
      SmallVector<int64_t> shape{panels, region.depth, width};
      if (weight.layout == ds_plan::Layout::panel_sums)
        shape = {panels, ds_plan::PanelSums(region.depth).lines(), width};
      if (weight.layout == ds_plan::Layout::panel_halves)
        shape = {panels, ds_plan::PanelHalves(region.depth).lines(), width, 2};
      if (weight.layout == ds_plan::Layout::panel_pairs)
        shape = {panels, (region.depth + 1) / 2, width, 2};
      if (weight.codes)
        shape = {panels, weight.codes->rows(), width};
      if (weight.codes && cast<RankedTensorType>(linear.getWeight().getType()).getElementType() != weight.codes->type)
        return c.error("gemm expects codes of the type of the product's weight");
      if (weight.type.getShape() != ArrayRef(shape) || (weight.codes && weight.codes->depth != region.depth))
        return c.error("gemm expects panels of the shape of the product");
      if (domain.hasHeads() && width != linearPanel)
        return c.error("gemm expects panels of " + Twine(linearPanel) + " beside heads");
    }
  return llvm::Error::success();
}

llvm::Expected<GemmKernel> GemmKernel::get(KernelContext &context) {
  SmallVector<Operation *> ops;
  for (Operation &op : context.kernel.getBody().front().without_terminator())
    ops.push_back(&op);
  std::string reason;
  std::optional<LinearRegion> region = LinearRegion::match(ops, reason);
  if (!region)
    return context.error("gemm cannot serve the region: " + reason);
  if (llvm::Error error = checkWeights(context, *region))
    return std::move(error);
  GemmKernel kernel(context, std::move(*region));
  if (llvm::Error error = kernel.checkOperands())
    return std::move(error);
  return kernel;
}

const KernelOperand &GemmKernel::result(Value value) const {
  Operation *results = ds_plan::KernelOp(c.kernel).getBody().front().getTerminator();
  return c.outs[llvm::find(results->getOperands(), value) - results->operand_begin()];
}

llvm::Error GemmKernel::checkOperands() {
  auto isOfHalves = [](const KernelOperand &in) {
    return in.kind == KernelOperand::Kind::weight && in.layout == ds_plan::Layout::panel_halves;
  };
  if (llvm::any_of(c.ins, isOfHalves) && (!halves || !hasPanelHalves))
    return c.error("gemm expects panel_halves of all weights, at a level that multiplies f16");
  if (!isFloatRows(input) || (input->grouped && region.norm))
    return c.error("gemm expects rows of floats, grouped without a norm alone");
  if (!isF32Rows(input) && !isDeep && (!packs || !linearRowsFit(region.depth)))
    return c.error("gemm expects f32 rows, or row-major weights and rows of 16 bits that fit the stack or meet one product");
  for (const KernelOperand &in : c.ins)
    if (in.grouped && (&in != input || !region.multipliesInputAlone()))
      return c.error("gemm expects grouped rows to be multiplied and nothing else");
  if (region.normIsResult && result(region.norm->getResult(0)).grouped)
    return c.error("gemm expects the norm's result not to be grouped");
  auto isVector = [&](Value value) {
    return !value || (operand(value).kind == KernelOperand::Kind::weight && operand(value).layout == ds_plan::Layout::vector);
  };
  for (const LinearDomain &domain : region.domains) {
    for (LinearOp linear : domain.linears)
      if (!isVector(linear.getBias()))
        return c.error("gemm expects a bias in the layout of a vector");
    for (Value value : domain.results)
      if (!isFloatRows(&result(value)) || (result(value).grouped && domain.hasHeads()))
        return c.error("gemm expects results of rows of floats, grouped without heads alone");
    for (Operation *op : domain.stores) {
      auto store = cast<ds_plan::StoreCacheOp>(op);
      if (llvm::Expected<CacheView> view = CacheView::get(c, &result(store.getOutput()), store.getKind(), store.getKvHeads()); !view)
        return view.takeError();
      else if (view->hasCodes() && (domain.chunk % view->headSize != 0 || domain.columns % view->headSize != 0))
        return c.error("gemm expects whole heads for a cache of codes");
    }
  }
  for (Operation &op : ds_plan::KernelOp(c.kernel).getBody().front())
    if (isa<ScaleOp, DropoutOp>(op) && !canBeControl(operand(op.getOperand(1)), op.getOpOperand(1)).value())
      return c.error("gemm expects controls and seeds in a single row");
  if (region.norm)
    for (Value vector : region.norm->getOperands().drop_front())
      if (!isVector(vector))
        return c.error("gemm expects gain and bias of the norm in the layout of a vector");
  return llvm::Error::success();
}

Value GemmKernel::forBlocks(ArrayRef<int64_t> heights, Value first, Value end, llvm::function_ref<void(Value, int64_t)> body) {
  for (int64_t height : heights) {
    Value blocks = e.div(e.sub(end, first), height);
    first = e.forRange(e.constant(0), blocks, 1, first, [&](Value, ValueRange at) {
      body(at[0], height);
      return SmallVector<Value>{e.add(at[0], height)};
    })[0];
  }
  return first;
}

void GemmKernel::emitProduct(LinearOp linear, const Slab &slab, Value panel, Value sums, const Touched *touched) {
  const KernelOperand &weight = operand(linear.getWeight());
  const PackedMatrix matrix{linear.getColumns(),   linear.getDepth(), linear.getTransposed(), panelOf(linear), Type(),
                            roundedTypeOf(linear), packsPairs};
  // Of one k; pairs of k begin at even ones, as passes do.
  const int64_t width = matrix.width, lineBytes = width * weight.element().getIntOrFloatBitWidth() / 8;
  const int64_t panelBytes = bytesOfPanel(weight);
  const bool isScaled = weight.layout == ds_plan::Layout::panel_sums;
  Value start = e.at(weight.pointer, e.mul(panel, panelBytes));
  Value from = isScaled ? e.at(start, ds_plan::PanelSums::values * lineBytes) : start, zero = e.constant(0), all = e.constant(region.depth);
  auto blockFor = [&](int64_t height, int64_t aheadBytes, bool dots) {
    const int64_t group = copies ? height : groupRows;
    if (dots)
      return GemmBlock{weight.element(), width, height, roundedBytes, 0, aheadBytes, /*touches=*/false, /*dots=*/true};
    return GemmBlock{weight.element(), width, height, group ? linearGroup * 4 : rowBytes, group, aheadBytes, /*touches=*/false};
  };
  auto blockOf = [&](const GemmBlock &block, Value row, Value panelAtK, Value k, Value depth, Value ahead, TouchedRows touches = {}) {
    Value rows;
    if (block.dots)
      rows = e.at(rounded, e.add(e.mul(row, roundedBytes), e.mul(k, 2)));
    else
      rows = e.at(groupRows ? placeOfGroupedRow(slab.rows, row, region.depth) : e.at(slab.rows, e.mul(row, rowBytes)),
                  e.mul(k, block.groupRows ? block.groupRows * 4 : 4));
    emitGemmBlock(e, block, rows, panelAtK, e.at(sums, e.mul(row, tileRowBytes)), e.constant(tileRowBytes), depth, e.ne(k, 0), ahead,
                  block.touches ? touches.first : rows, block.touches ? touches.bytes : e.constant(0));
  };
  auto passes = [&](int64_t most, llvm::function_ref<void(Value k, Value depth, Value next)> body) {
    e.forRange(zero, all, most, [&](Value k) {
      Value depth = e.min(e.sub(all, k), most);
      body(k, depth, e.at(from, e.mul(e.add(k, depth), lineBytes)));
    });
  };
  // The weights of a few rows come from memory as fast as it gives them. One block: it asks for them a page ahead. Two: each asks for a
  // half of what the next pass needs, so that memory does not rest while the second one computes; short passes leave it fewer gaps.
  constexpr int64_t page = 4096;
  const int64_t mostOfShort = gemmShortBlocks(heights).front();
  auto oneBlock = [&](bool dots) {
    forBlocks(gemmShortBlocks(heights), zero, slab.count, [&](Value row, int64_t height) {
      if (dots) {
        // Behind full blocks, which compute for long, hardware does not ask early enough, nor on a Zen 4 for one row; others are faster if
        // it is left alone.
        const bool isFull = height == heights.front(), asks = isFull || (height == 1 && c.level.addsBeside);
        return blockOf(blockFor(height, asks ? lineBytes : 0, dots), row, from, zero, e.roundUp(all, 2),
                       e.at(from, isFull ? 2 * page : page));
      }
      GemmBlock block = blockFor(height, lineBytes, dots);
      const int64_t vectors = width / c.level.lanes;
      if (vectors > 2 * gemmStripeVectors(c.level, vectors, height))
        return passes(gemmPass / 2, [&](Value k, Value depth, Value next) { // stripe by stripe, each of a pass
          blockOf(block, row, e.at(from, e.mul(k, lineBytes)), k, depth, next);
        });
      // Many rows compute while two pages come; two to four are slowed on a Zen 4 by what they do not need soon.
      block.aheadIsNear = height > 1 && height <= 4 && c.level.addsBeside;
      blockOf(block, row, from, zero, all, e.at(from, height > 4 ? 2 * page : block.aheadIsNear ? page / 8 : page));
    });
  };
  auto twoBlocks = [&](bool dots) {
    // A Zen 4 asks for what comes next; elsewhere that would come too late.
    const int64_t further = dots || c.level.addsBeside ? 0 : page;
    passes(gemmPass / 2, [&](Value k, Value depth, Value next) {
      Value panelAtK = e.at(from, e.mul(k, lineBytes));
      forBlocks(gemmShortBlocks(heights), zero, slab.count, [&](Value row, int64_t height) {
        Value half = e.mul(e.mul(e.div(row, mostOfShort), depth), lineBytes / 2);
        blockOf(blockFor(height, lineBytes / 2, dots), row, panelAtK, k, dots ? e.roundUp(depth, 2) : depth,
                e.at(e.at(next, half), further));
      });
    });
  };
  // Many rows: a pass over the slab's rows takes a part of the panel that stays in the first-level cache, or is asked for there a few k
  // before it is read. Each whole block asks for a part of what the next passes read, of this panel or the one behind it: a deep panel that
  // is asked for as a whole leaves the rows no place in the second-level cache. Two-byte weights are widened once for all blocks, or meet
  // rows of bf16; row-major ones are packed.
  auto manyBlocks = [&](bool dots) {
    const bool widens = (isNarrowMatrix(weight) && !dots) || isRowMajor(weight);
    const bool isLong = hasLongPasses(weight);
    passes(isLong ? gemmLongPass : passDepth(dots), [&](Value k, Value depth, Value next) {
      Value panelAtK = e.at(from, e.mul(k, lineBytes));
      if (weight.codes)
        emitWidenedCodes(e, *weight.codes, from, widened, k, e.add(k, depth));
      else if (isRowMajor(weight))
        emitPackedPanel(e, matrix, weight.pointer, panel, k, depth, widened);
      else if (widens)
        emitWidenedPanel(e, weight.element(), width, panelAtK, widened, depth);
      Value blockDepth = dots ? e.roundUp(depth, 2) : depth;
      forBlocks(heights, zero, slab.count, [&](Value row, int64_t height) {
        const bool tall = height == heights.front();
        // Codes are few, and who widens them asks for the next ones.
        GemmBlock block = blockFor(height, weight.codes || matrix.transposed ? 0 : tall ? gemmAhead : lineBytes, dots);
        block.panelAhead = isLong ? gemmPanelAhead : 0;
        if (widens)
          block.element = dots ? Type(e.getBuilder().getBF16Type()) : e.f32();
        auto partOf = [&](int64_t bytes) { return e.at(next, e.mul(e.mul(e.div(row, heights.front()), depth), bytes)); };
        Value nextPart = tall ? partOf(gemmAhead) : next;
        if (matrix.transposed && tall) {
          block.aheadRows = 2;
          block.aheadRowBytes = matrix.columns * 4;
          nextPart = e.at(nextPacked(e, matrix, weight.pointer, panel, e.add(k, depth)),
                          e.mul(e.div(row, heights.front()), gemmPass / linearGroup * block.aheadRows * block.aheadRowBytes));
        }
        TouchedRows touches;
        if (touched && tall && !dots) {
          block.touches = true;
          touches = touchedRows(*touched, e.add(slab.first, row), e.add(k, depth));
        }
        auto emit = [&] { blockOf(block, row, widens ? widened : panelAtK, k, blockDepth, nextPart, touches); };
        if (tall && !weight.codes && !isRowMajor(weight))
          return e.ifElse(e.ge(slab.count, (isLong ? 4 : 6) * height), emit, [&] { // a few blocks ask for a half each
            block.aheadBytes = lineBytes / 2;
            nextPart = partOf(lineBytes / 2);
            emit();
          });
        if (!isRowMajor(weight) || !tall)
          return emit();
        // Slabs are long: the first blocks have asked for all that is packed next.
        const int64_t asking = matrix.transposed ? linearGroup / block.aheadRows : width * 4 / gemmAhead;
        e.ifElse(e.lt(row, asking * height), emit, [&] {
          block.aheadBytes = block.aheadRows = 0;
          emit();
        });
      });
    });
  };
  auto fewBlocks = [&](bool dots) {
    if (weight.codes)
      return emitFewRowsOfCodes(weight, slab, from, sums);
    e.ifElse(e.gt(slab.count, mostOfShort), [&] { twoBlocks(dots); }, [&] { oneBlock(dots); });
  };
  if (packs)
    return manyBlocks(packsPairs);
  if (hasPanelHalves)
    return emitProductOfHalves(weight, slab, start, sums);
  auto manyOrFew = [&] {
    const bool dots = hasDots(weight);
    auto plain = [&] {
      if (winograd || halves)
        fewBlocks(dots);
      else
        e.ifElse(hasManyRows(slab), [&] { manyBlocks(dots); }, [&] { fewBlocks(dots); });
      if (isScaled)
        takePowersBack(slab, e.at(start, ds_plan::PanelSums::powers * lineBytes), width, sums);
    };
    if (winograd)
      e.ifElse(usesWinograd(), [&] { emitWinogradProduct(weight, slab, start, sums); }, plain);
    else if (halves)
      e.ifElse(usesHalves(), [&] { emitProductOfHalves(weight, slab, start, sums); }, plain);
    else
      plain();
  };
  if (!roundedRows)
    return manyOrFew();
  auto ofBytes = [&](int64_t digits) { emitProductOfBytes(weight, slab, from, sums, digits, touched); };
  auto rest = [&] { roundsManyRows ? fewBlocks(/*dots=*/false) : manyOrFew(); };
  e.ifElse(usesDigits(), [&] { ofBytes(roundedRows->digitsOfF32()); }, [&] { e.ifElse(usesOneDigit(), [&] { ofBytes(1); }, rest); });
}

void GemmKernel::emitFewRowsOfCodes(const KernelOperand &weight, const Slab &slab, Value panel, Value sums) {
  // Two blocks: the second finds a pass's codes in the first-level cache.
  Value all = e.constant(region.depth), most = e.select(e.gt(slab.count, gemmShortBlocks(heights).front()), e.constant(gemmPass), all);
  e.forRange(e.constant(0), all, most, [&](Value k) {
    forBlocks(gemmShortBlocks(heights), e.constant(0), slab.count, [&](Value row, int64_t height) {
      constexpr int64_t page = 4096;
      const int64_t group = copies ? height : groupRows;
      Value rows = groupRows ? placeOfGroupedRow(slab.rows, row, region.depth) : e.at(slab.rows, e.mul(row, rowBytes));
      emitCodesBlock(e, {*weight.codes, height, group ? linearGroup * 4 : rowBytes, group, page}, rows, panel,
                     e.at(sums, e.mul(row, tileRowBytes)), e.constant(tileRowBytes), k, e.min(e.add(k, most), all));
    });
  });
}

void GemmKernel::emitDomain(const LinearDomain &domain, const Slab &slab, Value firstChunk, Value endChunk) {
  e.forRange(firstChunk, endChunk, 1, [&](Value chunk) {
    for (auto [index, op] : llvm::enumerate(domain.linears)) {
      LinearOp linear = op;
      const int64_t width = panelOf(linear), panelsOfChunk = domain.chunk / width, panels = llvm::divideCeil(domain.columns, width);
      Value firstPanel = e.mul(chunk, panelsOfChunk), count = e.min(e.sub(e.constant(panels), firstPanel), panelsOfChunk);
      Value sums = e.at(tile, static_cast<int64_t>(index) * domain.chunk * 4);
      e.forRange(e.constant(0), count, 1, [&](Value p) {
        Value at = e.add(firstPanel, p);
        Touched touched{nullptr, nullptr, domain.columns, width, e.mul(at, width)};
        if (!domain.hasHeads() && !domain.results.empty() && index + 1 == domain.linears.size()) {
          touched.result = &result(domain.results.front());
          touched.operand = rowsReadBehind(domain);
        }
        emitProduct(linear, slab, at, e.at(sums, e.mul(p, width * 4)), touched.result ? &touched : nullptr);
      });
    }
    emitEpilogue(domain, slab, chunk);
  });
}

void GemmKernel::emitSlab(const Slab &slab, Value firstUnit, Value endUnit) {
  auto copy = [&] {
    if (copies)
      copyRows(slab, e.eq(firstUnit, 0));
  };
  // Rows that are rounded or scaled are read where they are, but behind a norm.
  if (region.norm)
    copy();
  auto rest = [&] {
    auto few = [&] {
      if (!region.norm)
        copy();
    };
    if (winograd)
      e.ifElse(usesWinograd(), [&] { scaleRows(slab); }, few);
    else if (hasPanelHalves)
      scaleRowsToHalves(slab);
    else if (halves)
      e.ifElse(usesHalves(), [&] { scaleRowsToHalves(slab); }, few);
    else
      few();
  };
  if (roundedRows)
    e.ifElse(
        usesDigits(), [&] { roundRowsToBytes(slab, roundedRows->digitsOfF32()); },
        [&] { e.ifElse(usesOneDigit(), [&] { roundRowsToBytes(slab, 1); }, rest); });
  else if (roundedBytes)
    roundRows(slab);
  else
    rest();
  int64_t before = 0;
  for (const LinearDomain &domain : region.domains) {
    int64_t chunks = chunksOf(domain);
    Value firstChunk = e.max(e.sub(firstUnit, before), 0), endChunk = e.min(e.sub(endUnit, before), chunks);
    isDeep ? emitDeepDomain(domain, slab, firstChunk, endChunk) : emitDomain(domain, slab, firstChunk, endChunk);
    before += chunks;
  }
}

void GemmKernel::emit() {
  if (copies || isDeep)
    copied = e.stack(slabRows * (isDeep ? copiedRowBytes : rowBytes));
  if (roundedBytes)
    rounded = e.stack(std::max(slabRows, roundedRows ? mostRowsOfDigits() * roundedRows->digitsOfF32() : 0) * roundedBytes);
  auto widens = [&](const KernelOperand &operand) { return (isNarrowMatrix(operand) && !hasDots(operand)) || isRowMajor(operand); };
  if (!(roundedRows && roundsManyRows) && !halves && llvm::any_of(c.ins, widens))
    widened = e.stack((winograd ? ds_plan::PanelSums::pass : gemmPass) * linearWidePanel * 4);
  if (winograd)
    reserveForWinograd();
  if (halves)
    reserveForHalves();
  tile = e.stack(slabRows * tileRowBytes);
  int64_t units = 0, scratchBytes = 0;
  for (const LinearDomain &domain : region.domains) {
    units += chunksOf(domain);
    for (Operation *op : domain.stores) {
      auto store = cast<ds_plan::StoreCacheOp>(op);
      scratchBytes = std::max(scratchBytes, storeScratchBytes(cacheViewOf(c, result(store.getOutput()), store)));
    }
  }
  if (scratchBytes)
    storeScratch = e.stack(scratchBytes);
  // Threads share the rows where each gets enough of them, else the columns; tiles are units of columns, slab by slab. Slabs are whole
  // blocks, and where threads have few of those, less: so that they end together.
  Value unit = e.constant(winograd ? winogradHeights[0] : heights.front());
  if (!groupRows)
    unit = e.select(e.ge(c.rows, e.mul(e.sub(c.threads, 1), rowsToRound)), unit, e.constant(std::gcd(heights.front(), int64_t(4))));
  // Threads that share rows pack the same weights: of many panels each packs its part instead, unless it has rows enough.
  RowSlabs slabs(e, c.rows, c.threads, unit, slabRows, packs && !isDeep && units >= manyPanels ? slabRows : rowsOfThread(c.kernel));
  auto [begin, end] = c.tilesOfThread(e.mul(slabs.count(), units));
  Value firstTile = begin, endTile = end;
  e.forRange(e.div(begin, units), e.ceilDiv(end, units), 1, [&](Value s) {
    Value first = slabs.first(s), count = e.sub(slabs.end(s), first), tiles = e.mul(s, units);
    Value firstUnit = e.max(e.sub(firstTile, tiles), 0), endUnit = e.min(e.sub(endTile, tiles), units);
    Value rows = copies ? copied : e.at(input->pointer, e.mul(first, rowBytes));
    e.ifThen(e.lt(firstUnit, endUnit), [&] { emitSlab({first, count, rows}, firstUnit, endUnit); });
  });
}

llvm::Error ds::buildGemm(KernelContext &context) {
  llvm::Expected<GemmKernel> kernel = GemmKernel::get(context);
  if (!kernel)
    return kernel.takeError();
  kernel->emit();
  return llvm::Error::success();
}
