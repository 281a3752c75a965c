// What `ds-differentiate` asks of an op.
#ifndef DIALECTS_DS_DIFFERENTIABLEOPINTERFACE_TD
#define DIALECTS_DS_DIFFERENTIABLEOPINTERFACE_TD

include "mlir/IR/OpBase.td"

def DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::ds";
  let description = [{
    An op that gives its vector-Jacobian product in ops of `ds`.
  }];
  let methods = [
    InterfaceMethod<[{
      Emits the gradients of the operands from those of the results, at the builder's insertion point. `outputGradients` has one value a
      result, null where nothing reads it. `wanted[i]` says whether the gradient of operand `i` is of use. Returns one value an operand,
      null for integers and what is not wanted.
    }], "::llvm::SmallVector<::mlir::Value>", "gradients",
    (ins "::mlir::OpBuilder &":$builder, "::mlir::ValueRange":$outputGradients, "::llvm::ArrayRef<bool>":$wanted)>
  ];
}

#endif // DIALECTS_DS_DIFFERENTIABLEOPINTERFACE_TD
