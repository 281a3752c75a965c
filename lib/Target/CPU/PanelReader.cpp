#include "PanelReader.h"

using namespace mlir;
using namespace ds;

PanelReader::PanelReader(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value column, int64_t vectors)
    : e(e), codes(codes), panel(panel), column(column), vectors(vectors), lanes(e.getLevel().lanes) {}

namespace {
/// Where a group stands.
struct GroupPlace {
  GroupPlace(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value g)
      : span(e.at(panel, e.mul(e.div(g, codes.groupsOfSpan()), codes.spanBytes()))), inSpan(e.rem(g, codes.groupsOfSpan())),
        codes(e.at(span, e.add(e.mul(codes.groupsOfRun() == 1 ? inSpan : e.div(inSpan, codes.groupsOfRun()), codes.runBytes()),
                               codes.scaleRows() * codes.rowBytes()))) {}
  Value span, inSpan, codes; // codes of its run
};

/// By what codes are multiplied, and what is added where they are asymmetric.
struct Scale {
  Value factor, offset;
};
} // namespace

/// Those of `lanes` columns from `column` on, or with 0 lanes of one.
static Scale loadScale(Emitter &e, const ds_plan::PanelCodes &codes, const GroupPlace &group, Value column, int64_t lanes) {
  const bool hasOffsets = codes.type.isAsymmetric();
  const bool halves = codes.half || codes.factors;
  Type type = halves ? Type(e.getBuilder().getF16Type()) : e.f32();
  Value place = e.at(group.span, e.mul(column, halves ? 2 : 4));
  if (!codes.factors)
    place = e.at(place, e.mul(group.inSpan, codes.scaleBytes()));
  Scale scale{e.loadF32(type, place, lanes), hasOffsets ? e.loadF32(type, e.at(place, codes.scaleBytes()), lanes) : Value()};
  if (codes.type.isE4m3()) // which are decoded as 2^-8 times what they are
    scale.factor = e.mul(scale.factor, 256);
  if (!codes.factors)
    return scale;
  // As `factorsOf` and `highFactorsOf` have it.
  auto bytesOf = [&](Value row) {
    Type byte = lanes ? Type(e.vec(lanes, e.i8())) : e.i8();
    return e.toI32(e.load(byte, e.at(group.span, e.add(e.add(e.mul(row, codes.width), column), codes.rowBytes()))));
  };
  auto lowest = [&](Value from, int32_t mask) { return e.bitAnd(from, e.constantOf(from.getType(), mask)); };
  Value low = bytesOf(group.inSpan);
  if (!hasOffsets)
    return {e.mul(scale.factor, e.toF32(low)), Value()};
  Value high = bytesOf(e.add(e.div(group.inSpan, 2), codes.groupsOfSpan())), shift = e.toI32(e.mul(e.rem(group.inSpan, 2), 4));
  high = lowest(e.shiftRight(high, lanes ? e.splat(shift, lanes) : shift), 15);
  Value ofOffset = e.bitOr(lowest(e.shiftRight(low, 6), 3), e.shiftLeft(high, 2));
  return {e.mul(scale.factor, e.toF32(lowest(low, 63))), e.mul(scale.offset, e.toF32(ofOffset))};
}

void PanelReader::enterGroup(Value g) {
  group = g;
  runCodes = e.at(GroupPlace(e, codes, panel, g).codes, e.mul(column, 4));
}

void PanelReader::loadScales() {
  const GroupPlace place(e, codes, panel, group);
  groupScales.clear(), groupOffsets.clear();
  for (int64_t v = 0; v < vectors; ++v) {
    const Scale scale = loadScale(e, codes, place, e.add(column, v * lanes), lanes);
    groupScales.push_back(scale.factor);
    if (scale.offset)
      groupOffsets.push_back(scale.offset);
  }
}

/// Words of parts of `bits` bits, each `part`.
static Value everywhere(Emitter &e, Type words, int64_t bits, int64_t part) {
  uint32_t word = 0;
  for (int64_t at = 0; at < 32; at += bits)
    word |= static_cast<uint32_t>(part) << at;
  return e.constantOf(words, static_cast<int32_t>(word));
}

/// Whether codes are looked up in a register: those of fewer bits whatever stands above them.
static bool looksUp(Emitter &e, const ds_plan::PanelCodes &codes) { return codes.bits() <= 4 && e.hasLookup16(); }

