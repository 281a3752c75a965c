// Programs, buffers, kernels and launches.
#ifndef DIALECTS_DSPLAN_DSPLANOPS_TD
#define DIALECTS_DSPLAN_DSPLANOPS_TD

include "dialects/DSPlan/DSPlanDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def DSPlan_Codes : Type<CPred<"::llvm::isa<::ds::QuantizedType>($_self)">, "codes of a cache">;
def DSPlan_Buffer : MemRefOf<[F32, BF16, F16, I32, I8]>; // i8: codes of a cache
def DSPlan_Tensor : RankedTensorOf<[F16, BF16, F32, I32, DSPlan_Codes]>;

def DSPlan_StorageOp : DSPlan_Op<"storage", [Symbol]> {
  let summary = "packed constant bytes in the weights file";
  let description = [{
    Packs `ds.parameter` `parameter` by `layout` at byte `offset` of the data part. For layout `rope` there is no parameter, and `rope`
    says of what the table is. Offsets are multiples of 64. With `in`, the place is in that part of the state that training keeps
    (`DsStep.state`), the offset that of the state, and the bytes may change; without a parameter it is the whole part.
    - (C1) `parameter` is given for every layout but `rope` and whole parts of the state, and `rope` for that layout alone.
    - (C2) `type` is static.
    - (C3) `offset` is a multiple of 64.
    - (C4) `type` has the shape of `layout`, bf16 lies in `panel_pairs` or `tiles` instead of `panels`, i32 in `panel_codes`
      and `tile_codes` alone, and only f32 in `panel_sums`, only f16 in `panel_halves`.
    ```mlir
    ds_plan.storage @wq panels of @q offset 0 : memref<2x64x32xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DSPlan_LayoutAttr:$layout, OptionalAttr<FlatSymbolRefAttr>:$parameter,
                       OptionalAttr<DictionaryAttr>:$rope, OptionalAttr<DSPlan_StateAttr>:$state, OptionalAttr<I64Attr>:$offset,
                       TypeAttrOf<DSPlan_Buffer>:$type);
  let assemblyFormat =
      "$sym_name $layout (`of` $parameter^)? (`rope` $rope^)? (`in` $state^)? (`offset` $offset^)? attr-dict `:` $type";
  let hasVerifier = 1;
}

def DSPlan_ProgramOp : DSPlan_Op<"program", [Symbol, NoTerminator, SingleBlock, IsolatedFromAbove]> {
  let summary = "one entry point of a package";
  let description = [{
    Launches in order. Bounds: `1 <= B <= max_batch`, `B * T <= max_rows`, `0 <= R <= max_rows`. `arena` is the size in bytes of the arena
    its buffers lie in, `kv_bytes` that of one sequence's caches.
    - (C1) `1 <= max_batch <= max_rows`; `arena` and `kv_bytes` are at least 0.
    ```mlir
    ds_plan.program @decode max_batch 16 max_rows 16 arena 0 kv_bytes 0 {
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$max_batch, I64Attr:$max_rows, I64Attr:$arena_bytes, I64Attr:$kv_bytes);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat =
      "$sym_name `max_batch` $max_batch `max_rows` $max_rows `arena` $arena_bytes `kv_bytes` $kv_bytes attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

class DSPlan_PlaceOp<string mnemonic, list<Trait> traits = []> : DSPlan_Op<mnemonic, !listconcat([Pure, HasParent<"ProgramOp">], traits)> {
  let results = (outs DSPlan_Buffer:$result);
}

def DSPlan_InputOp : DSPlan_PlaceOp<"input"> {
  let summary = "what the caller gives";
  let description = [{
    `index` is its place in `DsStep.inputs`.
    - (C1) the type is `memref<?xi32>`, or for `single` rows `memref<?xWxi32>` or `memref<?xWxf32>` with a static width.
    ```mlir
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    ```
  }];
  let arguments = (ins StrAttr:$name, I64Attr:$index, DSPlan_RowsAttr:$rows);
  let assemblyFormat = "$name $index $rows attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def DSPlan_OutputOp : DSPlan_PlaceOp<"output"> {
  let summary = "what the caller receives";
  let description = [{
    `index` is its place in `DsStep.outputs`. Launches that write an output whose pointer is null do not run;
    those whose buffers serve it alone need not.
    - (C1) the type is `memref<?xWxf32>` with a static width.
    ```mlir
    %logits = ds_plan.output "logits" 1 selected : memref<?x49152xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name, I64Attr:$index, DSPlan_RowsAttr:$rows);
  let assemblyFormat = "$name $index $rows attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def DSPlan_BufferOp : DSPlan_PlaceOp<"buffer"> {
  let summary = "rows in the arena";
  let description = [{
    `offset` is its byte in the arena, a multiple of 64, absent until buffers are placed. Rows are dense, or `grouped` as products read
    them: [ceil(rows / G)][W / 16][G][16], where the CPU level chooses `G`, 8 at most. Kernels of family `gemm` alone write and read such
    rows.
    - (C1) the type is `[?, W]` with a static width.
    - (C2) `offset` is a multiple of 64.
    - (C3) `grouped` rows are f32, and their width is a multiple of 16.
    - (C4) with `slab`, it holds as many rows at a time, dense ones, and launches of that `slab` alone touch it.
    ```mlir
    %x = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    ```
  }];
  let arguments = (ins DSPlan_RowsAttr:$rows, OptionalAttr<I64Attr>:$offset, UnitAttr:$grouped, OptionalAttr<I64Attr>:$slab);
  let assemblyFormat = "$rows (`grouped` $grouped^)? (`slab` $slab^)? (`offset` $offset^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def DSPlan_WeightOp : DSPlan_PlaceOp<"weight", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a storage, as an operand";
  let description = [{
    - (C1) `storage` names a `ds_plan.storage` of the result's type.
    ```mlir
    %w = ds_plan.weight @wq : memref<2x64x32xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$storage);
  let assemblyFormat = "$storage attr-dict `:` type($result)";
}

def DSPlan_CacheOp : DSPlan_PlaceOp<"cache"> {
  let summary = "keys or values of every sequence";
  let description = [{
    At byte `offset` of each sequence's cache block (`DsStep.kv[b]`). The type is `[C, kv_heads * D]`; `kind` says how it really lies there
    (`CacheLayout.h`). `i8` are codes, among which an f32 scale lies for each slot and head.
    - (C1) `C` is a multiple of 16, and the width one of `kv_heads`.
    - (C2) `offset` is a multiple of 64.
    - (C3) the type is of f32, bf16 or i8.
    ```mlir
    %k = ds_plan.cache @k0 keys heads 2 offset 0 : memref<64x32xf32>
    %c = ds_plan.cache @c0 keys heads 2 offset 8192 : memref<64x32xi8>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$cache, DSPlan_CacheKindAttr:$kind, I64Attr:$kv_heads, I64Attr:$offset);
  let assemblyFormat = "$cache $kind `heads` $kv_heads `offset` $offset attr-dict `:` type($result)";
  let extraClassDeclaration = [{
    /// Bytes of a sequence's block that it takes, scales included.
    int64_t getBytes();
  }];
  let hasVerifier = 1;
}

def DSPlan_SwitchOp : DSPlan_PlaceOp<"switch", [AllTypesMatch<["on", "off", "result"]>]> {
  let summary = "the rows of a layer, or those that go around it";
  let description = [{
    The place `on` in steps whose gate `gate` (of the program's input `layer_gates`) is not 0, else the place `off`. Nothing is copied.
    - (C1) both are dense rows of one kind.
    ```mlir
    %y = ds_plan.switch 3, %on, %off : memref<?x64xf32>
    ```
  }];
  let arguments = (ins I64Attr:$gate, DSPlan_Buffer:$on, DSPlan_Buffer:$off);
  let assemblyFormat = "$gate `,` $on `,` $off attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def DSPlan_KernelOp : DSPlan_Op<"kernel", [Symbol, SingleBlockImplicitTerminator<"ReturnOp">, IsolatedFromAbove]> {
  let summary = "a fused region and how it runs";
  let description = [{
    The region says what is computed, in `ds` ops; `family` names the builder, `schedule` holds its choices. Block arguments stand for the
    `ins` of a launch and returned values for its `outs`, in order. Equal kernels are shared.
    - (C1) block arguments are tensors, and the ops those of `ds` that compute values, and `ds_plan.store_cache`.
    ```mlir
    ds_plan.kernel @gelu "row" schedule {} {
    ^bb0(%x: tensor<?x?x64xf32>):
      %y = ds.gelu erf %x : tensor<?x?x64xf32>
      ds_plan.return %y : tensor<?x?x64xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$family, DictionaryAttr:$schedule);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name $family `schedule` $schedule attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def DSPlan_ReturnOp : DSPlan_Op<"return", [Pure, ReturnLike, Terminator, ParentOneOf<["KernelOp"]>]> {
  let summary = "what a kernel writes";
  let arguments = (ins Variadic<DSPlan_Tensor>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ (void)$_state; }]>];
}

def DSPlan_StoreCacheOp : DSPlan_Op<"store_cache", [Pure]> {
  let summary = "what a kernel appends to a cache";
  let description = [{
    Slot `past[b] + t` becomes `input[b, t, :]`; slots at or beyond the context are not written. Without `past` the slots begin at 0 (a step
    without a cache, in `packed` rows). The result stands for the cache, an `outs` of the launch.
    A result of codes is rounded as `ds.cache_append` says.
    - (C1) `input` is `[B, T, kv_heads * D]`, the result as wide, and `past` is `[B]`.
    - (C2) a result of codes has groups of D, and comes with `past`.
    ```mlir
    %k = ds_plan.store_cache keys heads 2 %x past %p : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
    %c = ds_plan.store_cache keys heads 2 %x past %p
        : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
    ```
  }];
  let arguments = (ins DSPlan_CacheKindAttr:$kind, I64Attr:$kv_heads, DSPlan_Tensor:$input, Optional<DSPlan_Tensor>:$past);
  let results = (outs DSPlan_Tensor:$output);
  let assemblyFormat =
      "$kind `heads` $kv_heads $input (`past` $past^)? attr-dict `:` type($input) (`,` type($past)^)? `->` type($output)";
  let hasVerifier = 1;
}

def DSPlan_AccumulateOp : DSPlan_Op<"accumulate", [Pure, AllTypesMatch<["gradient", "output"]>]> {
  let summary = "what a kernel adds to a gradient of the state";
  let description = [{
    The result stands for the gradient, an `outs` of the launch; the kernel adds to what it holds.
    ```mlir
    %g = ds_plan.accumulate %dw : tensor<192x64xf32>
    ```
  }];
  let arguments = (ins DSPlan_Tensor:$gradient);
  let results = (outs DSPlan_Tensor:$output);
  let assemblyFormat = "$gradient attr-dict `:` type($output)";
}

def DSPlan_LaunchOp : DSPlan_Op<"launch",
    [HasParent<"ProgramOp">, AttrSizedOperandSegments, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "run a kernel";
  let description = [{
    Reads `ins` and `aux` and writes `outs`. `aux` are what the schedule needs beyond the region's meaning, such as a table of rope angles.
    Its location is the module of the model it stands for. Launches of one `chain` may run slab by slab: a thread takes a few rows through
    all of them before the next few, without the barriers between, where there are enough rows for every thread.
    With `gate`, it runs in steps alone whose gate (of the program's input `layer_gates`) is not 0. Launches with one `slab` that follow
    each other all run on that many rows before any of them runs on the next ones.
    - (C1) `kernel` names a `ds_plan.kernel` with as many arguments as `ins` and as many results as `outs`.
    - (C2) buffers, inputs, outputs and caches have the element type and the width of what they stand for in the kernel, a cache of codes
      i8; a buffer that stands for f32 may have bf16 or f16, where a kernel writes it that of the `ds.round` it returns; what `store_cache`
      writes to a `packed` buffer may be bf16 (in pairs: `CacheLayout.h`).
    - (C3) `outs` are buffers, outputs, caches or places in the state, and no value stands in them twice.
    - (C4) no other launches stand between those of a chain; their kernels work row by row (family `copy`, `gemm`, `rope`
      or `row`), their operands are weights, inputs and buffers, all with the same rows, and what they write are buffers.
    - (C5) with `slab`, 1 or more, a launch is of no chain and has no gate; its kernel works row by row or adds sums over rows to the state
      (family `copy`, `gemm`, `row`, `column_sum` or `gemm_gradient`), and its operands are weights, `single` rows, and dense rows of one
      kind.
    ```mlir
    ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<DSPlan_Buffer>:$ins, Variadic<DSPlan_Buffer>:$aux,
                       Variadic<DSPlan_Buffer>:$outs, OptionalAttr<I64Attr>:$chain, OptionalAttr<I64Attr>:$gate,
                       OptionalAttr<I64Attr>:$slab);
  let assemblyFormat = [{
    $kernel (`chain` $chain^)? (`gate` $gate^)? (`slab` $slab^)? `ins` `(` ($ins^ `:` type($ins))? `)`
    (`aux` `(` $aux^ `:` type($aux) `)`)? `outs` `(` $outs `:` type($outs) `)` attr-dict
  }];
  let hasVerifier = 1;
}

def DSPlan_BarrierOp : DSPlan_Op<"barrier", [HasParent<"ProgramOp">]> {
  let summary = "all threads meet";
  let description = [{
    Launches before it are finished when launches behind it begin; launches between two barriers may run in any order and at once.
    ```mlir
    ds_plan.barrier
    ```
  }];
  let assemblyFormat = "attr-dict";
  let extraClassDeclaration = [{
    /// It stands between two launches of one chain, so threads that go by rows do not meet here.
    bool isInsideChain();
  }];
}

#endif // DIALECTS_DSPLAN_DSPLANOPS_TD
