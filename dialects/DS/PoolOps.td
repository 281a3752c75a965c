// Pooling: a sequence becomes one vector.

def DS_PoolOp : DS_Op<"pool",
    [Pure, DeclareOpInterfaceMethods<InferTypeOpInterface>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "one vector from the tokens of a sequence";
  let description = [{
    `cls`: token 0; its mask folds away. `mean`: the mean of the tokens whose `mask` is not 0, in f32, the count taken as at least 1e-9 (a
    sequence of padding alone gives zeros). `last`: the last token whose mask is not 0, or token 0 when there is none.
    - (C1) `input` is `[B, T, H]`; `mask` is `[B, T]` and present for `mean` and `last`.
    ```mlir
    %y = ds.pool mean %x mask %m : tensor<?x?x64xf32>, tensor<?x?xi32>
    ```
    Source: Reimers and Gurevych 2019, arXiv:1908.10084.
  }];
  let arguments = (ins DS_FloatTensor:$input, Optional<DS_IntTensor>:$mask, DS_PoolKindAttr:$kind);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = "$kind $input (`mask` $mask^)? attr-dict `:` type($input) (`,` type($mask)^)?";
  let hasCanonicalizeMethod = 1;
}
