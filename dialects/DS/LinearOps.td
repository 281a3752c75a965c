// Embedding, linear, and the choice of rows: what reads weight matrices.

def DS_EmbeddingOp : DS_Op<"embedding",
    [Pure, DeclareOpInterfaceMethods<InferTypeOpInterface>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "rows of a table, chosen by index";
  let description = [{
    `output[..., j] = table[indices[...], j]`. An index outside the table is an error of the caller. A
    quantized table gives f32.
    - (C1) `table` has rank 2.
    ```mlir
    %x = ds.embedding %ids, %w : tensor<?x?xi32>, tensor<128x64xf32>
    ```
  }];
  let arguments = (ins DS_IntTensor:$indices, DS_MatrixTensor:$table);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$indices `,` $table attr-dict `:` type($indices) `,` type($table)";
}

def DS_LinearOp : DS_Op<"linear",
    [Pure, DeclareOpInterfaceMethods<InferTypeOpInterface>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "matrix product with a weight, and bias";
  let description = [{
    `output[..., n] = sum_k input[..., k] * weight[n, k] + bias[n]`, summed in f32; the output has the element type of `input`.
    With `activation_bits` 8 and a quantized weight, a back end may round `input` to signed codes of 8 bits, one scale for each
    of the weight's groups or for parts of one (docs/quantization.md), as it does where integers multiply faster; without it `input` is
    used as it is.
    With `transposed` the weight is read as `[K, N]`: `output[..., n] = sum_k input[..., k] * weight[k, n]`.
    With `rounded` the weight's values are rounded first, as by `ds.round`.
    - (C1) `weight` has shape `[N, K]` (`transposed`: `[K, N]`) with `K` the last size of `input`.
    - (C2) `bias` has shape `[N]`.
    - (C3) `activation_bits` is 8, and comes with a quantized weight whose codes are integers.
    - (C4) `transposed` comes with a weight of floats.
    - (C5) `rounded` is bf16 or f16, and comes with a weight of floats.
    ```mlir
    %y = ds.linear %x, %w bias %b : tensor<?x?x64xf32>, tensor<192x64xf32>, tensor<192xf32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_MatrixTensor:$weight, Optional<DS_FloatTensor>:$bias,
                       OptionalAttr<I64Attr>:$activation_bits, UnitAttr:$transposed, OptionalAttr<TypeAttr>:$rounded);
  let results = (outs DS_FloatTensor:$output);
  let extraClassDeclaration = [{
    /// N and K of the product.
    int64_t getColumns() { return ::llvm::cast<::mlir::RankedTensorType>(getWeight().getType()).getDimSize(getTransposed() ? 1 : 0); }
    int64_t getDepth() { return ::llvm::cast<::mlir::RankedTensorType>(getWeight().getType()).getDimSize(getTransposed() ? 0 : 1); }
  }];
  let assemblyFormat = [{
    $input `,` $weight (`transposed` $transposed^)? (`rounded` $rounded^)? (`bias` $bias^)? attr-dict
    `:` type($input) `,` type($weight) (`,` type($bias)^)?
  }];
  let hasVerifier = 1;
}

def DS_GatherRowsOp : DS_Op<"gather_rows",
    [Pure, DeclareOpInterfaceMethods<InferTypeOpInterface>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "chosen tokens of a step";
  let description = [{
    `output[r, :] = input[rows[r] / T, rows[r] % T, :]` for `input` of shape `[B, T, H]`: the tokens whose logits are wanted.
    - (C1) `input` has rank 3 and `rows` rank 1.
    ```mlir
    %y = ds.gather_rows %x, %rows : tensor<?x?x64xf32>, tensor<?xi32>
    ```
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_IntTensor:$rows);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$input `,` $rows attr-dict `:` type($input) `,` type($rows)";
}