// Symmetric codes are signed by then, unless they are looked up.
Value PanelReader::decode(Value words, int64_t at) {
  const int64_t bits = codes.bits(), above = 32 - bits - at;
  if (looksUp(e, codes)) {
    SmallVector<float> values;
    for (int64_t code = 0; code < 16; ++code)
      values.push_back(static_cast<float>(code % (1 << bits) - codes.zeroCode()));
    return e.lookup16(at ? e.shiftRight(words, at) : words, values);
  }
  if (codes.type.isE4m3())
    return e.e4m3ToF32(above ? e.shiftLeft(words, above) : words);
  Value code = words;
  if (codes.type.isAsymmetric()) {
    code = at ? e.shiftRight(code, at) : code;
    code = above ? e.bitAnd(code, e.constantOf(code.getType(), (1 << bits) - 1)) : code;
  } else {
    code = above ? e.shiftLeft(code, above) : code;
    code = e.shiftRightSigned(code, 32 - bits);
  }
  return e.toF32(code);
}

void PanelReader::forPlanes(Value inGroup, int64_t aheadBytes, llvm::function_ref<void(int64_t, const PlaneWords &)> body) {
  const SmallVector<Plane, 3> planes = codes.planes();
  const int64_t rowBytes = codes.rowBytes(), unitBytes = codes.unitRows() * rowBytes;
  Type type = e.vec(lanes, e.i32());
  auto load = [&](Value row) {
    SmallVector<Value> words;
    for (int64_t v = 0; v < vectors; ++v)
      words.push_back(e.load(type, e.at(row, v * lanes * 4)));
    if (aheadBytes)
      for (int64_t line = 0; line < vectors * lanes * 4; line += 64)
        e.prefetch(e.at(row, line + aheadBytes));
    return words;
  };
  Value unit = e.div(inGroup, step), first = codes.hasBitPlane() ? Value() : e.at(runCodes, e.mul(unit, unitBytes));
  if (codes.groupsOfRun() > 1) // of one unit each
    unit = e.add(unit, e.rem(group, codes.groupsOfRun()));
  PlaneWords words(planes.size());
  if (codes.hasBitPlane()) {
    Value pair = e.at(runCodes, e.mul(e.div(unit, 2), codes.bits() * rowBytes)), second = e.rem(unit, 2);
    first = e.at(pair, e.add(e.mul(second, unitBytes), rowBytes));
    words.back() = load(pair);
    Value shift = e.splat(e.toI32(e.mul(second, 4)), lanes);
    for (Value &word : words.back())
      word = e.shiftRight(word, shift);
  }
  for (int64_t k = 0; k < step; k += 4) {
    for (auto [plane, of] : llvm::zip_equal(planes, words))
      if (plane.bits > 1 && k * plane.bits % 32 == 0)
        of = load(e.at(first, (codes.firstRowOf(plane) + k * plane.bits / 32) * rowBytes));
    body(k, words);
  }
}

Value PanelReader::join(const PlaneWords &words, int64_t v, int64_t k, int64_t low) {
  Value joined;
  for (auto [plane, of] : llvm::zip_equal(codes.planes(), words)) {
    const int64_t from = ds_plan::PanelCodes::shiftOf(plane, k), to = low + plane.low;
    Value word = of[v];
    if (from != to)
      word = from < to ? e.shiftLeft(word, to - from) : e.shiftRight(word, from - to);
    if (!joined) {
      joined = word;
      continue;
    }
    const int64_t below = (1 << to) - 1;
    joined =
        e.bitOr(e.bitAnd(joined, everywhere(e, word.getType(), 8, below)), e.bitAnd(word, everywhere(e, word.getType(), 8, 255 & ~below)));
  }
  return joined;
}

void PanelReader::forCodes(Value inGroup, int64_t aheadBytes, llvm::function_ref<void(int64_t, ArrayRef<Value>)> body) {
  const int64_t bits = codes.bits();
  const bool signs = codes.zeroCode() && !looksUp(e, codes);
  const SmallVector<Plane, 3> planes = codes.planes();
  SmallVector<Value> whole;
  forPlanes(inGroup, aheadBytes, [&](int64_t first, const PlaneWords &words) {
    // Codes of one plane are taken from its words, others from the upper ends of bytes.
    const bool joins = planes.size() > 1;
    if (joins || first * bits % 32 == 0) {
      whole.clear();
      for (int64_t v = 0; v < vectors; ++v) {
        Value word = joins ? join(words, v, first, 8 - bits) : words.front()[v];
        whole.push_back(
            signs ? e.bitXor(word, joins ? everywhere(e, word.getType(), 8, 0x80) : everywhere(e, word.getType(), bits, codes.zeroCode()))
                  : word);
      }
    }
    for (int64_t k = first; k < first + 4; ++k) {
      SmallVector<Value> decoded;
      for (Value word : whole)
        decoded.push_back(decode(word, joins ? k % 4 * 8 + 8 - bits : ds_plan::PanelCodes::shiftOf(planes.front(), k)));
      body(k, decoded);
    }
  });
}

