// Expectations. Their types may differ in static and dynamic sizes: what is compared are the shapes of the values.
#ifndef DIALECTS_DSCHECK_DSCHECKOPS_TD
#define DIALECTS_DSCHECK_DSCHECKOPS_TD

include "dialects/DSCheck/DSCheckDialect.td"
include "mlir/IR/BuiltinAttributes.td"

def DSCheck_ExpectCloseOp : DSCheck_Op<"expect_close"> {
  let summary = "two tensors are equal but for a tolerance";
  let description = [{
    Fails unless the shapes are equal and `|value - expected| <= atol + rtol * |expected|` for every element. Infinities are close to
    themselves alone, a NaN to a NaN.
    - (C1) `atol` and `rtol` are finite and at least 0.
    - (C2) `value` and `expected` have one element type and compatible shapes.
    ```mlir
    ds_check.expect_close %x, %y atol 1.0e-6 rtol 1.0e-5 : tensor<?x2xf32>, tensor<2x2xf32>
    ```
  }];
  let arguments = (ins DSCheck_FloatTensor:$value, DSCheck_FloatTensor:$expected, F64Attr:$atol, F64Attr:$rtol);
  let assemblyFormat =
      "$value `,` $expected `atol` $atol `rtol` $rtol attr-dict `:` type($value) `,` type($expected)";
  let hasVerifier = 1;
}

def DSCheck_ExpectEqualOp : DSCheck_Op<"expect_equal"> {
  let summary = "two tensors are equal";
  let description = [{
    Fails unless shapes and all elements are equal. Zeros differ by their sign; a NaN equals a NaN.
    - (C1) `value` and `expected` have one element type and compatible shapes.
    ```mlir
    ds_check.expect_equal %i, %j : tensor<?xi32>, tensor<3xi32>
    ```
  }];
  let arguments = (ins DSCheck_Tensor:$value, DSCheck_Tensor:$expected);
  let assemblyFormat = "$value `,` $expected attr-dict `:` type($value) `,` type($expected)";
  let hasVerifier = 1;
}

#endif // DIALECTS_DSCHECK_DSCHECKOPS_TD
