// The configurations that a product may have: all that its builder can make, less those that do not fit a multiprocessor by an estimate of
// registers, shared memory and bytes in flight; and a time for each, by which they are ranked. What is taken without a measurement is a
// rule (GemmShapes.cpp), not the first of them: the rules were measured on an H200, the ranking was not.
#include "GemmTuning.h"
#include "ds/Quantize/Scheme.h"
#include "ds/Target/CUDA/CodeGen.h"
#include "dsrt/gpu_machine.h"

using namespace ds;
using ds_plan::Tiles;

static constexpr int64_t partDepth = Tiles::partDepth, tileBytes = Tiles::tileBytes, mostOfThread = 255, systemBytes = 1 << 10;
static constexpr int64_t leastInFlight = 24 << 10;
/// From asking for a byte to having it, of a busy machine, ns.
static constexpr double latency = 700;

namespace {
struct Weights {
  int64_t bits = 16, group = 0, kinds = 0, scaleBytes = 0; // kinds: scales, and offsets
  int64_t depth() const { return tileBytes / Tiles::blockRows * 8 / bits; }
};
} // namespace

/// Reads what `nameOf` writes of any scheme, also of those that no option asks for.
static std::optional<Weights> weightsNamed(llvm::StringRef name) {
  if (name == "bf16" || name == "f16")
    return Weights();
  QuantizationScheme scheme;
  llvm::StringRef rest = name;
  if (rest.consume_front("int4"))
    scheme.bits = 4;
  else if (rest.consume_front("fp8"))
    scheme.e4m3 = true;
  else if (!rest.consume_front("int8"))
    return std::nullopt;
  if (rest.consume_front("-g")) {
    if (rest.consumeInteger(10, scheme.group) || scheme.group < 1)
      return std::nullopt;
  } else if (!rest.consume_front("-row")) {
    return std::nullopt;
  }
  scheme.asymmetric = !scheme.e4m3 && rest.consume_front("-asym");
  scheme.halfScales = scheme.group && !rest.consume_front("-f32");
  if (nameOf(scheme) != name)
    return std::nullopt;
  return Weights{scheme.bits, scheme.group, scheme.asymmetric ? 2 : 1, scheme.halfScales ? 2 : 4};
}

static bool isRows(const TuningKey &key) { return llvm::StringRef(key.builder).starts_with("rows"); }

std::optional<KeyFault> ds::faultOf(const TuningKey &key) {
  llvm::Expected<GpuArch> arch = findGpuArch(key.arch);
  if (!arch)
    return KeyFault{"arch", llvm::StringRef(llvm::toString(arch.takeError())).split("expects ").second.split(", got").first.str()};
  static constexpr llvm::StringLiteral builders[] = {"rows1", "rows8", "rows16", "tiles", "wgmma"};
  if (!llvm::is_contained(builders, key.builder))
    return KeyFault{"builder", "rows1, rows8, rows16, tiles or wgmma"};
  if (key.builder == "wgmma" && !arch->hasWarpgroups)
    return KeyFault{"builder", "rows1, rows8, rows16 or tiles on " + key.arch};
  std::optional<Weights> weights = weightsNamed(key.weights);
  if (!weights)
    return KeyFault{"weights", "bf16, f16, or the name of a scheme such as int8-g64, int4-g32-asym or fp8-row"};
  constexpr int64_t most = int64_t(1) << 24;
  if (key.n < 16 || key.n > most || key.n % 16 != 0)
    return KeyFault{"n", "a multiple of 16 up to " + std::to_string(most)};
  if (key.k < 1 || key.k > most)
    return KeyFault{"k", "an integer of 1 to " + std::to_string(most)};
  const int64_t group = weights->group ? weights->group : key.k, depth = weights->depth();
  if (weights->kinds && group < key.k && group % depth != 0 && (group % partDepth != 0 || depth % group != 0))
    return KeyFault{"weights", "groups that are parts of a tile or whole tiles"};
  if (isRows(key)) {
    if (std::to_string(key.rows) != key.builder.substr(4))
      return KeyFault{"rows", key.builder.substr(4) + " for builder " + key.builder};
  } else if (!llvm::is_contained({32, 64, 128, 256, 512, 1024, static_cast<int>(gemmManyRows)}, key.rows)) {
    return KeyFault{"rows", "32, 64, 128, 256, 512, 1024 or 2048 for builder " + key.builder};
  }
  if (key.form != "plain" && key.form != "pairs" && key.form != "heads")
    return KeyFault{"form", "plain, pairs or heads"};
  return std::nullopt;
}

