#include "TileReader.h"

using namespace ds;
using ds_plan::Tiles;
using mlir::Value;

std::optional<Tiles> ds::tilesOf(const KernelOperand &operand) {
  return operand.kind == KernelOperand::Kind::weight ? operand.tiles : std::nullopt;
}

Value ds::loadMatrixElement(GpuEmitter &e, const KernelOperand &operand, Value row, Value k) {
  std::optional<Tiles> tiles = tilesOf(operand);
  if (!tiles) {
    Value index = e.add(e.mul(e.toI64(row), operand.width()), e.toI64(k));
    return e.loadF32(operand.element(), e.element(operand.pointer, operand.element(), index), 0);
  }
  const int64_t bits = tiles->bits();
  Value block = e.at(operand.pointer, e.mul(e.toI64(e.div(row, Tiles::blockRows)), tiles->blockBytes()));
  Value g = e.rem(row, Tiles::blockRows), inTile = e.rem(k, tiles->tileDepth()), i = e.rem(k, 8);
  Value lane = e.add(e.mul(g, 4), e.div(e.rem(inTile, Tiles::partDepth), 8)), part = e.div(inTile, Tiles::partDepth);
  Value inLane = bits == 16 ? e.mul(i, 2) : bits == 8 ? e.add(e.mul(part, 8), i) : e.mul(part, 4);
  Value place = e.at(block, e.add(e.add(e.mul(e.div(k, tiles->tileDepth()), Tiles::tileBytes), e.mul(lane, 16)), inLane));
  if (!tiles->type)
    return e.loadF32(operand.element(), place, 0);
  Value code;
  if (bits == 8) {
    code = e.bitAnd(e.toI32(e.load(e.i8(), place)), e.index(255));
  } else {
    Value shift = e.add(e.mul(e.div(i, 2), 4), e.mul(e.rem(i, 2), 16));
    code = e.bitAnd(e.shiftRight(e.load(e.i32(), place), shift), e.index(15));
  }
  mlir::Type scaleType = tiles->half() ? mlir::Type(e.getBuilder().getF16Type()) : e.f32();
  Value scaleAt = e.add(e.mul(e.div(k, tiles->group()), Tiles::blockRows), g);
  auto scale = [&](int64_t firstGroup) {
    Value at =
        e.at(block, e.add(e.mul(scaleAt, tiles->scaleBytes()), tiles->codeBytes() + firstGroup * Tiles::blockRows * tiles->scaleBytes()));
    return e.loadF32(scaleType, at, 0);
  };
  if (tiles->isE4m3()) // decoded as 2^-8 times what it is
    return e.mul(e.e4m3ToF32(e.shiftLeft(code, 24)), e.mul(scale(0), 256));
  Value value = e.mul(e.toF32(e.sub(code, tiles->zeroCode())), scale(0));
  return tiles->isAsymmetric() ? e.add(value, scale(tiles->groups())) : value;
}
