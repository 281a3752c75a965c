// Passes that keep a module at its level: `ds` to `ds`, or `ds_plan` to `ds_plan`.
#ifndef DS_TRANSFORMS_PASSES_TD
#define DS_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def DropUnusedParameters : Pass<"ds-drop-unused-parameters", "::mlir::ModuleOp"> {
  let summary = "erase parameters and caches that no function reads";
  let description = [{
    Model files hold tensors that inference never reads, such as the pooler of an encoder without a head. Each one that goes is named in a
    remark. `symbol-dce` keeps them, as `ds.parameter` has no visibility.

    Needs: phase `imported`.   Keeps: everything a symbol reference reaches.
    Numerics: bit-exact.
    Saves: the bytes of the weights in the package.
  }];
}

def QuantizeWeights : Pass<"ds-quantize-weights", "::mlir::ModuleOp"> {
  let summary = "give matrices and tables quantized types";
  let description = [{
    Parameters with a source that linears and embeddings alone read get the type of a scheme. `scheme` is one of ds/Quantize/Scheme.h for
    all of them, or `stored`: that of the blocks in a GGUF file, whose codes are kept; other tensors stay as they are. Tables, and
    matrices that are tables as well, keep 8 bits where `scheme` has 2 to 4: their rows are read one at a time, and the head decides
    between tokens. A rule gives them what it says. On a grid of MoQ a table has the bits that are asked for, and the grid stands on the
    parameter: its codes follow from all of its source. Linears whose codes are of e4m3 get no `activation_bits`; gelus that linears with
    them alone read, times a gate or not, become `coarse`. `rules` are `regex=scheme` pairs over source names that come before `scheme`,
    the first that matches; `none` leaves a matrix as it is. A rule, or a scheme without rules, that quantizes no matrix is an error, as
    is a group that does not divide the columns of what it matches. Each choice is named in a remark, and each matrix that cannot be
    quantized.

    Before: `ds.parameter @q from "q.weight" : tensor<64x64xf32>`
    After: `ds.parameter @q from "q.weight" : tensor<64x64x!ds.quantized<4 symmetric group 32 scale f16>>`

    Needs: phase `normalized`.   Keeps: biases, norms, activations and caches in their types.
    Numerics: weights are rounded to the scheme; `stored` is bit-exact.
    Saves: bytes of weights, in the package and at every step.
  }];
  let options = [Option<"scheme", "scheme", "std::string", /*default=*/"\"none\"",
                        "int8, int8-row, int8-gN, intB-gN, with -asym; fp8, fp8-row, fp8-gN; moqB, with -asym or -inference and "
                        "-groupsN; stored; none">,
                 Option<"activations", "activations", "int64_t", /*default=*/"0",
                        "activation_bits of linears with quantized weights: 8, or 0 for none">,
                 ListOption<"rules", "rules", "std::string", "regex=scheme, the first that matches a source's name">];
}

def ObserveInputs : Pass<"ds-observe-inputs", "::mlir::ModuleOp"> {
  let summary = "give what linears multiply as results of @forward or @encode";
  let description = [{
    Each value that a linear of a matrix from the model's files reads becomes a result `input:NAME`, where NAME is the source of the first
    such matrix; layers are inlined. A package of such a module is what `ds_mlir.calibrate` runs over a text. A matrix that multiplies two
    values gives the first alone.

    Needs: phase `normalized`, caches inserted.   Keeps: the other results, and functions with a cache.
    Numerics: bit-exact.
    Saves: nothing.
  }];
}

