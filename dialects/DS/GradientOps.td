// Gradients of the ops that have no gradient in other ops. `grad` is the gradient of the loss with respect to the op's result.

def DS_LinearWeightGradOp : DS_Op<"linear_weight_grad", [Pure]> {
  let summary = "gradient of a linear's weight";
  let description = [{
    `output[n, k] = sum_m grad[m, n] * input[m, k]` over all leading axes `m`, summed in f32.
    - (C1) `input` is `[..., K]`, `grad` `[..., N]` with the same leading axes, `output` `[N, K]`.
    ```mlir
    %dw = ds.linear_weight_grad %x, %dy : tensor<?x?x64xf32>, tensor<?x?x192xf32> -> tensor<192x64xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$grad);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `,` $grad attr-dict `:` type($input) `,` type($grad) `->` type($output)";
  let hasVerifier = 1;
}

def DS_ColumnSumOp : DS_Op<"column_sum", [Pure]> {
  let summary = "sum over all axes but the last: the gradient of a bias";
  let description = [{
    `output[n] = sum_m input[m, n]` over all leading axes `m`, in f32.
    - (C1) `input` is `[..., N]` and `output` `[N]`.
    ```mlir
    %db = ds.column_sum %dy : tensor<?x?x192xf32> -> tensor<192xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($output)";
  let hasVerifier = 1;
}

def DS_EmbeddingGradOp : DS_Op<"embedding_grad", [Pure]> {
  let summary = "gradient of an embedding's table";
  let description = [{
    `output[v, :] = sum of grad[..., :] over the indices that are v`, in f32, in the order of the indices.
    - (C1) `grad` has the shape of `indices` and a last axis `H`; `output` is `[V, H]`.
    ```mlir
    %dw = ds.embedding_grad %ids, %dx : tensor<?x?xi32>, tensor<?x?x64xf32> -> tensor<128x64xf32>
    ```
  }];
  let arguments = (ins DS_IntTensor:$indices, DS_FloatTensor:$grad);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$indices `,` $grad attr-dict `:` type($indices) `,` type($grad) `->` type($output)";
  let hasVerifier = 1;
}

def DS_GatherRowsGradOp : DS_Op<"gather_rows_grad", [Pure, AllTypesMatch<["input", "output"]>]> {
  let summary = "gradient of the tokens that were not chosen is zero";
  let description = [{
    `output[rows[r] / T, rows[r] % T, :] = grad[r, :]`, zero elsewhere; a row that occurs twice gets the sum. `input` gives the shape alone.
    - (C1) `input` is `[B, T, H]`, `grad` `[R, H]`, `rows` `[R]`.
    ```mlir
    %dx = ds.gather_rows_grad %x, %rows, %dy : tensor<?x?x64xf32>, tensor<?xi32>, tensor<?x64xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_IntTensor:$rows, DS_FloatTensor:$grad);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `,` $rows `,` $grad attr-dict `:` type($input) `,` type($rows) `,` type($grad)";
  let hasVerifier = 1;
}

class DS_NormGradOp<string mnemonic> : DS_Op<mnemonic, [Pure, AllTypesMatch<["input", "grad", "output", "normalized"]>]> {
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$gain, DS_FloatTensor:$grad, F64Attr:$eps);
  let results = (outs DS_FloatTensor:$output, DS_FloatTensor:$normalized);
  let assemblyFormat = "$input `,` $gain `,` $grad `eps` $eps attr-dict `:` type($input) `,` type($gain)";
  let hasVerifier = 1;
}

def DS_LayerNormGradOp : DS_NormGradOp<"layer_norm_grad"> {
  let summary = "gradient of a layer norm's input";
  let description = [{
    With `n = (input - mean) / sqrt(var + eps)`, `d = grad * gain` and means over the last axis:
    `output = (d - mean(d) - n * mean(d * n)) / sqrt(var + eps)`, `normalized = n`. The gradient of the gain is the column sum of
    `grad * normalized`, that of the bias the column sum of `grad`.
    - (C1) `gain` has shape `[last size of input]`, `eps` is positive.
    ```mlir
    %dx, %n = ds.layer_norm_grad %x, %g, %dy eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    ```
  }];
}

def DS_RmsNormGradOp : DS_NormGradOp<"rms_norm_grad"> {
  let summary = "gradient of a root-mean-square norm's input";
  let description = [{
    With `r = 1 / sqrt(mean(input^2) + eps)`, `n = input * r` and `d = grad * gain`: `output = (d - n * mean(d * n)) * r`, `normalized = n`.
    - (C1) `gain` has shape `[last size of input]`, `eps` is positive.
    ```mlir
    %dx, %n = ds.rms_norm_grad %x, %g, %dy eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    ```
  }];
}

def DS_L2NormalizeGradOp : DS_Op<"l2_normalize_grad", [Pure, AllTypesMatch<["input", "grad", "output"]>]> {
  let summary = "gradient of rows scaled to length one";
  let description = [{
    With `s = sqrt(sum(input^2))` and `y = input / max(s, eps)`: `(grad - y * sum(grad * y)) / s` where `s > eps`, else `grad / eps`.
    - (C1) `eps` is positive.
    ```mlir
    %dx = ds.l2_normalize_grad %x, %dy eps 1.0e-12 : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$grad, F64Attr:$eps);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `,` $grad `eps` $eps attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def DS_SoftmaxGradOp : DS_Op<"softmax_grad", [Pure, AllTypesMatch<["value", "grad", "output"]>]> {
  let summary = "gradient of a softmax from its result";
  let description = [{
    `output = value * (grad - sum(grad * value))`, the sum over the last axis; `value` is the softmax.
    ```mlir
    %dx = ds.softmax_grad %y, %dy : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$value, DS_FloatTensor:$grad);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$value `,` $grad attr-dict `:` type($value)";
}

class DS_ActivationGradOp<string mnemonic> : DS_Op<mnemonic, [Pure, Elementwise, SameOperandsAndResultType]> {
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$grad);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `,` $grad attr-dict `:` type($output)";
}

def DS_GeluGradOp : DS_ActivationGradOp<"gelu_grad"> {
  let summary = "gradient of gelu";
  let description = [{
    `grad` times the derivative of `ds.gelu` of this kind at `input`.
    ```mlir
    %dx = ds.gelu_grad erf %x, %dy : tensor<?x?x64xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$grad, DS_GeluKindAttr:$kind);
  let assemblyFormat = "$kind $input `,` $grad attr-dict `:` type($output)";
}

def DS_SiluGradOp : DS_ActivationGradOp<"silu_grad"> {
  let summary = "gradient of silu";
  let description = [{
    With `s = 1 / (1 + exp(-input))`: `grad * s * (1 + input * (1 - s))`.
    ```mlir
    %dx = ds.silu_grad %x, %dy : tensor<?x?x64xf32>
    ```
  }];
}

def DS_QuickGeluGradOp : DS_ActivationGradOp<"quick_gelu_grad"> {
  let summary = "gradient of quick_gelu";
  let description = [{
    With `s = 1 / (1 + exp(-1.702 * input))`: `grad * s * (1 + 1.702 * input * (1 - s))`.
    ```mlir
    %dx = ds.quick_gelu_grad %x, %dy : tensor<?x?x64xf32>
    ```
  }];
}

def DS_ReluGradOp : DS_ActivationGradOp<"relu_grad"> {
  let summary = "gradient of relu";
  let description = [{
    `grad` where `input > 0`, else 0.
    ```mlir
    %dx = ds.relu_grad %x, %dy : tensor<?x?x64xf32>
    ```
  }];
}

def DS_TanhGradOp : DS_Op<"tanh_grad", [Pure, Elementwise, SameOperandsAndResultType]> {
  let summary = "gradient of tanh from its result";
  let description = [{
    `grad * (1 - value^2)`; `value` is the hyperbolic tangent.
    ```mlir
    %dx = ds.tanh_grad %y, %dy : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$value, DS_FloatTensor:$grad);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$value `,` $grad attr-dict `:` type($output)";
}

def DS_AttentionGradOp : DS_Op<"attention_grad",
    [Pure, AttrSizedOperandSegments, AllTypesMatch<["query", "grad", "query_grad"]>,
     AllTypesMatch<["key", "value", "key_grad", "value_grad"]>]> {
  let summary = "gradients of attention's query, key and value";
  let description = [{
    Of `ds.attention` with the same operands and attributes, without `past`. With `P` its probabilities and `S` its scores:
    `value_grad = P^T grad`, `dP = grad value^T`, `dS = P * (dP - sum_s(P * dP))`, `query_grad = scale * dS key`,
    `key_grad = scale * dS^T query`; key heads get the sum over the query heads that read them. A token that sees no key adds nothing.
    With `dropout`, `value_grad` is of what is left of `P`, and `dP` is what is left of `grad value^T`.
    - (C1) `query` is `[B, T, heads * D]`; `key` and `value` are `[B, S, kv_heads * D]`, `mask` `[B, S]`, `slopes` `[heads]`.
    - (C2) `seed`, `rate` and `site` are those of `ds.dropout` and come together.
    ```mlir
    %dq, %dk, %dv = ds.attention_grad %q, %k, %v, %dy heads 4 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x32xf32>
    ```
    Source: Dao et al. 2022, arXiv:2205.14135, appendix B.2.
  }];
  let arguments = (ins DS_FloatTensor:$query, DS_FloatTensor:$key, DS_FloatTensor:$value, DS_FloatTensor:$grad,
                       Optional<DS_IntTensor>:$mask, Optional<DS_FloatTensor>:$slopes, Optional<DS_IntTensor>:$seed,
                       OptionalAttr<F64Attr>:$rate, OptionalAttr<I64Attr>:$site, I64Attr:$heads, I64Attr:$kv_heads, F64Attr:$scale,
                       UnitAttr:$causal, OptionalAttr<I64Attr>:$window);
  let results = (outs DS_FloatTensor:$query_grad, DS_FloatTensor:$key_grad, DS_FloatTensor:$value_grad);
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $grad (`mask` $mask^ `:` type($mask))? (`slopes` $slopes^ `:` type($slopes))?
    (`dropout` $seed^ `:` type($seed) `rate` $rate `site` $site)?
    `heads` $heads `kv_heads` $kv_heads `scale` $scale (`causal` $causal^)? (`window` $window^)? attr-dict
    `:` type($query) `,` type($key)
  }];
  let hasVerifier = 1;
}

def DS_PoolGradOp : DS_Op<"pool_grad", [Pure, AllTypesMatch<["input", "output"]>]> {
  let summary = "gradient of a pool's tokens";
  let description = [{
    `cls`: `grad` at token 0, zero elsewhere. `mean`: `grad / max(count, 1e-9)` at the tokens whose `mask` is not 0. `last`: `grad` at the
    token that `ds.pool` takes. `input` gives the shape alone.
    - (C1) `input` is `[B, T, H]`, `grad` `[B, H]`; `mask` is `[B, T]` and present for `mean` and `last`.
    ```mlir
    %dx = ds.pool_grad mean %x, %dy mask %m : tensor<?x?x64xf32>, tensor<?x64xf32>, tensor<?x?xi32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$grad, Optional<DS_IntTensor>:$mask, DS_PoolKindAttr:$kind);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$kind $input `,` $grad (`mask` $mask^)? attr-dict `:` type($input) `,` type($grad) (`,` type($mask)^)?";
  let hasVerifier = 1;
}