WeightShape ds::weightsOf(const TuningKey &key) {
  const Weights weights = *weightsNamed(key.weights);
  WeightShape shape;
  shape.units = key.n / 16;
  shape.depth = weights.depth();
  shape.tiles = llvm::divideCeil(key.k, shape.depth);
  const int64_t group = weights.group ? weights.group : key.k;
  shape.areCodes = weights.kinds != 0;
  shape.scales = std::max<int64_t>(1, shape.depth / group) * 2 * weights.kinds;
  const int64_t scaleBytes = llvm::divideCeil(key.k, group) * Tiles::blockRows * weights.scaleBytes * weights.kinds;
  shape.unitBytes = 2 * (shape.tiles * tileBytes + scaleBytes);
  return shape;
}

namespace {
/// Builds the space of one key.
class Space {
public:
  explicit Space(const TuningKey &key)
      : key(key), weights(weightsOf(key)), machine(dsrt::gpuMachineFor(key.arch)),
        sharedBytes(llvm::cantFail(findGpuArch(key.arch)).sharedBytes) {}

  std::vector<TuningCandidate> all();
  TuningConfig rule() const;
  double floorUs() const;

private:
  void addRows(const RowsConfig &config, bool isRule);
  void addTile(const TileShape &shape, bool isRule);
  void addWarpgroups(const WarpgroupShape &shape, bool isRule);
  void add(TuningCandidate candidate, int64_t resident, bool isRule, bool isAll = false);
  double rowsUs(const Cut &cut, const RowsConfig &config, int64_t bytesInFlight) const;
  /// Of blocks that copy `stageBytes` for each of `steps` steps, multiply for `ns` of a multiprocessor's time and are `blocks`.
  double tilesUs(double ns, double stageBytes, double steps, int64_t stages, int64_t resident, int64_t blocks) const;
  double nsOfProcessor(double flops, double reached) const { return flops / (machine.tensorFlops / 1e9 / machine.processors) / reached; }
  double l2OfProcessor() const { return machine.l2Bytes / 1e9 / machine.processors; }
  /// Registers of a thread where so many threads are there at once: each quarter of a multiprocessor has 512 for the lanes of its warps.
  static int64_t registersOf(int64_t threads) {
    const int64_t warpsOfQuarter = llvm::divideCeil(threads, 4 * gemmWarpThreads);
    return std::min<int64_t>(mostOfThread, 512 / warpsOfQuarter / 8 * 8);
  }

  const TuningKey &key;
  WeightShape weights;
  const dsrt::GpuMachine &machine;
  int64_t sharedBytes; // of a block, at most
  std::vector<TuningCandidate> found;
};
} // namespace

TuningConfig Space::rule() const {
  if (isRows(key))
    return rowsRule(weights, weights.units, key.rows).config();
  if (key.builder == "tiles") {
    TileShape shape = tileShapes[bestTile(weights, key.rows)];
    shape.stages = TileLayout(weights, shape).stages;
    return shape.config();
  }
  WarpgroupShape shape = warpgroupShapes[bestWarpgroups(weights, key.rows)];
  shape.stages = Pipeline(weights, shape).stages;
  return shape.config();
}

double Space::floorUs() const {
  const double bytes = static_cast<double>(weights.units * weights.unitBytes) / machine.memoryBytes;
  const double flops = isRows(key) ? 0 : 2.0 * key.n * key.k * key.rows / machine.tensorFlops;
  return std::max(bytes, flops) * 1e6;
}

/// `resident` blocks have to fit a multiprocessor, and enough to be on its way, or `isAll` of it; what the rule gives is there, whatever
/// the estimate says.
void Space::add(TuningCandidate candidate, int64_t resident, bool isRule, bool isAll) {
  if (candidate.sharedBytes > sharedBytes)
    return;
  const bool fits = (candidate.sharedBytes + systemBytes) * resident <= sharedBytes + systemBytes &&
                    candidate.registers <= registersOf(candidate.threads * resident) && candidate.threads * resident <= 2048 &&
                    (isAll || candidate.bytesInFlight >= leastInFlight);
  if (isRule || fits)
    found.push_back(std::move(candidate));
}

void Space::addRows(const RowsConfig &config, bool isRule) {
  const Cut cut(weights, key.rows, config, sharedBytes);
  TuningCandidate made{config.config(), cut.threads(), cut.blocks};
  // Addresses, the rows' part of an instruction, and what a code becomes; fitted to what ptxas 13.0 takes.
  made.registers = 40 + cut.ahead * (8 + weights.scales) + cut.tokens() / 2 + (weights.areCodes ? 4 : 0) + (key.rows > 1 ? 24 : 0);
  made.sharedBytes = cut.bytes;
  made.bytesInFlight = config.resident * cut.warps * cut.ahead * 2 * tileBytes;
  made.waves = static_cast<double>(cut.blocks) / static_cast<double>(gemmProcessors * config.resident);
  made.us = rowsUs(cut, config, made.bytesInFlight);
  add(std::move(made), config.resident, isRule, cut.ahead == cut.perWarp);
}