def InsertCache : Pass<"ds-insert-cache", "::mlir::ModuleOp"> {
  let summary = "make prefill and decode of the forward function of a causal language model";
  let description = [{
    Clones `@forward` into `@prefill` and `@decode`, which take `past` [B] and `rows` [R] behind its arguments. Keys and values of the
    i-th attention are appended to the caches `@"i.k"` and `@"i.v"` and read from there; the LM head, and what each token passes alone
    behind the last attention, see the tokens `rows` alone, so `logits` is [R, V]. The last layer is inlined. A sliding window stays an
    attribute: its cache keeps the whole context. Modules without `@forward` are left as they are.

    Before: an attention of this step's keys and values, `logits` of all tokens.
    After: the cache holds them.
    ```mlir
    %k = ds.cache_append @"0.k", %key past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
    ```
    Needs: phase `normalized`, attention that is causal and has no mask.   Keeps: `hidden` of every token.
    Numerics: bit-exact with elements f32; lossy with bf16, an error of at most 2^-9 of each value, and with int8, at most half a scale,
    1/254 of the largest value of a head, each.
    Saves: all work on tokens of the past, and the logits and the last MLP of tokens whose successor is known.
  }];
  let options = [Option<"context", "context", "int64_t", /*default=*/"0",
                        "slots of a cache, rounded up to a multiple of 16 where the model has the positions; 0: all positions">,
                 Option<"elements", "elements", "std::string", /*default=*/"\"f32\"",
                        "what a cache holds: f32, bf16, or int8, codes with one scale for each token and head">,
                 Option<"keepForward", "keep-forward", "bool", /*default=*/"false", "keep @forward beside its clones">];
}

def InsertPaddingMask : Pass<"ds-insert-padding-mask", "::mlir::ModuleOp"> {
  let summary = "let the forward function of a causal language model take a mask of padding";
  let description = [{
    Adds an argument `mask` [B, T] to `@forward` and hands it to every attention. The programs with a cache need none, as the runtime leaves
    padding out of them; this one computes what a padded batch gives at every place, as the model's own code does. Modules without
    `@forward` are left as they are.

    Before: an attention that sees every token before it.
    After: one that sees those with a mask other than 0.
    ```mlir
    %a = ds.attention %q, %k, %v mask %mask : tensor<?x?xi32> heads 2 kv_heads 2 scale 0.25 causal : tensor<?x?x32xf32>, tensor<?x?x32xf32>
    ```
    Needs: phase `normalized`, attention without a mask.   Keeps: everything where no place is masked.
    Numerics: bit-exact.
  }];
}

def InsertLoss : Pass<"ds-insert-loss", "::mlir::ModuleOp"> {
  let summary = "make the training step and the evaluation of a model's function";
  let description = [{
    `@forward` or `@encode` becomes `@step`, which returns `loss` [R, 1], and `@evaluate`, which returns `loss` and `logits` [R, V]. Both
    take `rows` [R], the tokens whose logits count, and their `labels` [R]; the head sees those tokens alone. A model of one row of logits
    for each sequence takes `labels` [B] and no rows.

    Before: `logits` of all tokens.
    After: the loss of the tokens that have a label.
    ```mlir
    %y = ds.gather_rows %x, %rows : tensor<?x?x64xf32>, tensor<?xi32>
    %l = ds.cross_entropy %logits, %labels smoothing 0.0 : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x1xf32>
    ```
    Needs: phase `normalized`, a result `logits`.   Keeps: layers.
    Numerics: bit-exact.
    Saves: the logits of tokens without a label.
  }];
  let options = [Option<"smoothing", "smoothing", "double", /*default=*/"0.0", "label smoothing, 0 to less than 1">];
}

def InsertDropout : Pass<"ds-insert-dropout", "::mlir::ModuleOp"> {
  let summary = "let a training step leave elements out";
  let description = [{
    In `@step`, the result of each op that the importer marked with `ds.dropout`, a rate, goes through a `ds.dropout`; of a `ds.attention`,
    its weights lose elements. Sites are numbered in order. An argument `dropout_seed` [2] is their seed. Marks outside of `@step` go
    without a trace, and without marks nothing changes.

    Before: `ds.linear %x, %w {ds.dropout = 1.0e-1}`
    After:
    ```mlir
    %y = ds.dropout %x, %seed rate 1.0e-1 site 3 : tensor<?x?x64xf32>, tensor<2xi32>
    ```
    Needs: `ds-insert-loss`.   Keeps: `@evaluate`, and the loss where all rates are 0.
    Numerics: lossy (on purpose: elements times 0 or 1 / (1 - rate)).
    Saves: masks, which are computed wherever they are needed.
    Source: Srivastava et al. 2014, "Dropout".
  }];
}

