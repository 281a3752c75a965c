#include "Gemm.h"
#include "CacheView.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Quantize/QuantizedType.h"
#include "ds/Target/CUDA/CodeGen.h"

using namespace mlir;
using namespace ds;
using ds_plan::Tiles;

unsigned GpuGemm::resultOf(Value value) const {
  Operation *results = kernel->kernel.getBody().front().getTerminator();
  return llvm::find(results->getOperands(), value) - results->operand_begin();
}

unsigned GpuGemm::tableOf(RopeOp rope) const {
  unsigned index = 0;
  for (Operation &op : *rope->getBlock()) {
    if (&op == rope)
      break;
    index += isa<RopeOp>(op);
  }
  return index;
}

std::string GpuGroup::weights() const {
  if (!tiles.type)
    return tiles.isF16 ? "f16" : "bf16";
  QuantizationScheme scheme = schemeOf(*tiles.type);
  scheme.bits = tiles.bits(); // what the bytes are cut by
  scheme.factors = false;     // which tiles hold multiplied, as f32
  return nameOf(scheme);
}

WeightShape GpuGroup::shape() const {
  WeightShape shape{units, tiles.tiles(), tiles.tileDepth(), tiles.type.has_value(), 0, 2 * tiles.blockBytes()};
  if (tiles.type)
    shape.scales = std::max<int64_t>(1, tiles.tileDepth() / tiles.group()) * (tiles.isAsymmetric() ? 4 : 2);
  return shape;
}

SmallVector<WeightShape, 2> GpuGemm::shapes() const {
  SmallVector<WeightShape, 2> shapes;
  for (const GpuGroup &group : groups)
    shapes.push_back(group.shape());
  return shapes;
}

std::optional<TuningKey> GpuGemm::tuningKey(StringRef builder, int64_t rows) const {
  if (groups.size() != 1)
    return std::nullopt;
  const GpuGroup &group = groups.front();
  TuningKey key{kernel->tuningArch, builder.str(), group.weights(), group.units * 16, region.depth, rows, region.norm != nullptr, "plain"};
  if (builder == "tiles")
    key.arch = kernel->hasWarpgroups ? kernel->mmaArch : kernel->tuningArch;
  if (builder == "wgmma")
    key.arch = GpuArch::warpgroups.str();
  if (llvm::any_of(region.domains, [](const LinearDomain &domain) { return domain.hasHeads(); }))
    key.form = "heads";
  else if (llvm::any_of(group.domains, [](const GpuDomain &domain) { return domain.kind == UnitKind::pairs; }))
    key.form = "pairs";
  return key;
}

TuningChoice GpuGemm::choose(const TuningKey &key, llvm::function_ref<int64_t(const TuningConfig &)> sharedBytes) const {
  TuningChoice choice = kernel->tuning->choose(key);
  choice.kernel = ds_plan::KernelOp(kernel->kernel).getSymName().str();
  const int64_t most = key.builder == "wgmma" ? llvm::cantFail(findGpuArch(key.arch)).sharedBytes : kernel->mostSharedBytes;
  if (choice.from == TuningChoice::From::model || sharedBytes(choice.config) <= most)
    return choice;
  kernel->tuning->notes.push_back(choice.kernel + ": entry " + choice.place + " needs " + std::to_string(sharedBytes(choice.config)) +
                                  " bytes of shared memory, of which a machine of the package has " + std::to_string(most) +
                                  ": the model's configuration is taken");
  return {choice.kernel, key, *tuningRule(key), TuningChoice::From::model, "", ""};
}

/// Rope by halves whose halves are whole blocks of 8 rows.
static bool hasWholeHalves(const LinearDomain &domain) {
  RopeOp rope = domain.rope;
  const auto heads = static_cast<int64_t>(rope.getHeads()), rotary = static_cast<int64_t>(rope.getRotary());
  return rotary % 16 == 0 && domain.columns / heads % 16 == 0;
}

/// True where one loop multiplies both.
static bool haveOneType(const Tiles &a, const Tiles &b) { return a.type == b.type && a.isF16 == b.isF16; }

static GpuDomain domainOf(const LinearDomain &domain, int64_t &headsScratch) {
  GpuDomain made;
  made.domain = &domain;
  made.units = llvm::divideCeil(domain.columns, 16);
  if (domain.linears.size() == 2) {
    made.kind = UnitKind::pairs;
    made.units = llvm::divideCeil(domain.columns, 8);
    return made;
  }
  const bool isTurned = domain.rope && RopeOp(domain.rope).getStyle() == RopeStyle::half;
  // A head has one scale for its codes, and blocks of threads have parts of heads.
  if (llvm::any_of(domain.stores, [](Operation *store) { return isOfCodes(store->getResult(0)); }) ||
      (isTurned && !hasWholeHalves(domain))) {
    made.scratchColumn = headsScratch;
    headsScratch += static_cast<int64_t>(llvm::alignTo(domain.columns * 4, 16));
  } else if (isTurned) {
    made.kind = UnitKind::partners;
  }
  return made;
}

