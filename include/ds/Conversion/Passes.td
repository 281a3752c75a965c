// Passes from one level to the next.
#ifndef DS_CONVERSION_PASSES_TD
#define DS_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

def ConvertDSToPlan : Pass<"convert-ds-to-plan", "::mlir::ModuleOp"> {
  let summary = "turn functions into programs of kernel launches";
  let description = [{
    Each function becomes a `ds_plan.program`: tensors become buffers of rows, weights become storages with a layout, and each op a launch
    of a kernel that holds it. Equal kernels are shared. Layers are inlined; a launch keeps the location of its op. Keys and values that go
    straight to attention are first stored in cache layout, in `packed` buffers. A `ds.fusion` is one launch. A result of a program is
    written where the caller wants it when nothing else reads it, and copied otherwise. Gradients are added to the state by the kernels
    that compute them; what a layer that is off does not need has its gate, and `ds.switch` chooses a place.

    Before:
    ```mlir
    %y = ds.rms_norm %x, %gain eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    ```
    After:
    ```mlir
    ds_plan.launch @rms_norm_64 ins(%x, %gain : memref<?x64xf32>, memref<64xf32>) outs(%y : memref<?x64xf32>)
    ```
    Needs: phase `normalized`.
    Numerics: bit-exact with weights f32; lossy with bf16 and f16, a relative error of at most 2^-8 and 2^-11 for each
    element of a matrix, below 2^-14 in f16 an error of at most 2^-25.
  }];
  let options = [Option<"maxBatch", "max-batch", "int64_t", /*default=*/"16", "sequences of one step">,
                 Option<"maxRows", "max-rows", "int64_t", /*default=*/"512",
                        "tokens of one step; at least one sequence of all positions where there is no cache, max-batch in decode">,
                 Option<"weights", "weights", "std::string", /*default=*/"\"f32\"",
                        "f32, bf16 or f16: matrices and tables; vectors stay f32">,
                 Option<"target", "target", "std::string", /*default=*/"\"cpu\"",
                        "cpu, or cuda: matrices lie in tiles for tensor cores; needs weights of bf16 or f16">,
                 Option<"panelSums", "panel-sums", "bool", /*default=*/"false",
                  "for target cpu: matrices of f32 lie in `panel_sums`, for processors that add beside multiplying; without train">,
           Option<"panelHalves", "panel-halves", "bool", /*default=*/"false",
                  "for target cpu: matrices of bf16 lie in `panel_halves`, for processors that multiply f16, unless some are quantized">,
           Option<"train", "train", "bool", /*default=*/"false",
                        "parameters lie in the state that training keeps, matrices as rows; max-rows holds for every program">];
  let dependentDialects = ["::ds_plan::DSPlanDialect"];
}

def LowerCaches : Pass<"ds-lower-caches", "::mlir::ModuleOp"> {
  let summary = "flatten layers and make every write of keys and values an op of its own";
  let description = [{
    Passes of fusion then see through the ends of layers, and can move writes into the kernels of the products before them. Appends to a
    cache become `ds_plan.store_cache`; keys and values of this step that go straight to attention get one as well. `convert-ds-to-plan`
    does the same to what it still finds.

    Before: `attention(q, linear(x), v)`, `cache_append(k)`.
    After: `attention(q, store_cache(linear(x)), store_cache(v))`, `store_cache(k)`.
    Needs: phase `normalized`; caches inserted where there are some.
    Numerics: bit-exact.
  }];
  let dependentDialects = ["::ds_plan::DSPlanDialect"];
}

#endif // DS_CONVERSION_PASSES_TD