def InsertLayerDrop : Pass<"ds-insert-layer-drop", "::mlir::ModuleOp"> {
  let summary = "let a training step leave layers out";
  let description = [{
    Adds arguments `layer_gates` [L] and `layer_scales` [L] to `@step`. Layer `i` is marked `ds.gate = i`, and in its residual sums the
    operand that is not the stream is scaled by `layer_scales[i]`: the stream is the layer's input and every sum with it, or the operand
    that the other is computed from (post-norm). `ds-differentiate` makes switches of the gates.

    Before: `ds.add %branch, %x`
    After:
    ```mlir
    %y = ds.scale %x by %scales at 3 : tensor<?x?x64xf32>, tensor<12xf32>
    ```
    Needs: `ds-insert-loss`; layers of one input and result.   Keeps: `@evaluate`.
    Numerics: bit-exact where gates and scales are 1.
    Saves: at run time, the work of layers that are off, forward and backward.
    Source: Zhang and He 2020, arXiv:2010.13369, algorithm 1.
  }];
}

def Differentiate : Pass<"ds-differentiate", "::mlir::ModuleOp"> {
  let summary = "add the gradients of the loss to every parameter that is trained";
  let description = [{
    Reverse mode through `@step`. An argument `loss_scale` [1] behind `labels` is the gradient of each row's loss. Each use of a weight adds
    to its parameter's gradient, right behind the op that computes it; other sums of gradients are `ds.add`. Parameters without a source
    and constants get none. Layers are replaced by what they hold. One with `ds.gate = i` ends in a switch between its result and its
    input, its gradient in one between what went through it and what goes around it, and its parameters' gradients have the gate.

    With `recompute`, the ops of a layer are repeated in front of its gradients, which read the copies: of its forward pass only its input
    stays. The copies (`ds.recomputed`) read it through a `ds.optimization_barrier`, behind the gradient that the layer begins with.

    Before: `ds.linear %x, %w`
    After:
    ```mlir
    %dw = ds.linear_weight_grad %x, %dy : tensor<?x?x64xf32>, tensor<?x?x192xf32> -> tensor<192x64xf32>
    ds.accumulate_gradient @w, %dw gate 3 of %gates : tensor<192x64xf32>, tensor<12xi32>
    ```
    Needs: `ds-insert-loss`; parameters of floats; ops with DifferentiableOpInterface.   Keeps: `@evaluate`, and the loss as it is.
    Numerics: bit-exact, whatever is recomputed.
    Saves: with `recompute`, the memory of what layers compute inside.
    Source: recomputation: Chen et al. 2016, arXiv:1604.06174.
  }];
  let options = [Option<"recompute", "recompute", "std::string", /*default=*/"\"none\"",
                        "layers that are computed again for their gradients: none, all, or how many, the first">];
}

