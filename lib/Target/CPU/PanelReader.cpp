#include "PanelReader.h"

using namespace mlir;
using namespace ds;

PanelReader::PanelReader(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value column, int64_t vectors)
    : e(e), codes(codes), panel(panel), column(column), vectors(vectors), lanes(e.getLevel().lanes) {}

/// Where group `g` has its scales and its codes.
static std::pair<Value, Value> placesOfGroup(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value g) {
  Value span = e.at(panel, e.mul(e.div(g, codes.groupsOfSpan()), codes.spanBytes())), inSpan = e.rem(g, codes.groupsOfSpan());
  return {e.at(span, e.mul(inSpan, codes.scaleBytes())),
          e.at(span, e.add(e.mul(inSpan, codes.groupBytes()), codes.scaleRows() * codes.rowBytes()))};
}

static Type scaleType(Emitter &e, const ds_plan::PanelCodes &codes) { return codes.half ? Type(e.getBuilder().getF16Type()) : e.f32(); }

/// A scale as codes are multiplied by it: numbers of e4m3 are decoded as 2^-8 times what they are.
static Value scaled(Emitter &e, const ds_plan::PanelCodes &codes, Value scale) { return codes.type.isE4m3() ? e.mul(scale, 256) : scale; }

void PanelReader::startGroup(Value g) {
  auto [scales, first] = placesOfGroup(e, codes, panel, g);
  groupCodes = e.at(first, e.mul(column, 4));
  const int64_t bytes = codes.half ? 2 : 4;
  auto load = [&](Value from, SmallVector<Value> &to) {
    to.clear();
    for (int64_t v = 0; v < vectors; ++v)
      to.push_back(scaled(e, codes, e.loadF32(scaleType(e, codes), e.at(from, e.add(e.mul(column, bytes), v * lanes * bytes)), lanes)));
  };
  load(scales, groupScales);
  if (codes.type.isAsymmetric())
    load(e.at(scales, codes.scaleBytes()), groupOffsets);
}

/// Bytes or half bytes of a word, each `code`.
static Value everywhere(Emitter &e, Type words, int64_t bits, int64_t code) {
  return e.constantOf(words, static_cast<int32_t>(static_cast<uint32_t>(code) * (bits == 8 ? 0x01010101 : 0x11111111)));
}

// Symmetric codes are signed by then, unless they are looked up.
Value PanelReader::decode(Value words, int64_t k) {
  const int64_t bits = codes.type.getBits(), shift = codes.shiftOf(k), above = 32 - bits - shift;
  if (bits == 4 && e.hasLookup16()) {
    SmallVector<float> values;
    for (int64_t code = 0; code < 16; ++code)
      values.push_back(static_cast<float>(code - codes.zeroCode()));
    return e.lookup16(shift ? e.shiftRight(words, shift) : words, values);
  }
  if (codes.type.isE4m3())
    return e.e4m3ToF32(above ? e.shiftLeft(words, above) : words);
  Value code = words;
  if (codes.type.isAsymmetric()) {
    code = shift ? e.shiftRight(code, shift) : code;
    code = above ? e.bitAnd(code, e.constantOf(code.getType(), (1 << bits) - 1)) : code;
  } else {
    code = above ? e.shiftLeft(code, above) : code;
    code = e.shiftRightSigned(code, 32 - bits);
  }
  return e.toF32(code);
}

void PanelReader::forCodes(Value inGroup, int64_t aheadBytes, llvm::function_ref<void(int64_t, ArrayRef<Value>)> body) {
  const int64_t together = codes.type.codesPerLane(), bits = codes.type.getBits();
  const bool signs = codes.zeroCode() && !(bits == 4 && e.hasLookup16());
  Type type = e.vec(lanes, e.i32());
  Value row = e.at(groupCodes, e.mul(e.div(inGroup, together), codes.rowBytes()));
  for (int64_t first = 0; first < step; first += together) {
    SmallVector<Value> words;
    for (int64_t v = 0; v < vectors; ++v) {
      Value word = e.load(type, e.at(row, first / together * codes.rowBytes() + v * lanes * 4));
      words.push_back(signs ? e.bitXor(word, everywhere(e, type, bits, codes.zeroCode())) : word);
    }
    if (aheadBytes)
      for (int64_t line = 0; line < vectors * lanes * 4; line += 64)
        e.prefetch(e.at(row, first / together * codes.rowBytes() + line + aheadBytes));
    for (int64_t k = 0; k < together; ++k) {
      SmallVector<Value> decoded;
      for (Value word : words)
        decoded.push_back(decode(word, k));
      body(first + k, decoded);
    }
  }
}

void PanelReader::forUnsignedCodes(Value inGroup, llvm::function_ref<void(int64_t, ArrayRef<Value>)> body) {
  const int64_t together = codes.type.codesPerLane(), bits = codes.type.getBits();
  Type type = e.vec(lanes, e.i32());
  Value row = e.at(groupCodes, e.mul(e.div(inGroup, together), codes.rowBytes()));
  Value lowHalves = everywhere(e, type, 8, 15);
  for (int64_t first = 0; first < step; first += together) {
    SmallVector<Value> low, high;
    for (int64_t v = 0; v < vectors; ++v) {
      Value word = e.load(type, e.at(row, first / together * codes.rowBytes() + v * lanes * 4));
      low.push_back(bits == 8 ? word : e.bitAnd(word, lowHalves));
      if (bits == 4)
        high.push_back(e.bitAnd(e.shiftRight(word, 4), lowHalves));
    }
    body(first, low);
    if (bits == 4)
      body(first + 4, high);
  }
}

SmallVector<Value> PanelReader::values(ArrayRef<Value> codes) {
  SmallVector<Value> values;
  for (auto [v, code] : llvm::enumerate(codes))
    values.push_back(groupOffsets.empty() ? e.mul(code, groupScales[v]) : e.fma(code, groupScales[v], groupOffsets[v]));
  return values;
}

Value ds::emitPanelValue(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value column, Value k) {
  auto [scales, first] = placesOfGroup(e, codes, panel, e.div(k, codes.group));
  Value inGroup = e.rem(k, codes.group),
        word = e.at(first, e.add(e.mul(e.div(inGroup, codes.type.codesPerLane()), codes.rowBytes()), e.mul(column, 4)));
  Value code = e.bitAnd(e.toI64(e.load(e.i8(), e.at(word, e.rem(inGroup, 4)))), e.constant(255));
  if (codes.type.getBits() == 4)
    code = e.select(e.eq(e.rem(e.div(inGroup, 4), 2), 0), e.bitAnd(code, e.constant(15)), e.shiftRight(code, 4));
  code = e.sub(code, codes.zeroCode());
  const int64_t bytes = codes.half ? 2 : 4;
  Value at = e.at(scales, e.mul(column, bytes)), scale = scaled(e, codes, e.loadF32(scaleType(e, codes), at, 0));
  Value value = e.mul(codes.type.isE4m3() ? e.e4m3ToF32(e.shiftLeft(e.toI32(code), 24)) : e.toF32(code), scale);
  if (!codes.type.isAsymmetric())
    return value;
  return e.add(value, e.loadF32(scaleType(e, codes), e.at(at, codes.scaleBytes()), 0));
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