void PanelReader::forUnsignedCodes(Value inGroup, int64_t aheadBytes, llvm::function_ref<void(int64_t, ArrayRef<Value>)> body) {
  forPlanes(inGroup, aheadBytes, [&](int64_t k, const PlaneWords &words) {
    SmallVector<Value> bytes;
    for (int64_t v = 0; v < vectors; ++v) {
      Value word = join(words, v, k, 0);
      bytes.push_back(codes.bits() == 8 ? word : e.bitAnd(word, everywhere(e, word.getType(), 8, (1 << codes.bits()) - 1)));
    }
    body(k, bytes);
  });
}

SmallVector<Value> PanelReader::values(ArrayRef<Value> codes) {
  SmallVector<Value> values;
  for (auto [v, code] : llvm::enumerate(codes))
    values.push_back(groupOffsets.empty() ? e.mul(code, groupScales[v]) : e.fma(code, groupScales[v], groupOffsets[v]));
  return values;
}

/// What unsigned codes of one group and column stand for.
static Value valueOf(Emitter &e, const ds_plan::PanelCodes &codes, Value code, const Scale &scale) {
  code = e.sub(code, codes.zeroCode());
  Value number = codes.type.isE4m3() ? e.e4m3ToF32(e.shiftLeft(e.toI32(code), 24)) : e.toF32(code);
  Value value = e.mul(number, scale.factor);
  return scale.offset ? e.add(value, scale.offset) : value;
}

Value ds::emitPanelValue(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value column, Value k) {
  const GroupPlace group(e, codes, panel, e.div(k, codes.group));
  // As `PanelCodes::rowOf` and `shiftOf` have it.
  Value inRun = e.rem(k, codes.runLength()), unit = e.div(inRun, PanelReader::step), row = e.mul(unit, codes.unitRows()), bitRow;
  if (codes.hasBitPlane()) {
    bitRow = e.mul(e.div(unit, 2), codes.bits());
    row = e.add(bitRow, e.add(e.mul(e.rem(unit, 2), codes.unitRows()), 1));
  }
  Value column4 = e.mul(column, 4), code;
  for (ds_plan::PanelCodes::Plane plane : codes.planes()) {
    Value ofPlane =
        plane.bits == 1 ? bitRow : e.add(row, e.add(e.div(e.mul(e.rem(k, PanelReader::step), plane.bits), 32), codes.firstRowOf(plane)));
    Value word = e.at(group.codes, e.add(e.mul(ofPlane, codes.rowBytes()), column4));
    Value byte = e.bitAnd(e.toI64(e.load(e.i8(), e.at(word, e.rem(k, 4)))), e.constant(255));
    Value part = e.shiftRight(byte, e.rem(e.mul(e.div(inRun, 4), plane.bits), 8));
    if (plane.bits < 8)
      part = e.bitAnd(part, e.constant((1 << plane.bits) - 1));
    code = code ? e.bitOr(code, e.shiftLeft(part, plane.low)) : part;
  }
  return valueOf(e, codes, code, loadScale(e, codes, group, column, 0));
}

Value ds::emitValuesOfRow(Emitter &e, const ds_plan::PanelCodes &codes, Value row, Value k) {
  const GroupPlace group(e, codes, row, e.div(k, codes.group));
  Value bytes = e.load(e.vec(e.getLevel().lanes, e.i8()), e.at(group.codes, e.rem(k, codes.group))), code = e.toI32(bytes);
  return valueOf(e, codes, e.bitAnd(code, e.constantOf(code.getType(), 255)), loadScale(e, codes, group, e.constant(0), 0));
}

void ds::emitWidenedCodes(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value to, Value begin, Value end) {
  std::string name;
  llvm::raw_string_ostream(name) << "gemm_widen_" << codes.type << "_" << codes.depth << "x" << codes.width;
  e.call(name, {panel, to, begin, end}, [&](ValueRange a) {
    const int64_t lanes = e.getLevel().lanes;
    PanelReader reader(e, codes, a[0], e.constant(0), codes.width / lanes);
    e.forRange(e.div(a[2], codes.group), e.ceilDiv(a[3], codes.group), 1, [&](Value g) {
      Value first = e.mul(g, codes.group);
      reader.startGroup(g);
      e.forRange(e.max(e.sub(a[2], first), 0), e.min(e.sub(a[3], first), codes.group), PanelReader::step, [&](Value k) {
        Value row = e.at(a[1], e.mul(e.sub(e.add(first, k), a[2]), codes.width * 4));
        reader.forCodes(k, /*aheadBytes=*/4096, [&](int64_t i, ArrayRef<Value> decoded) {
          for (auto [v, value] : llvm::enumerate(reader.values(decoded)))
            e.store(value, e.at(row, i * codes.width * 4 + static_cast<int64_t>(v) * lanes * 4));
        });
      });
    });
  });
}
