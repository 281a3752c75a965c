// The `ds_check` dialect: expectations of a test.
#ifndef DIALECTS_DSCHECK_DSCHECKDIALECT_H
#define DIALECTS_DSCHECK_DSCHECKDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"

#include "dialects/DSCheck/DSCheckDialect.h.inc"
#define GET_OP_CLASSES
#include "dialects/DSCheck/DSCheckOps.h.inc"

#endif // DIALECTS_DSCHECK_DSCHECKDIALECT_H
