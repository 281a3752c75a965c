#include "Gemm.h"
#include "CacheView.h"
#include "KernelRegion.h"

using namespace mlir;
using namespace ds;

/// Bytes of a thread's stack for a slab: it stays in the second-level cache beside a panel.
static constexpr int64_t slabBytes = 512 << 10;
/// Rows of a slab at most, whole blocks of every level. More rows read the weights less often from beyond the second-level cache.
static constexpr int64_t mostSlabRows = 132;
/// Rows that a thread should have before threads share rows instead of columns.
static constexpr int64_t rowsOfThread = 24;
/// Rows for each further thread from which whole blocks are even enough.
static constexpr int64_t rowsToRound = 256;
/// The depth of one pass over the rows of a slab: its part of a panel stays in the first-level cache.
static constexpr int64_t depthBlock = 128;

GemmKernel::GemmKernel(KernelContext &context, LinearRegion matched)
    : c(context), e(context.e), region(std::move(matched)), input(operandOf(context, region.input)) {
  // Rows a multiple of 1 KiB apart meet in a quarter of the sets or less; those that would fill the stack stay where they are.
  const int64_t copiedBytes = llvm::alignTo(region.depth, gemmGroup) * 4, height = c.level.gemmRows;
  copies = region.norm || (region.depth * 4 % 1024 == 0 && gemmFewRows * copiedBytes <= slabBytes);
  rowBytes = copies ? copiedBytes : region.depth * 4;
  slabRows = std::clamp<int64_t>(slabBytes / copiedBytes / height * height, llvm::alignTo(gemmFewRows, height), mostSlabRows);
  int64_t columns = 0;
  for (const LinearDomain &domain : region.domains)
    columns = std::max<int64_t>(columns, domain.chunk * static_cast<int64_t>(domain.linears.size()));
  tileRowBytes = columns * 4 + 64; // an odd number of lines here as well
}

