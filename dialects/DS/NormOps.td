// Norms and softmax over the last axis.

class DS_NormOp<string mnemonic>
    : DS_Op<mnemonic, [Pure, AllTypesMatch<["input", "output"]>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let results = (outs DS_FloatTensor:$output);
  let hasVerifier = 1;
}

def DS_LayerNormOp : DS_NormOp<"layer_norm"> {
  let summary = "layer norm over the last axis";
  let description = [{
    `output[..., j] = gain[j] * (input[..., j] - mean) / sqrt(var + eps) + bias[j]`, mean and variance of `input[..., :]` taken in f32.
    - (C1) `gain` and `bias` have shape `[last size of input]`.
    - (C2) `eps` is positive.
    ```mlir
    %y = ds.layer_norm %x, %g bias %b eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>, tensor<64xf32>
    ```
    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450.
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$gain, Optional<DS_FloatTensor>:$bias, F64Attr:$eps);
  let assemblyFormat =
      "$input `,` $gain (`bias` $bias^)? `eps` $eps attr-dict `:` type($input) `,` type($gain) (`,` type($bias)^)?";
}

def DS_RmsNormOp : DS_NormOp<"rms_norm"> {
  let summary = "root-mean-square norm over the last axis";
  let description = [{
    `output[..., j] = gain[j] * input[..., j] / sqrt(mean(input[..., :]^2) + eps)`, the mean taken in f32 for every element type.
    - (C1) `gain` has shape `[last size of input]`.
    - (C2) `eps` is positive.
    ```mlir
    %y = ds.rms_norm %x, %g eps 1.0e-6 : tensor<2x8xf16>, tensor<8xf16>
    ```
    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_FloatTensor:$gain, F64Attr:$eps);
  let assemblyFormat = "$input `,` $gain `eps` $eps attr-dict `:` type($input) `,` type($gain)";
}

def DS_L2NormalizeOp : DS_NormOp<"l2_normalize"> {
  let summary = "rows scaled to length one";
  let description = [{
    `output[..., j] = input[..., j] / max(sqrt(sum(input[..., :]^2)), eps)`, the sum taken in f32.
    - (C1) `input` has rank 1 or more.
    - (C2) `eps` is positive.
    ```mlir
    %y = ds.l2_normalize %x eps 1.0e-12 : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, F64Attr:$eps);
  let assemblyFormat = "$input `eps` $eps attr-dict `:` type($input)";
}

def DS_SoftmaxOp : DS_NormOp<"softmax"> {
  let summary = "softmax over the last axis";
  let description = [{
    `output[..., j] = exp(input[..., j] - max) / sum(exp(input[..., :] - max))`, in f32.
    - (C1) `input` has rank 1 or more.
    ```mlir
    %y = ds.softmax %x : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}
