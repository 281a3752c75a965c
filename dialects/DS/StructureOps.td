// Parameters, constants, layers: what holds a model together.

def DS_ParameterOp : DS_Op<"parameter", [Symbol]> {
  let summary = "a weight of the model";
  let description = [{
    Declares a weight. Its bytes are those of tensor `source` of the model's files, seen through `view` (the whole tensor when absent), or
    the inline `value`.
    - (C1) exactly one of `source` and `value` is given.
    - (C2) `type` is a static tensor of rank 1 or 2, and `value` has that type.
    - (C3) `view` has as many elements as `type`, and comes with `source`.
    - (C4) a quantized type comes with `source` and rank 2, its groups divide the columns, and both are multiples of 16;
      blocks of 256 k divide them where scales are integers.
    - (C5) `grid`, which says how values were rounded to codes, comes with a quantized type of its kind with scales of f32, of as many bits,
      2 where the grid is binary (it has a code for 0).
    ```mlir
    ds.parameter @wte from "transformer.wte.weight" : tensor<128x64xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<DS_MatrixTensor>:$type, OptionalAttr<StrAttr>:$source,
                       OptionalAttr<DS_ViewAttr>:$view, OptionalAttr<ElementsAttr>:$value, OptionalAttr<DS_MoqAttr>:$grid);
  let assemblyFormat = "$sym_name (`from` $source^)? (`view` $view^)? (`value` $value^)? (`grid` $grid^)? attr-dict `:` $type";
  let extraClassDeclaration = [{
    ::mlir::RankedTensorType getTensorType() { return ::llvm::cast<::mlir::RankedTensorType>(getType()); }
  }];
  let hasVerifier = 1;
}

def DS_WeightOp : DS_Op<"weight", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the value of a parameter";
  let description = [{
    - (C1) `parameter` names a `ds.parameter` of the result's type.
    ```mlir
    %w = ds.weight @wte : tensor<128x64xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$parameter);
  let results = (outs DS_MatrixTensor:$result);
  let assemblyFormat = "$parameter attr-dict `:` type($result)";
}

def DS_ConstantOp : DS_Op<"constant", [Pure, ConstantLike, AllTypesMatch<["value", "result"]>]> {
  let summary = "a tensor written in the program";
  let description = [{
    ```mlir
    %x = ds.constant dense<[1.0, 2.0]> : tensor<2xf32>
    ```
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs DS_AnyTensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasFolder = 1;
}

def DS_CacheOp : DS_Op<"cache", [Symbol]> {
  let summary = "keys or values that outlive a step";
  let description = [{
    One row of `[C, kv_heads * D]` for each sequence. Written by `ds.cache_append`, kept from step to step by the caller's session.
    - (C1) `type` is `[?, C, width]` with a static context and width.
    - (C2) codes are symmetric, of 8 bits, with f32 scales of groups that divide the width.
    ```mlir
    ds.cache @k0 : tensor<?x64x32xf32>
    ds.cache @c0 : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<DS_CacheTensor>:$type);
  let assemblyFormat = "$sym_name attr-dict `:` $type";
  let extraClassDeclaration = [{
    ::mlir::RankedTensorType getTensorType() { return ::llvm::cast<::mlir::RankedTensorType>(getType()); }
  }];
  let hasVerifier = 1;
}

def DS_LayerOp : DS_Op<"layer", [RecursiveMemoryEffects, SingleBlockImplicitTerminator<"YieldOp">]> {
  let summary = "one layer of a model: the unit of dropping, profiling and pipelining";
  let description = [{
    Runs its body with `inputs` as block arguments and returns what the body yields. `name` is the source module path. Values from
    outside the region may be read in it. A pair of input and result folds away when the result has no reader, or is the input.
    - (C1) block arguments have the types of `inputs`, and the yielded values those of `outputs`.
    - (C2) `inputs` and `outputs` have equal types, so that a layer can be left out.
    ```mlir
    %y = ds.layer "h.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%h: tensor<?x?x64xf32>):
      %r = ds.relu %h : tensor<?x?x64xf32>
      ds.yield %r : tensor<?x?x64xf32>
    }
    ```
  }];
  let arguments = (ins StrAttr:$name, Variadic<DS_AnyTensor>:$inputs);
  let results = (outs Variadic<DS_AnyTensor>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs) $body";
  let hasCanonicalizeMethod = 1;
  let hasVerifier = 1;
}

def DS_FusionOp : DS_Op<"fusion", [RecursiveMemoryEffects, SingleBlockImplicitTerminator<"YieldOp">]> {
  let summary = "ops that one kernel computes";
  let description = [{
    Runs its body, which reads values from outside, and returns what it yields. The conversion to the plan makes one kernel of the body.
    - (C1) the block has no arguments, and the yielded values have the types of `outputs`.
    - (C2) each yielded value is computed in the body, and stands there once.
    ```mlir
    %f = ds.fusion -> tensor<?x?x64xf32> {
      %r = ds.relu %x : tensor<?x?x64xf32>
      ds.yield %r : tensor<?x?x64xf32>
    }
    ```
  }];
  let results = (outs Variadic<DS_FusedTensor>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "(`->` type($outputs)^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def DS_YieldOp : DS_Op<"yield", [Pure, ReturnLike, Terminator, ParentOneOf<["LayerOp", "FusionOp"]>]> {
  let summary = "what a layer or a fusion returns";
  let arguments = (ins Variadic<DS_FusedTensor>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ (void)$_state; }]>];
}