llvm::Expected<GemmKernel> GemmKernel::get(KernelContext &context) {
  SmallVector<Operation *> ops;
  for (Operation &op : context.kernel.getBody().front().without_terminator())
    ops.push_back(&op);
  std::string reason;
  std::optional<LinearRegion> region = LinearRegion::match(ops, reason);
  if (!region)
    return context.error("gemm cannot serve the region: " + reason);
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
  if (!isF32Rows(input))
    return c.error("gemm expects f32 rows");
  auto isVector = [&](Value value) {
    return !value || (operand(value).kind == KernelOperand::Kind::weight && operand(value).layout == ds_plan::Layout::vector);
  };
  for (const LinearDomain &domain : region.domains) {
    for (LinearOp linear : domain.linears) {
      const KernelOperand &weight = operand(linear.getWeight());
      int64_t panels = llvm::divideCeil(domain.columns, linearPanel);
      if (weight.kind != KernelOperand::Kind::weight || weight.layout != ds_plan::Layout::panels || !isa<FloatType>(weight.element()))
        return c.error("gemm expects a weight of floats in panels");
      if (weight.type.getShape() != ArrayRef<int64_t>{panels, region.depth, linearPanel})
        return c.error("gemm expects panels of the shape of the product");
      if (!isVector(linear.getBias()))
        return c.error("gemm expects a bias in the layout of a vector");
    }
    for (Value value : domain.results)
      if (!isF32Rows(&result(value)))
        return c.error("gemm expects results of f32 rows");
    for (Operation *op : domain.stores) {
      auto store = cast<ds_plan::StoreCacheOp>(op);
      if (llvm::Expected<CacheView> view = CacheView::get(c, &result(store.getOutput()), store.getKind(), store.getKvHeads()); !view)
        return view.takeError();
    }
  }
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

void GemmKernel::emitProduct(const KernelOperand &weight, const Slab &slab, Value panel, Value sums) {
  const int64_t lineBytes = linearPanel * weight.element().getIntOrFloatBitWidth() / 8, lines = lineBytes / 64;
  Value from = e.at(weight.pointer, e.mul(panel, region.depth * lineBytes)), zero = e.constant(0), all = e.constant(region.depth);
  const SmallVector<int64_t> heights = gemmBlockHeights(c.level);
  auto block = [&](Value row, int64_t height, Value k, Value depth, int64_t aheadLines, Value ahead) {
    Value rows = e.at(slab.rows, e.add(e.mul(row, rowBytes), e.mul(k, copies ? height * 4 : 4)));
    emitGemmBlock(e, {weight.element(), height, copies ? gemmGroup * 4 : rowBytes, copies, aheadLines}, rows,
                  e.at(from, e.mul(k, lineBytes)), e.at(sums, e.mul(row, tileRowBytes)), e.constant(tileRowBytes), depth, e.ne(k, 0),
                  ahead);
  };
  auto passes = [&](llvm::function_ref<void(Value k, Value depth, Value next)> body) {
    e.forRange(zero, all, depthBlock, [&](Value k) {
      Value depth = e.min(e.sub(all, k), depthBlock);
      body(k, depth, e.at(from, e.mul(e.add(k, depth), lineBytes)));
    });
  };
  // The weights of a few rows come from memory as fast as it gives them. One block: it asks for them a page ahead. Two: each asks for a
  // half of what the next pass needs, so that memory does not rest while the second one computes.
  auto oneBlock = [&] {
    constexpr int64_t page = 4096;
    forBlocks(gemmShortBlocks(heights), zero, slab.count,
              [&](Value row, int64_t height) { block(row, height, zero, all, 2 * lines, e.at(from, page)); });
  };
  auto twoBlocks = [&] {
    passes([&](Value k, Value depth, Value next) {
      forBlocks(gemmShortBlocks(heights), zero, slab.count, [&](Value row, int64_t height) {
        Value half = e.mul(e.mul(e.div(row, gemmFewRows / 2), depth), lineBytes / 2);
        block(row, height, k, depth, lines, e.at(next, half));
      });
    });
  };
  // Many rows: a pass over the slab's rows takes a part of the panel that stays in the first-level cache. Each whole block asks for a part
  // of the next panel, the shorter ones behind them for the part of the next pass.
  auto manyBlocks = [&] {
    passes([&](Value k, Value depth, Value next) {
      Value ahead = e.at(from, e.mul(e.add(k, region.depth), lineBytes));
      forBlocks(heights, zero, slab.count, [&](Value row, int64_t height) {
        if (height == heights.front())
          block(row, height, k, depth, 1, e.at(ahead, e.mul(e.mul(e.div(row, height), depth), 32)));
        else
          block(row, height, k, depth, 2 * lines, next);
      });
    });
  };
  e.ifElse(e.gt(slab.count, gemmFewRows), manyBlocks, [&] { e.ifElse(e.gt(slab.count, gemmFewRows / 2), twoBlocks, oneBlock); });
}

void GemmKernel::emitDomain(const LinearDomain &domain, const Slab &slab, Value firstChunk, Value endChunk) {
  const int64_t panelsOfChunk = domain.chunk / linearPanel, panels = llvm::divideCeil(domain.columns, linearPanel);
  e.forRange(firstChunk, endChunk, 1, [&](Value chunk) {
    Value firstPanel = e.mul(chunk, panelsOfChunk), count = e.min(e.sub(e.constant(panels), firstPanel), panelsOfChunk);
    for (auto [index, op] : llvm::enumerate(domain.linears)) {
      LinearOp linear = op;
      const KernelOperand &weight = operand(linear.getWeight());
      Value sums = e.at(tile, static_cast<int64_t>(index) * domain.chunk * 4);
      e.forRange(e.constant(0), count, 1,
                 [&](Value p) { emitProduct(weight, slab, e.add(firstPanel, p), e.at(sums, e.mul(p, linearPanel * 4))); });
    }
    emitEpilogue(domain, slab, chunk);
  });
}

void GemmKernel::emitSlab(const Slab &slab, Value firstUnit, Value endUnit) {
  if (copies)
    copyRows(slab, e.eq(firstUnit, 0));
  int64_t before = 0;
  for (const LinearDomain &domain : region.domains) {
    int64_t chunks = chunksOf(domain);
    emitDomain(domain, slab, e.max(e.sub(firstUnit, before), 0), e.min(e.sub(endUnit, before), chunks));
    before += chunks;
  }
}

void GemmKernel::emit() {
  if (copies)
    copied = e.stack(slabRows * rowBytes);
  tile = e.stack(slabRows * tileRowBytes);
  int64_t units = 0;
  for (const LinearDomain &domain : region.domains)
    units += chunksOf(domain);
  // Threads share the rows where each gets enough of them, else the columns; tiles are units of columns, slab by slab. Slabs are whole
  // blocks, and where threads have few of those, less: so that they end together.
  const int64_t height = c.level.gemmRows;
  Value unit = e.select(e.ge(c.rows, e.mul(e.sub(c.threads, 1), rowsToRound)), e.constant(height), e.constant(4));
  Value least = e.ceilDiv(c.rows, slabRows);
  Value multiple = e.mul(e.div(e.add(least, e.sub(c.threads, 1)), c.threads), c.threads);
  Value slabs = e.select(e.ge(c.rows, e.mul(c.threads, rowsOfThread)), multiple, least);
  Value pieces = e.div(e.add(c.rows, e.sub(unit, 1)), unit);
  auto boundary = [&](Value slab) { return e.min(e.mul(e.div(e.mul(pieces, slab), slabs), unit), c.rows); };
  auto [begin, end] = c.tilesOfThread(e.mul(slabs, units));
  Value firstTile = begin, endTile = end;
  e.forRange(e.div(begin, units), e.ceilDiv(end, units), 1, [&](Value s) {
    Value first = boundary(s), count = e.sub(boundary(e.add(s, 1)), first), tiles = e.mul(s, units);
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