llvm::Error ds::buildGpuGemm(GpuKernel &kernel) {
  auto gemm = std::make_shared<GpuGemm>();
  gemm->kernel = &kernel;
  SmallVector<Operation *> ops;
  for (Operation &op : kernel.kernel.getBody().front().without_terminator())
    ops.push_back(&op);
  std::string reason;
  std::optional<LinearRegion> region = LinearRegion::match(ops, reason);
  if (!region)
    return kernel.error("gemm cannot serve the region: " + reason);
  if (std::optional<std::string> why = whyNotOnCuda(ops))
    return kernel.error(*why);
  gemm->region = std::move(*region);
  const int64_t depth = gemm->region.depth;
  const KernelOperand &input = kernel.ins[gemm->operandOf(gemm->region.input)];
  if (input.kind != KernelOperand::Kind::rows || !input.element().isF32() || input.width() != depth || input.grouped)
    return kernel.error("expects an input of f32 rows of " + Twine(depth) + " values");
  for (const LinearDomain &domain : gemm->region.domains) {
    for (Operation *op : domain.stores) {
      auto store = cast<ds_plan::StoreCacheOp>(op);
      const KernelOperand &cache = kernel.outs[gemm->resultOf(store.getOutput())];
      if (llvm::Error error = GpuCacheView::check(kernel, &cache, store.getKind(), static_cast<int64_t>(store.getKvHeads())))
        return error;
    }
    std::optional<Tiles> tiles;
    for (LinearOp linear : domain.linears) {
      const KernelOperand &weight = kernel.ins[gemm->operandOf(linear.getWeight())];
      std::optional<Tiles> mine = tilesOf(weight);
      if (!mine || mine->depth != depth)
        return kernel.error("expects weights of depth " + Twine(depth) + " in tiles");
      if (!mine->hasWholeGroups())
        return kernel.error("expects codes in groups that are parts of a tile or whole tiles, got groups of " + Twine(mine->group()));
      if (tiles && !haveOneType(*tiles, *mine))
        return kernel.error("expects products that meet to have weights of one type");
      tiles = mine;
    }
    auto group = llvm::find_if(gemm->groups, [&](const GpuGroup &other) { return haveOneType(other.tiles, *tiles); });
    if (group == gemm->groups.end())
      group = gemm->groups.insert(gemm->groups.end(), GpuGroup{*tiles, {}, 0});
    GpuDomain made = domainOf(domain, gemm->headsScratch);
    made.firstUnit = group->units;
    group->units += made.units;
    group->domains.push_back(made);
  }
  addSkinnyStages(gemm);
  addTileStages(gemm);
  if (kernel.hasWarpgroups)
    addWarpgroupStages(gemm);
  if (kernel.libraryRows)
    addLibraryStages(gemm);
  if (gemm->headsScratch)
    addHeadStage(gemm);
  return llvm::Error::success();
}

/// The blocks of 8 rows of a unit of a domain, i32. They are of the first linear, the second one of the other where there are two.
static std::pair<Value, Value> blocksOf(GpuEmitter &e, const GpuDomain &domain, Value unit) {
  if (domain.kind == UnitKind::pairs)
    return {unit, unit};
  Value first = e.mul(unit, 2);
  if (domain.kind == UnitKind::plain)
    return {first, e.add(first, 1)};
  RopeOp rope = domain.domain->rope;
  const auto headSize = domain.domain->columns / static_cast<int64_t>(rope.getHeads()), rotary = static_cast<int64_t>(rope.getRotary());
  Value inHead = e.rem(unit, headSize / 16), head = e.mul(e.div(unit, headSize / 16), headSize / 8);
  Value turned = e.add(head, inHead), rest = e.add(head, e.mul(inHead, 2));
  Value isTurned = e.lt(inHead, rotary / 16);
  return {e.select(isTurned, turned, rest), e.select(isTurned, e.add(turned, rotary / 16), e.add(rest, 1))};
}

UnitPlace ds::placeOfUnit(GpuBody &body, const GpuGemm &gemm, const GpuGroup &group, Value unit) {
  GpuEmitter &e = body.e;
  UnitPlace place;
  for (const GpuDomain &domain : group.domains) {
    Value mine = e.sub(unit, domain.firstUnit);
    auto [first, second] = blocksOf(e, domain, mine);
    UnitPlace here{mine, {}};
    Value blocks[] = {first, second};
    for (auto [i, block] : llvm::enumerate(blocks)) {
      LinearOp linear = domain.domain->linears[domain.kind == UnitKind::pairs ? i : 0];
      Value pointer = body.ins[gemm.operandOf(linear.getWeight())].pointer;
      here.blocks[i] = e.at(pointer, e.mul(e.toI64(block), group.tiles.blockBytes()));
    }
    if (!place.unit) {
      place = here;
      continue;
    }
    Value isHere = e.ge(unit, domain.firstUnit);
    place.unit = e.select(isHere, here.unit, place.unit);
    for (int i = 0; i < 2; ++i)
      place.blocks[i] = e.select(isHere, here.blocks[i], place.blocks[i]);
  }
  return place;
}

