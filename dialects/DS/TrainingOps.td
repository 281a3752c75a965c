// What only training has: the loss, controls that change from step to step, gradients that are kept, optimizers.

def DS_CrossEntropyOp : DS_Op<"cross_entropy", [Pure, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "cross-entropy of each row";
  let description = [{
    With `p = softmax(logits[r, :])`: `output[r, 0] = -(1 - smoothing) * log p[labels[r]] - smoothing / V * sum_v log p[v]`, in f32; 0 where
    `labels[r]` is negative.
    - (C1) `logits` is `[R, V]`, `labels` `[R]`, `output` `[R, 1]`; `smoothing` is in [0, 1).
    ```mlir
    %l = ds.cross_entropy %logits, %labels smoothing 0.0 : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x1xf32>
    ```
    Source: label smoothing: Szegedy et al. 2015, arXiv:1512.00567.
  }];
  let arguments = (ins DS_FloatTensor:$logits, DS_IntTensor:$labels, F64Attr:$smoothing);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$logits `,` $labels `smoothing` $smoothing attr-dict `:` type($logits) `,` type($labels) `->` type($output)";
  let hasVerifier = 1;
}

def DS_CrossEntropyGradOp : DS_Op<"cross_entropy_grad", [Pure, AllTypesMatch<["logits", "output"]>]> {
  let summary = "gradient of the cross-entropy's logits";
  let description = [{
    `output[r, v] = scale[0] * (softmax(logits[r, :])[v] - (1 - smoothing) * [v == labels[r]] - smoothing / V)`, 0 where `labels[r]` is
    negative. `scale` is the gradient of every row's loss: one divided by the rows that count, times the loss scale.
    - (C1) `logits` is `[R, V]`, `labels` `[R]`, `scale` `[1]`; `smoothing` is in [0, 1).
    ```mlir
    %d = ds.cross_entropy_grad %logits, %labels, %scale smoothing 0.0 : tensor<?x128xf32>, tensor<?xi32>, tensor<1xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$logits, DS_IntTensor:$labels, DS_FloatTensor:$scale, F64Attr:$smoothing);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = [{
    $logits `,` $labels `,` $scale `smoothing` $smoothing attr-dict `:` type($logits) `,` type($labels) `,` type($scale)
  }];
  let hasVerifier = 1;
}

def DS_RoundOp : DS_Op<"round", [Pure, Elementwise, SameOperandsAndResultType]> {
  let summary = "values as a type of 16 bits holds them";
  let description = [{
    `output` is `input` rounded to `target`, to the nearest, ties to even, in the element type of `input`: what does not fit is infinite,
    a NaN stays a NaN.
    - (C1) `target` is bf16 or f16.
    ```mlir
    %y = ds.round %x to bf16 : tensor<?x?x64xf32>
    ```
    Source: Micikevicius et al. 2018, arXiv:1710.03740.
  }];
  let arguments = (ins DS_FloatTensor:$input, TypeAttr:$target);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `to` $target attr-dict `:` type($output)";
  let hasVerifier = 1;
}

def DS_ScaleOp : DS_Op<"scale",
    [Pure, AllTypesMatch<["input", "output"]>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "product with a control of this step";
  let description = [{
    `output = input * scales[index]`.
    - (C1) `scales` is `[L]` with `index < L`.
    ```mlir
    %y = ds.scale %x by %scales at 3 : tensor<?x?x64xf32>, tensor<12xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$scales, I64Attr:$index);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `by` $scales `at` $index attr-dict `:` type($input) `,` type($scales)";
  let hasVerifier = 1;
}

def DS_DropoutOp : DS_Op<"dropout",
    [Pure, AllTypesMatch<["input", "output"]>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "elements left out at random";
  let description = [{
    `output = input * (w >= rate * 2^32) / (1 - rate)`, `w` of element `i`, counted through the tensor in row-major order, word `i mod 4` of
    Philox4x32-10 with the two words of `seed` as its key and the counter `(i / 4 mod 2^32, i / 2^34, site, 0)`. No mask is kept: the
    gradient is the same op of the same seed and site.
    - (C1) `rate` is in [0, 1).
    - (C2) `seed` is `[2]`.
    - (C3) `site` is in [0, 2^32).
    ```mlir
    %y = ds.dropout %x, %seed rate 1.0e-1 site 3 : tensor<?x?x64xf32>, tensor<2xi32>
    ```
    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; Srivastava et al. 2014, "Dropout".
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_IntTensor:$seed, F64Attr:$rate, I64Attr:$site);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `,` $seed `rate` $rate `site` $site attr-dict `:` type($input) `,` type($seed)";
  let hasVerifier = 1;
}

def DS_SwitchOp : DS_Op<"switch", [Pure, AllTypesMatch<["on", "off", "output"]>]> {
  let summary = "the result of a layer, or what goes around it";
  let description = [{
    `output = gates[index] != 0 ? on : off`. What only `on` needs is not computed where the gate is 0.
    - (C1) `gates` is `[L]` with `index < L`.
    ```mlir
    %y = ds.switch %gates at 3, %on, %off : tensor<12xi32>, tensor<?x?x64xf32>
    ```
    Source: Zhang and He 2020, arXiv:2010.13369, switchable transformer block.
  }];
  let arguments = (ins DS_IntTensor:$gates, DS_FloatTensor:$on, DS_FloatTensor:$off, I64Attr:$index);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$gates `at` $index `,` $on `,` $off attr-dict `:` type($gates) `,` type($on)";
  let hasVerifier = 1;
}

def DS_OptimizationBarrierOp : DS_Op<"optimization_barrier",
    [Pure, AllTypesMatch<["input", "output"]>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "a value that nobody may use before another";
  let description = [{
    `output = input`, known once `after` is. What is computed from `output` can therefore neither be shared with what was computed from
    `input` nor stand before `after`. No kernel runs: in the plan both are one place.
    ```mlir
    %y = ds.optimization_barrier %x after %g : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    ```
    Source: the op of this name of StableHLO.
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$after);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `after` $after attr-dict `:` type($input) `,` type($after)";
}

def DS_AccumulateGradientOp : DS_Op<"accumulate_gradient",
    [MemoryEffects<[MemRead, MemWrite]>, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "add to the gradient of a parameter";
  let description = [{
    `gradient of parameter += gradient`. With `gate`, the layer whose switch it belongs to: nothing happens where the layer is off.
    - (C1) `parameter` names a `ds.parameter` of the type of `gradient`.
    - (C2) with `gate` comes `gates`, `[L]` with `gate < L`.
    ```mlir
    ds.accumulate_gradient @w, %dw gate 3 of %gates : tensor<192x64xf32>, tensor<12xi32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$parameter, DS_FloatTensor:$gradient, Optional<DS_IntTensor>:$gates, OptionalAttr<I64Attr>:$gate);
  let assemblyFormat = "$parameter `,` $gradient (`gate` $gate^ `of` $gates)? attr-dict `:` type($gradient) (`,` type($gates)^)?";
  let hasVerifier = 1;
}

def DS_CountedRow : Type<And<[DS_FloatTensor.predicate, CPred<"::llvm::cast<::mlir::ShapedType>($_self).getRank() == 2">,
                              CPred<"::llvm::cast<::mlir::ShapedType>($_self).getDimSize(0) == 1">,
                              CPred<"::llvm::cast<::mlir::ShapedType>($_self).getDimSize(1) > 0">]>, // a dynamic size is negative
                         "row [1, N] of floats", "::mlir::RankedTensorType">;

def DS_GradientNormsOp : DS_Op<"gradient_norms", [MemoryEffects<[MemRead]>]> {
  let summary = "the sum of squares of each parameter's gradient";
  let description = [{
    `output[0, i] = sum(gradient of parameter i, squared)`, parameters in the order of the module; chunks are summed in
    f32 and added in f64.
    - (C1) `output` is `[1, N]` for `N` parameters that are trained.
    ```mlir
    %n = ds.gradient_norms : tensor<1x37xf32>
    ```
  }];
  let results = (outs DS_CountedRow:$output);
  let assemblyFormat = "attr-dict `:` type($output)";
}

def DS_OptimizerKind : I32EnumAttr<"OptimizerKind", "how parameters follow their gradients", [
    I32EnumAttrCase<"sgd", 0>, I32EnumAttrCase<"adam", 1>, I32EnumAttrCase<"adamw", 2>, I32EnumAttrCase<"lamb", 3>]> {
  let cppNamespace = "::ds";
  let genSpecializedAttr = 0;
}
def DS_OptimizerKindAttr : EnumAttr<DS_Dialect, DS_OptimizerKind, "optimizer_kind">;

def DS_OptimizerUpdateOp : DS_Op<"optimizer_update", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "one step of the optimizer for every parameter";
  let description = [{
    Of parameter `i` with value `p`, gradient `g`, moments `m` and `v`. `controls` is `[1, 5 N]`: five rows of `N`, for each parameter the
    rate, the weight decay, `b1 = 1 - beta1^t`, `b2 = 1 - beta2^t`, and whether it has a gradient in this step (not 0); without one nothing
    of it changes. `hyper` is `[1, 8]`: scale (of gradients), beta1, beta2, eps, min_coeff, max_coeff, `r1 = 1 - beta1`, `r2 = 1 - beta2`
    that are rounded once. `g = scale * gradient` first; every gradient that was used is zero afterwards.
    - `sgd`: `g += decay * p`; `m = beta1 * m + g`; `p -= rate * m` (`beta1` 0: momentum off).
    - `adam`: `g += decay * p`, then as `adamw` without decay. `adamw`: `p *= 1 - rate * decay`; `m = beta1 m + r1 g`;
      `v = beta2 v + r2 g^2`; `p -= rate / b1 * m / (sqrt(v) / sqrt(b2) + eps)`.
    - `lamb`: `m`, `v` as adam; `u = m / (sqrt(v) + eps) + decay * p`; `c = clip(|p| / |u|, min_coeff, max_coeff)`, 1 where a norm is 0;
      `p -= rate * sqrt(b2) / b1 * c * u`.
    `coefficients` is `[1, N]`: `c` of lamb, 1 of the others and of parameters without a gradient.
    - (C1) the shapes above, for the `N` parameters of the module that are trained.
    ```mlir
    %c = ds.optimizer_update lamb %controls, %hyper : tensor<1x185xf32>, tensor<1x8xf32> -> tensor<1x37xf32>
    ```
    Source: Kingma and Ba 2014, arXiv:1412.6980; Loshchilov and Hutter 2017, arXiv:1711.05101; You et al. 2019, arXiv:1904.00962.
  }];
  let arguments = (ins DS_FloatTensor:$controls, DS_FloatTensor:$hyper, DS_OptimizerKindAttr:$kind);
  let results = (outs DS_FloatTensor:$coefficients);
  let assemblyFormat = "$kind $controls `,` $hyper attr-dict `:` type($controls) `,` type($hyper) `->` type($coefficients)";
  let hasVerifier = 1;
}