def RoundOperands : Pass<"ds-round-operands", "::mlir::ModuleOp"> {
  let summary = "let a training step multiply values of 16 bits";
  let description = [{
    In `@step` and `@evaluate`, what is multiplied by something computed or by a weight is rounded first (`ds.round`): the rows that
    linears, their gradients, attention and its gradient read; embedded rows; and weights (`rounded`). So are values of the forward pass
    where gradients read them, behind the `ds.cross_entropy` of `@step`, or compute them again, and logits that have a gradient. A column
    sum reads what the products beside it read.
    Parameters, their gradients, sums, norms and the loss stay f32.

    Before: `ds.linear %x, %w`
    After:
    ```mlir
    %r = ds.round %x to bf16 : tensor<?x?x64xf32>
    %y = ds.linear %r, %w rounded bf16 : tensor<?x?x64xf32>, tensor<192x64xf32>
    ```
    Needs: `ds-differentiate`.   Keeps: order.
    Numerics: lossy (each rounded value by 2^-9 of it in bf16, by 2^-12 in f16; in f16 more than 65504 is infinite, less than 2^-25 zero).
    Saves: half the bytes of what is kept for gradients (`ds-plan-narrow-buffers`).
    Source: Micikevicius et al. 2018, arXiv:1710.03740; Kalamkar et al. 2019, arXiv:1905.12322.
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"bf16\"", "bf16 or f16">];
}

def InsertOptimizer : Pass<"ds-insert-optimizer", "::mlir::ModuleOp"> {
  let summary = "add the functions that update all parameters";
  let description = [{
    `@norms` returns the sum of squares of each parameter's gradient, `@update` takes `controls` and `hyper` and makes one step of the
    optimizer, for the N parameters that `@step` gives a gradient to.

    After:
    ```mlir
    %n = ds.gradient_norms : tensor<1x37xf32>
    %c = ds.optimizer_update lamb %controls, %hyper : tensor<1x185xf32>, tensor<1x8xf32> -> tensor<1x37xf32>
    ```
    Needs: `ds-differentiate`.   Keeps: the other functions.
    Numerics: bit-exact.
  }];
  let options = [Option<"kind", "kind", "std::string", /*default=*/"\"adamw\"", "sgd, adam, adamw or lamb">];
}

def FuseQkv : Pass<"ds-fuse-qkv", "::mlir::ModuleOp"> {
  let summary = "compute the linears that read one value in one kernel";
  let description = [{
    Queries, keys and values of one hidden state, gate and up of an MLP, also the first linear of an MLP beside attention: all of them read
    one value, so one kernel reads it once and has all their columns to share among threads. Weights stay apart.

    Before: linears that read one value.
    After: one `ds.fusion` of them, where no value would depend on itself.
    Needs: phase `normalized`.
    Numerics: bit-exact.
    Saves: a launch for each linear but the first, and the norm before them once for each.
    Source: DeepSpeed inference, `qkv_gemm`; Aminabadi et al. 2022, arXiv:2207.00032, section III.
  }];
}

def FuseNormLinear : Pass<"ds-fuse-norm-linear", "::mlir::ModuleOp"> {
  let summary = "compute a norm in the kernel of the products that read it";
  let description = [{
    The kernel copies its rows anyway; here they pass through the norm. Where other ops read the norm too, the kernel also writes it. A norm
    that products of several kernels read stays alone, as each of them would compute it.

    Where a step has so few rows that threads share the columns of the product, each thread computes the whole norm. The pass asks the
    cost model (docs/cost-model.md) for both ways and leaves the norm alone where the fused one takes longer.

    Before: a layer norm or RMS norm, and linears or one fusion of linears that read it.
    After: one `ds.fusion` of both.
    Needs: phase `normalized`.
    Numerics: bit-exact.
    Saves: a launch, a barrier, and writing and reading the rows.
    Source: Aminabadi et al. 2022, arXiv:2207.00032, section III.
  }];
  let options = [Option<"machine", "machine", "std::string", /*default=*/"", "machine.json of ds-bench --calibrate; empty: built in">];
}

def FuseLinearEpilogue : Pass<"ds-fuse-linear-epilogue", "::mlir::ModuleOp"> {
  let summary = "compute element-wise ops in the kernel of the product they read";
  let description = [{
    Activations, residual sums and the product of gate and up are computed from the tile of the product while it is in the first-level
    cache. Goes on with the readers of what was fused, as long as they are element-wise.

    Before: `gelu(linear(x))`, `linear(x) + residual`, `silu(gate(x)) * up(x)`.
    After: one `ds.fusion` of all of it.
    Needs: phase `normalized`.
    Numerics: bit-exact.
    Saves: a launch, a barrier, and writing and reading the rows, for each op.
    Source: Aminabadi et al. 2022, arXiv:2207.00032, section III.
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"cpu\"",
                        "whose kernels have to serve what is joined, cpu, or cuda: two products at most meet there, of one type">];
}

def FuseAttention : Pass<"ds-fuse-attention", "::mlir::ModuleOp"> {
  let summary = "turn queries and keys, and write the cache, in the kernel of their products";
  let description = [{
    Rope and the writes of keys and values need whole heads, so the kernel works on columns of whole heads at a time. `ds.attention` itself
    is one kernel from scores to context.

    Before: `cache_append(rope(linear(x)))`.
    After: one `ds.fusion` of all of it.
    Needs: phase `normalized`; caches lowered by `ds-lower-caches` where there are some.
    Numerics: bit-exact.
    Saves: a launch for each rope and write, the barriers between them, and writing and reading the rows.
    Source: Aminabadi et al. 2022, arXiv:2207.00032, section III (the transform of the attention's input).
  }];
}

def FuseLoss : Pass<"ds-fuse-loss", "::mlir::ModuleOp"> {
  let summary = "compute a loss and its gradient in one kernel";
  let description = [{
    Both need the largest logit of a row and the sum of powers beside it, and the gradient takes the place of the logits. A `ds.round` that
    alone reads the gradient joins them.

    Before: `cross_entropy(x, labels)` and `round(cross_entropy_grad(x, labels))`.
    After: one `ds.fusion` of all.
    Needs: phase `normalized`.
    Numerics: bit-exact.
    Saves: a launch, a barrier, and a pass over the logits.
  }];
}

def FormFusionRegions : Pass<"ds-form-fusion-regions", "::mlir::ModuleOp"> {
  let summary = "join what is left of ops on rows";
  let description = [{
    Embeddings, element-wise ops and at most one norm of one width become one kernel that goes through each row once. An L2 norm goes with
    the pool it reads, as in sentence encoders.

    Before: `layer_norm(embedding(a) + embedding(b))`.
    After: one `ds.fusion` of all of it.
    Needs: phase `normalized`; runs behind the passes that fuse around products.
    Numerics: bit-exact.
    Saves: a launch, a barrier, and writing and reading the rows, for each op but the last.
  }];
  let options = [Option<"pools", "pools", "bool", /*default=*/"true", "join an L2 norm with the pool it reads">];
}

def PlanChainRows : Pass<"ds-plan-chain-rows", "::mlir::ModuleOp"> {
  let summary = "let a few rows go through several launches before the next few";
  let description = [{
    Gives launches that follow each other one `chain` where each reads what another of them wrote and all work row by row: products,
    norms and element-wise ops that write no cache. The hidden rows of an MLP then never leave the second-level cache.

    Before: `ds_plan.launch @up ...`, `ds_plan.launch @down ...`
    After: `ds_plan.launch @up chain 0 ...`, `ds_plan.launch @down chain 0 ...`

    Needs: barriers and buffers not yet placed.   Keeps: the order of launches.
    Numerics: bit-exact.
    Saves: the barriers inside a chain, and the way of its buffers through memory, for steps of many rows.
  }];
}

def PlanChooseTiles : Pass<"ds-plan-choose-tiles", "::mlir::ModuleOp"> {
  let summary = "choose whether threads share the rows of products or their columns";
  let description = [{
    Threads that share rows each read all weights, which pays where they have rows enough; threads that share columns read weights once, but
    all rows, compute all norms and meet behind each launch. The cost model (docs/cost-model.md) predicts both for the products of each
    program on all threads of a machine; kernels say from how many rows a thread they share rows, if not from 24. Remarks have the times.

    Before: `ds_plan.kernel @product "gemm" schedule {} {...}`
    After: `ds_plan.kernel @product "gemm" schedule {rows_of_thread = 48 : i64} {...}`

    Needs: launches.   Keeps: everything else.
    Numerics: bit-exact.
    Saves: of a large model in steps of several dozen rows, the way of its weights to each thread.
  }];
  let options = [Option<"machine", "machine", "std::string", /*default=*/"", "machine.json of ds-bench --calibrate; empty: built in">];
}

def PlanOverwriteRows : Pass<"ds-plan-overwrite-rows", "::mlir::ModuleOp"> {
  let summary = "let the gradient of a loss take the place of the logits";
  let description = [{
    Its kernel reads each row before it writes it, and so does one that rounds and nothing else. Rows that a later launch reads stay.

    Before: `ds_plan.launch @loss ins(%logits, ...) outs(%gradient : ...)`
    After: `ds_plan.launch @loss ins(%logits, ...) outs(%logits : ...)`

    Needs: barriers and buffers not yet placed.   Keeps: the order of launches.
    Numerics: bit-exact.
    Saves: the memory of the logits.
  }];
}

def PlanSlabRows : Pass<"ds-plan-slab-rows", "::mlir::ModuleOp"> {
  let summary = "never hold all logits of a step that trains";
  let description = [{
    Gives the launches that touch wide rows of chosen tokens one `slab`: product with the vocabulary, loss and its gradient, and the
    products of the gradient run on some rows before any of them runs on the next ones. The rows of a slab are those of `slab-bytes`, in
    whole slabs of products, and one such slab at least.

    Before: `%x = ds_plan.buffer selected : memref<?x50257xf32>`
    After: `%x = ds_plan.buffer selected slab 264 : memref<?x50257xf32>`, and `ds_plan.launch ... slab 264`.

    Needs: barriers and buffers not yet placed.   Keeps: the order of launches.
    Numerics: bit-exact but for the sums over rows, which are taken slab by slab.
    Saves: memory; costs reading and writing the gradient of the vocabulary's weight once more for each further slab.
  }];
  let options = [Option<"slabBytes", "slab-bytes", "int64_t", /*default=*/"16 << 20", "of the widest buffer">];
}

def PlanGroupRows : Pass<"ds-plan-group-rows", "::mlir::ModuleOp"> {
  let summary = "let a product write rows the way the next product reads them";
  let description = [{
    Marks a buffer `grouped` where one product writes it, from element-wise ops, and nothing but products reads it, without a norm. Such
    rows need not be copied before they are multiplied. Buffers of 16 rows at most stay as they are: these are read where they lie. So do
    rows that all their readers may round to bytes.

    Before: `%h = ds_plan.buffer tokens : memref<?x1536xf32>`
    After: `%h = ds_plan.buffer tokens grouped : memref<?x1536xf32>`

    Needs: launches of kernels.   Keeps: everything but the layout of the buffers.
    Numerics: bit-exact.
    Saves: one reading and one writing of each such row, and its second place in the caches.
  }];
}

def PlanInsertBarriers : Pass<"ds-plan-insert-barriers", "::ds_plan::ProgramOp"> {
  let summary = "make threads meet where a launch depends on another";
  let description = [{
    Puts a barrier before a launch that reads or writes what a launch since the last barrier wrote, or writes what one read. The linears of
    query, key and value need none between them. Barriers that are there already are placed anew.

    Needs: buffers not yet placed.   Keeps: the order of launches.
    Numerics: bit-exact.
    Saves: all barriers but those that order needs.
  }];
}

def PlanNarrowBuffers : Pass<"ds-plan-narrow-buffers", "::mlir::ModuleOp"> {
  let summary = "keep rounded values in 16 bits";
  let description = [{
    A buffer whose launch writes the result of a `ds.round` to it has elements of that type where all launches that touch it can write and
    read such rows, and their width is a multiple of 16, or 1024 and more. Remarks give the bytes of the rows that became narrow, and of
    rounded rows that stay f32.

    Before: `%h = ds_plan.buffer tokens : memref<?x1536xf32>`
    After: `%h = ds_plan.buffer tokens : memref<?x1536xbf16>`

    Needs: launches of kernels.   Keeps: everything but the type of the buffers.
    Numerics: bit-exact, but where a level has dot products of bf16, which then multiply such rows.
    Saves: half the bytes of each such buffer.
  }];
}

def PlanPairKeys : Pass<"ds-plan-pair-keys", "::mlir::ModuleOp"> {
  let summary = "attention to keys and values of 16 bits";
  let description = [{
    The packed buffers of a program, which hold keys and values for attention, have elements of bf16 where heads have a multiple of 16
    values, attention without dropout alone reads them, and the module has no cache. They then lie in pairs (`CacheLayout.h`): a level
    with dot products of bf16 multiplies them by queries and probabilities that are rounded too, one with multiply-adds of f16 makes all of
    them f16, others multiply f32. A cache stays what it is, and attention to it becomes `rounded`: a level with multiply-adds of f16 makes
    keys and values f16 where enough queries read them.

    Before: `%k = ds_plan.buffer packed : memref<?x384xf32>`
    After: `%k = ds_plan.buffer packed : memref<?x384xbf16>`

    Needs: launches of kernels.   Keeps: everything but the type of the buffers, and `rounded`.
    Numerics: lossy, keys and values are rounded to 8 bits of fraction (those of a cache to 11, at one level), at some levels queries and
    probabilities as well.
    Saves: half the bytes of each such buffer, and half the multiply-adds of attention where a level has those of 16 bits.
  }];
}

def PlanReportCosts : Pass<"ds-plan-report-costs", "::mlir::ModuleOp"> {
  let summary = "say how long each launch will take";
  let description = [{
    Remarks give, for each launch, its bytes, its FLOP, the time that the cost model (docs/cost-model.md) predicts on a machine and what
    bounds it; for each program its sum with barriers. A description of another machine than this one is a warning.

    Needs: launches.   Keeps: everything.
    Numerics: bit-exact.
  }];
  let options = [Option<"machine", "machine", "std::string", /*default=*/"", "machine.json of ds-bench --calibrate; empty: built in">,
                 Option<"batch", "batch", "int64_t", /*default=*/"1", "sequences of the step">,
                 Option<"tokens", "tokens", "int64_t", /*default=*/"128", "tokens of each sequence, where a program takes several">,
                 Option<"past", "past", "int64_t", /*default=*/"0", "tokens in the cache of each sequence">,
                 Option<"threads", "threads", "int64_t", /*default=*/"1", "threads that share the step">];
}

def PlanReuseBuffers : Pass<"ds-plan-reuse-buffers", "::mlir::ModuleOp"> {
  let summary = "place buffers in one arena by liveness";
  let description = [{
    A buffer lives from the first to the last of the spans between barriers that touch it, as launches of one span run at once. Buffers that
    live at the same time get different places: the largest first, each in the smallest gap that holds it. Sizes are those of the
    program's bounds. Buffers without a launch are erased. Remarks give the arena and what it would be without reuse.

    Needs: barriers.
    Numerics: bit-exact.
    Saves: most of the arena; the peak is that of the widest span.
  }];
  let options = [Option<"report", "report", "bool", /*default=*/"false", "write a table of memory to stderr">,
                 Option<"reportBatch", "report-batch", "int64_t", /*default=*/"0",
                        "sequences whose caches the table sums up; 0: the largest max_batch">];
}

def VerifyPhase : Pass<"ds-verify-phase", "::mlir::ModuleOp"> {
  let summary = "check the contract of a phase";
  let description = [{
    - `imported`: one module of a model: `ds.model` and `ds.positions`, one function with the arguments and results of its task.
    - `normalized`: also nothing unused.
    - `planned`: programs alone; every place has an offset, no two that live at once overlap, nothing is read before it is written, and no
      launch depends on another of the same span between barriers.

    Numerics: bit-exact.
  }];
  let options = [Option<"phase", "phase", "std::string", /*default=*/"", "imported, normalized or planned">];
}

#endif // DS_TRANSFORMS_PASSES_TD