Emitter::Values ds::scalesOfTile(GpuBody &body, const GpuGroup &group, ArrayRef<Value> blocks, Value tile) {
  GpuEmitter &e = body.e;
  Emitter::Values scales;
  if (!group.tiles.type)
    return scales;
  const Tiles &tiles = group.tiles;
  const int64_t inTile = std::max<int64_t>(1, tiles.tileDepth() / tiles.group());
  Value g = e.shiftRight(e.lane(), 2);
  Type f16 = e.getBuilder().getF16Type(), type = tiles.half() ? f16 : e.f32();
  // The last group of a depth that no tile ends with stands for those behind it too, whose codes meet zeros.
  for (int64_t i = 0; i < inTile; ++i) {
    Value groupOfK = tiles.group() >= tiles.tileDepth() ? e.div(tile, tiles.group() / tiles.tileDepth()) : e.add(e.mul(tile, inTile), i);
    groupOfK = e.min(groupOfK, tiles.groups() - 1);
    Value place = e.mul(e.add(e.mul(groupOfK, Tiles::blockRows), g), tiles.scaleBytes());
    for (int64_t kind = 0; kind < (tiles.isAsymmetric() ? 2 : 1); ++kind)
      for (Value block : blocks) {
        int64_t first = tiles.codeBytes() + kind * tiles.groups() * Tiles::blockRows * tiles.scaleBytes();
        Value scale = e.load(type, e.at(block, e.add(place, first)));
        if (tiles.isE4m3()) // numbers are decoded as 2^-8 times what they are
          scale = e.mul(scale, 256);
        if (!tiles.half())
          scale = e.narrow(scale);
        scales.push_back(e.splat(scale, 2));
      }
  }
  return scales;
}

PartWords ds::partOfTile(GpuBody &body, const GpuGroup &group, ValueRange words, ValueRange scales, int64_t part) {
  GpuEmitter &e = body.e;
  const Tiles &tiles = group.tiles;
  PartWords factors;
  if (!tiles.type) {
    for (int64_t block = 0; block < 2; ++block)
      for (int64_t i = 0; i < 4; ++i)
        factors[block].push_back(e.extract(words[block], i));
    return factors;
  }
  const int64_t kinds = tiles.isAsymmetric() ? 2 : 1, inTile = std::max<int64_t>(1, tiles.tileDepth() / tiles.group());
  const int64_t index = part * Tiles::partDepth / (tiles.tileDepth() / inTile);
  auto pairs = e.vec(2, e.getBuilder().getF16Type());
  // A code below an exponent of 10 is 1024 + code in f16.
  Value exponent = e.index(0x64006400), zero = e.constantOf(pairs, 1024.0 + static_cast<double>(tiles.zeroCode()));
  for (int64_t block = 0; block < 2; ++block)
    for (int64_t i = 0; i < 4; ++i) {
      Value word;
      if (tiles.bits() == 4) {
        word = e.extract(words[block], part);
        word = e.bitAnd(i ? e.shiftRight(word, i * 4) : word, e.index(0x000f000f));
      } else {
        word = e.extract(words[block], part * 2 + i / 2);
        Value bytes = e.bitcast(word, e.vec(4, e.i8())), none = e.zero(e.vec(4, e.i8()));
        const int64_t first = i % 2 * 2;
        word = e.bitcast(
            tiles.isE4m3() ? e.shuffle(bytes, none, {4, first, 4, first + 1}) : e.shuffle(bytes, none, {first, 4, first + 1, 4}), e.i32());
      }
      Value code;
      if (tiles.isE4m3()) { // sign, exponent and fraction of an f16
        auto bits = [&](uint32_t mask) { return e.constantI32(static_cast<int32_t>(mask)); };
        code = e.bitcast(e.bitOr(e.bitAnd(e.shiftRight(word, 1), bits(0x3f803f80)), e.bitAnd(word, bits(0x80008000))), pairs);
      } else {
        code = e.sub(e.bitcast(e.bitOr(word, exponent), pairs), zero);
      }
      Value value = e.mul(code, scales[index * kinds * 2 + block]);
      if (kinds == 2)
        value = e.add(value, scales[index * kinds * 2 + 2 + block]);
      factors[block].push_back(e.bitcast(value, e.i32()));
    }
  return factors;
}