/// Fitted to the entries of an H200: within 17 % in the mean of squares of logarithms, the worst 0.6 and 1.6 times what was measured.
double Space::rowsUs(const Cut &cut, const RowsConfig &config, int64_t bytesInFlight) const {
  constexpr double beginNs = 330, turnNs = 80, segmentNs = 300, arrivalNs = 470, codeNs = 0.04;
  // What a multiprocessor reads where others do not.
  const double alone = 1.9 * l2OfProcessor();
  const int64_t processors = machine.processors, blocksHere = std::min(config.resident, int64_t(llvm::divideCeil(cut.blocks, processors)));
  // Of the multiprocessor that has most to do.
  const auto turns = static_cast<double>(llvm::divideCeil(cut.turns, std::min(cut.blocks, processors)));
  const double turnBytes = static_cast<double>(weights.unitBytes) * cut.unitsPerTurn;
  const double inFlight = static_cast<double>(bytesInFlight) * blocksHere / config.resident;
  const double stream = std::max(1e9 * static_cast<double>(weights.units * weights.unitBytes) / machine.memoryBytes,
                                 turns * turnBytes / std::min(alone, inFlight / arrivalNs));
  const double codes = weights.areCodes ? codeNs * weights.units * 16 * weights.tiles * weights.depth / processors : 0;
  const double rows = 4.0 * key.rows * key.k * blocksHere * (key.norm ? 1.5 : 1.0) / alone;
  const auto waves = static_cast<double>(llvm::divideCeil(cut.blocks, processors * config.resident));
  const double ends = turnNs * llvm::divideCeil(cut.turns, cut.blocks) / blocksHere + segmentNs * (cut.firstTiles.size() - 1);
  return (machine.launchNs + beginNs + std::max(stream, codes) + rows * (1 + (waves - 1) / blocksHere) + ends) / 1e3;
}

double Space::tilesUs(double ns, double stageBytes, double steps, int64_t stages, int64_t resident, int64_t blocks) const {
  const double inFlight = stageBytes * static_cast<double>((stages - 1) * resident);
  const double copied = steps * stageBytes / std::min(l2OfProcessor(), inFlight / latency);
  const double begin = latency + stageBytes / l2OfProcessor();
  const auto ofProcessor = static_cast<double>(llvm::divideCeil(blocks, int64_t(machine.processors)));
  const double prepared = machine.launchNs + 6e9 * static_cast<double>(key.rows) * key.k / machine.l2Bytes;
  return (machine.launchNs + prepared + begin + ofProcessor * (std::max(ns, copied) + begin / resident)) / 1e3;
}

void Space::addTile(const TileShape &shape, bool isRule) {
  if (weights.areCodes && shape.sums() > mostSumsOfCodes)
    return;
  const TileLayout layout(weights, shape);
  if (!isRule && layout.teams < shape.teams)
    return;
  TuningCandidate made{shape.config(), shape.threads(),
                       int64_t(llvm::divideCeil(weights.units, shape.units) * llvm::divideCeil(key.rows, shape.rows))};
  const int64_t copies = llvm::divideCeil(layout.weightBytes / 16, shape.threads());
  made.registers =
      24 + shape.sums() + shape.unitsOfWarp() * (8 + weights.scales) + shape.columnsOfWarp() * 4 + 2 * copies + (weights.areCodes ? 24 : 0);
  made.sharedBytes = layout.bytes;
  made.bytesInFlight = shape.resident * (layout.stages - 1) * layout.stageBytes;
  made.waves = static_cast<double>(made.blocks) / static_cast<double>(machine.processors * shape.resident);
  // Fitted to the times of the rule's tiles (`tileTimes`, within 4 %).
  const double work = shape.units * shape.rows / 1024.0, copied = (shape.units * 16 + shape.rows) / 256.0;
  const double warps = shape.resident * shape.teams * TileShape::teamWarps;
  const double whole = nsOfProcessor(2.0 * 128 * 128 * key.k, 0.35) * std::max(1.0, 8 / warps);
  made.us = tilesUs((0.88 * work + 0.04 * copied + 0.08) * whole, layout.stageBytes, double(weights.tiles) / layout.tiles, layout.stages,
                    shape.resident, made.blocks);
  add(std::move(made), shape.resident, isRule);
}

