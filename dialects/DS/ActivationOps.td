// Element-wise operations. They compute in f32 and round once to the element type.

class DS_UnaryOp<string mnemonic, list<Trait> traits = []>
    : DS_Op<mnemonic, !listconcat([Pure, Elementwise, SameOperandsAndResultType,
                                  DeclareOpInterfaceMethods<DifferentiableOpInterface>], traits)> {
  let arguments = (ins DS_FloatTensor:$input);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input attr-dict `:` type($output)";
}

class DS_BinaryOp<string mnemonic>
    : DS_Op<mnemonic, [Pure, Elementwise, Commutative, SameOperandsAndResultType,
                       DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let arguments = (ins DS_FloatTensor:$lhs, DS_FloatTensor:$rhs);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($output)";
  let hasFolder = 1;
}

def DS_GeluOp : DS_UnaryOp<"gelu"> {
  let summary = "Gaussian error linear unit";
  let description = [{
    `erf`: `x * (1 + erf(x / sqrt(2))) / 2`; `tanh`: `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.
    `coarse`: what reads it may round it to 8 bits, so a back end may be wrong by 1e-4, above 100 by 1e-6 of `x`.
    ```mlir
    %y = ds.gelu erf %x : tensor<?x?x64xf32>
    ```
    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_GeluKindAttr:$kind, UnitAttr:$coarse);
  let assemblyFormat = "$kind $input attr-dict `:` type($output)";
}

def DS_SiluOp : DS_UnaryOp<"silu"> {
  let summary = "sigmoid-weighted linear unit";
  let description = [{
    `x / (1 + exp(-x))`.
    ```mlir
    %y = ds.silu %x : tensor<?x?x64xf32>
    ```
    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
  }];
}

def DS_QuickGeluOp : DS_UnaryOp<"quick_gelu"> {
  let summary = "gelu by a scaled sigmoid";
  let description = [{
    `x / (1 + exp(-1.702 * x))`.
    ```mlir
    %y = ds.quick_gelu %x : tensor<?x?x64xf32>
    ```
  }];
}

def DS_ReluOp : DS_UnaryOp<"relu", [Idempotent]> {
  let summary = "rectified linear unit";
  let description = [{
    `max(x, 0)`; a NaN stays a NaN.
    ```mlir
    %y = ds.relu %x : tensor<?x?x64xf32>
    ```
  }];
}

def DS_TanhOp : DS_UnaryOp<"tanh"> {
  let summary = "hyperbolic tangent";
  let description = [{
    ```mlir
    %y = ds.tanh %x : tensor<?x64xf32>
    ```
  }];
}

def DS_AddOp : DS_BinaryOp<"add"> {
  let summary = "element-wise sum";
  let description = [{
    A constant of `-0` folds away; one of `+0` stays, as it turns `-0` into `+0`.
    ```mlir
    %z = ds.add %x, %y : tensor<?x?x64xf32>
    ```
  }];
}

def DS_MulOp : DS_BinaryOp<"mul"> {
  let summary = "element-wise product";
  let description = [{
    A constant of `1` folds away.
    ```mlir
    %z = ds.mul %x, %y : tensor<?x?x64xf32>
    ```
  }];
}
