#include "dialects/DSCheck/DSCheckDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace ds_check;

#include "dialects/DSCheck/DSCheckDialect.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/DSCheck/DSCheckOps.cpp.inc"

void DSCheckDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/DSCheck/DSCheckOps.cpp.inc"
      >();
}

static LogicalResult verifyComparable(Operation *op) {
  auto value = cast<RankedTensorType>(op->getOperand(0).getType());
  auto expected = cast<RankedTensorType>(op->getOperand(1).getType());
  if (value.getElementType() == expected.getElementType() && succeeded(verifyCompatibleShape(value, expected)))
    return success();
  return op->emitOpError("expects value and expected of one element type and compatible shapes, got ") << value << " and " << expected;
}

LogicalResult ExpectCloseOp::verify() {
  auto isTolerance = [](const APFloat &value) { return value.isFinite() && (value.isZero() || !value.isNegative()); };
  if (!isTolerance(getAtol()) || !isTolerance(getRtol())) // (C1)
    return emitOpError("expects atol and rtol of at least 0, got ")
           << getAtol().convertToDouble() << " and " << getRtol().convertToDouble();
  return verifyComparable(*this); // (C2)
}

LogicalResult ExpectEqualOp::verify() { return verifyComparable(*this); } // (C1)