void Space::addWarpgroups(const WarpgroupShape &shape, bool isRule) {
  if (weights.areCodes && shape.columns > mostColumnsOfCodes)
    return;
  const Pipeline pipeline(weights, shape);
  TuningCandidate made{shape.config(), shape.threads(),
                       int64_t(llvm::divideCeil(weights.units, shape.units()) * llvm::divideCeil(key.rows, shape.columns))};
  const bool isAhead = !weights.areCodes && shape.columns <= mostColumnsAhead;
  made.registers = 24 + shape.sums() + pipeline.parts * 8 * (isAhead ? 2 : 1) + 2 * weights.scales;
  made.sharedBytes = pipeline.bytes;
  made.bytesInFlight = shape.resident * (pipeline.stages - 1) * pipeline.stageBytes;
  made.waves = static_cast<double>(made.blocks) / static_cast<double>(machine.processors * shape.resident);
  const double work = shape.units() * shape.columns / 2048.0, copied = (shape.units() * 16 + shape.columns) / 384.0;
  const double whole = nsOfProcessor(2.0 * 128 * 256 * key.k, 0.65) * std::max(1.0, 2.0 / (shape.resident * shape.warpgroups));
  made.us = tilesUs((0.72 * work + 0.24 * copied + 0.04) * whole, pipeline.stageBytes, pipeline.steps, pipeline.stages, shape.resident,
                    made.blocks);
  add(std::move(made), shape.resident, isRule);
}

std::vector<TuningCandidate> Space::all() {
  const TuningConfig taken = rule();
  if (isRows(key)) {
    for (int64_t warps : {4, 8, 16})
      for (int64_t resident : {1, 2, 4})
        for (int64_t splits = 1; splits <= warps && splits <= weights.tiles; splits *= 2) {
          const int64_t tilesOfWarp = llvm::divideCeil(weights.tiles, splits);
          for (int64_t ahead : {1, 2, 3, 4, 5, 6, 8, 10, 12})
            for (bool isPersistent : {true, false}) {
              // More on their way than a warp has is the same as all of them, and so is a turn for each where all are there at once.
              const RowsConfig config{warps, resident, splits, ahead, isPersistent};
              const int64_t turns = llvm::divideCeil(weights.units, warps / splits);
              const bool isSame = ahead > tilesOfWarp || (!isPersistent && turns <= gemmProcessors * resident);
              if (!isSame && warps * resident >= gemmWarps / 2 && warps * resident <= gemmWarps && config.config() != taken)
                addRows(config, /*isRule=*/false);
            }
        }
    addRows(RowsConfig::of(taken), /*isRule=*/true);
  } else if (key.builder == "tiles") {
    for (int64_t units : {2, 4, 8})
      for (int64_t rows : {32, 64, 128})
        for (int64_t teams : {1, 2, 4})
          for (int64_t resident : {1, 2, 3, 4})
            for (int64_t stages : {2, 3, 4, 5, 6})
              if (TileShape shape{units, rows, teams, resident, stages}; shape.config() != taken)
                addTile(shape, /*isRule=*/false);
    addTile(TileShape::of(taken), /*isRule=*/true);
  } else {
    for (int64_t warpgroups : {1, 2})
      for (int64_t columns : {32, 64, 128, 256})
        for (int64_t resident : {1, 2, 3, 4})
          for (int64_t stages : {2, 3, 4, 5, 6, 7, 8})
            if (WarpgroupShape shape{warpgroups, columns, resident, stages}; shape.config() != taken)
              addWarpgroups(shape, /*isRule=*/false);
    addWarpgroups(WarpgroupShape::of(taken), /*isRule=*/true);
  }
  std::sort(found.begin(), found.end(),
            [](const TuningCandidate &a, const TuningCandidate &b) { return a.us != b.us ? a.us < b.us : a.config < b.config; });
  return std::move(found);
}

static Result<void> checked(const TuningKey &key) {
  if (std::optional<KeyFault> fault = faultOf(key))
    return Error::badData(key.text() + ": key '" + fault->member + "': expects " + fault->expected);
  return {};
}

Result<std::vector<TuningCandidate>> ds::tuningSpace(const TuningKey &key) {
  if (Result<void> good = checked(key); !good)
    return good.error();
  return Space(key).all();
}

Result<TuningConfig> ds::tuningRule(const TuningKey &key) {
  if (Result<void> good = checked(key); !good)
    return good.error();
  return Space(key).rule();
}

Result<double> ds::tuningFloor(const TuningKey &key) {
  if (Result<void> good = checked(key); !good)
    return good.error();
  return Space(key).floorUs();
}
