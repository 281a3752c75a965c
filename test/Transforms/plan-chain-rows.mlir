// RUN: ds-opt --ds-plan-chain-rows %s | FileCheck %s
// RUN: ds-opt --ds-plan-chain-rows --ds-plan-chain-rows %s | FileCheck %s
// RUN: ds-opt --ds-plan-chain-rows --remarks-filter-analyse='ds-plan-chain-rows' %s 2>&1 >/dev/null | FileCheck --check-prefix=REMARK %s

// REMARK: Function=block |{{.*}}chains=1, launches in them=3
// REMARK: Function=negative_lone |{{.*}}chains=0, launches in them=0

ds.parameter @w from "w" : tensor<64x64xf32>
ds.parameter @g from "g" : tensor<64xf32>
ds.cache @k0 : tensor<?x64x64xf32>
ds_plan.storage @w.panels panels of @w : memref<2x64x32xf32>
ds_plan.storage @g.vector vector of @g : memref<64xf32>

ds_plan.kernel @attend "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x?x64xf32>, %v: tensor<?x?x64xf32>):
  %y = ds.attention %q, %k, %v heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.kernel @gather "gather" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %r: tensor<?xi32>):
  %y = ds.gather_rows %x, %r : tensor<?x?x64xf32>, tensor<?xi32>
  ds_plan.return %y : tensor<?x64xf32>
}
ds_plan.kernel @pool "pool" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %y = ds.pool cls %x : tensor<?x?x64xf32>
  ds_plan.return %y : tensor<?x64xf32>
}
ds_plan.kernel @product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.kernel @product_and_sum "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>, %r: tensor<?x?x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %z = ds.add %r, %y : tensor<?x?x64xf32>
  ds_plan.return %z : tensor<?x?x64xf32>
}
ds_plan.kernel @norm_and_up "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %g: tensor<64xf32>, %w: tensor<64x64xf32>):
  %n = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  %y = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %z = ds.gelu erf %y : tensor<?x?x64xf32>
  ds_plan.return %z : tensor<?x?x64xf32>
}
ds_plan.kernel @stored_product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %k = ds_plan.store_cache keys heads 4 %y : tensor<?x?x64xf32> -> tensor<?x64x64xf32>
  ds_plan.return %y, %k : tensor<?x?x64xf32>, tensor<?x64x64xf32>
}
ds_plan.kernel @gelu "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %y = ds.gelu erf %x : tensor<?x?x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.kernel @add "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %y: tensor<?x?x64xf32>):
  %z = ds.add %x, %y : tensor<?x?x64xf32>
  ds_plan.return %z : tensor<?x?x64xf32>
}

ds_plan.kernel @dropout "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %s: tensor<2xi32>):
  %y = ds.dropout %x, %s rate 1.0e-1 site 0 : tensor<?x?x64xf32>, tensor<2xi32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

/// From behind attention, which needs all rows, to the end of the block.
// CHECK-LABEL: ds_plan.program @block
// CHECK:         ds_plan.launch @attend ins
// CHECK-NEXT:    ds_plan.launch @product_and_sum chain 0 ins
// CHECK-NEXT:    ds_plan.launch @norm_and_up chain 0 ins
// CHECK-NEXT:    ds_plan.launch @product_and_sum chain 0 ins
ds_plan.program @block max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %g = ds_plan.weight @g.vector : memref<64xf32>
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @attend ins(%x, %x, %x : memref<?x64xf32>, memref<?x64xf32>, memref<?x64xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @product_and_sum ins(%a, %w, %x : memref<?x64xf32>, memref<2x64x32xf32>, memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.launch @norm_and_up ins(%b, %g, %w : memref<?x64xf32>, memref<64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product_and_sum ins(%h, %w, %b : memref<?x64xf32>, memref<2x64x32xf32>, memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

/// The third launch reads what the first one wrote, not the second: that is enough.
// CHECK-LABEL: ds_plan.program @reads_an_early_one
// CHECK-COUNT-3: chain 0 ins
ds_plan.program @reads_an_early_one max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%a : memref<?x64xf32>) outs(%c : memref<?x64xf32>)
}

/// What reads nothing of a chain gains nothing from it, and begins one of its own.
// CHECK-LABEL: ds_plan.program @two_chains
// CHECK:         ds_plan.launch @gelu chain 0 ins
// CHECK-NEXT:    ds_plan.launch @gelu chain 0 ins
// CHECK-NEXT:    ds_plan.launch @gelu chain 1 ins
// CHECK-NEXT:    ds_plan.launch @gelu chain 1 ins
ds_plan.program @two_chains max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  %d = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%c : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%c : memref<?x64xf32>) outs(%d : memref<?x64xf32>)
}

/// Selected rows may be as many as tokens, but row r of them is not token r: gathered rows are a chain of their own.
// CHECK-LABEL: ds_plan.program @selected_rows
// CHECK:         ds_plan.launch @gelu chain 0 ins
// CHECK-NEXT:    ds_plan.launch @gelu chain 0 ins
// CHECK-NEXT:    ds_plan.launch @gather ins
// CHECK-NEXT:    ds_plan.launch @gelu chain 1 ins
// CHECK-NEXT:    ds_plan.launch @gelu chain 1 ins
ds_plan.program @selected_rows max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %rows = ds_plan.input "rows" 0 selected : memref<?xi32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %s = ds_plan.buffer selected : memref<?x64xf32>
  %c = ds_plan.buffer selected : memref<?x64xf32>
  %d = ds_plan.buffer selected : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.launch @gather ins(%b, %rows : memref<?x64xf32>, memref<?xi32>) outs(%s : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%s : memref<?x64xf32>) outs(%c : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%c : memref<?x64xf32>) outs(%d : memref<?x64xf32>)
}

/// Elements are counted from the first row of all, which the slab of a chain does not know.
// CHECK-LABEL: ds_plan.program @negative_dropout
// CHECK-NOT:     chain
ds_plan.program @negative_dropout max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %s = ds_plan.input "dropout_seed" 0 single : memref<?x2xi32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @dropout ins(%y, %s : memref<?x64xf32>, memref<?x2xi32>) outs(%z : memref<?x64xf32>)
}

// CHECK-LABEL: ds_plan.program @negative_lone
// CHECK-NOT:     chain
ds_plan.program @negative_lone max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

/// Side by side, but neither reads what the other writes.
// CHECK-LABEL: ds_plan.program @negative_independent
// CHECK-NOT:     chain
ds_plan.program @negative_independent max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

/// Not even one thread has as many rows as it should have before it takes its own.
// CHECK-LABEL: ds_plan.program @negative_rows_23
// CHECK-NOT:     chain
ds_plan.program @negative_rows_23 max_batch 1 max_rows 23 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

// CHECK-LABEL: ds_plan.program @rows_24
// CHECK-COUNT-2: chain 0 ins
ds_plan.program @rows_24 max_batch 1 max_rows 24 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

/// A batch is few rows, however many tokens there are.
// CHECK-LABEL: ds_plan.program @negative_batch_of_16
// CHECK-NOT:     chain
ds_plan.program @negative_batch_of_16 max_batch 16 max_rows 512 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer batch : memref<?x64xf32>
  %y = ds_plan.buffer batch : memref<?x64xf32>
  %z = ds_plan.buffer batch : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

/// Where a row goes in a cache is not where it is in the step. What stands behind the store may chain again.
// CHECK-LABEL: ds_plan.program @negative_stores_cache
// CHECK:         ds_plan.launch @gelu ins
// CHECK-NEXT:    ds_plan.launch @stored_product ins
// CHECK-NEXT:    ds_plan.launch @gelu chain 0 ins
// CHECK-NEXT:    ds_plan.launch @gelu chain 0 ins
ds_plan.program @negative_stores_cache max_batch 1 max_rows 512 arena 0 kv_bytes 16384 {
  %k = ds_plan.cache @k0 keys heads 4 offset 0 : memref<64x64xf32>
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  %d = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @stored_product ins(%a, %w : memref<?x64xf32>, memref<2x64x32xf32>)
    outs(%b, %k : memref<?x64xf32>, memref<64x64xf32>)
  ds_plan.launch @gelu ins(%b : memref<?x64xf32>) outs(%c : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%c : memref<?x64xf32>) outs(%d : memref<?x64xf32>)
}

/// Without a cache of the caller, keys go to packed rows: those of a sequence begin at a multiple of 16.
// CHECK-LABEL: ds_plan.program @negative_packed_rows
// CHECK-NOT:     chain
ds_plan.program @negative_packed_rows max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %p = ds_plan.buffer packed : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @stored_product ins(%a, %w : memref<?x64xf32>, memref<2x64x32xf32>)
    outs(%b, %p : memref<?x64xf32>, memref<?x64xf32>)
}

/// Row r of the batch belongs to sequence r, not to token r.
// CHECK-LABEL: ds_plan.program @negative_reads_batch
// CHECK-NOT:     chain
ds_plan.program @negative_reads_batch max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %each = ds_plan.buffer batch : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @add ins(%y, %each : memref<?x64xf32>, memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

// CHECK-LABEL: ds_plan.program @negative_writes_selected
// CHECK-NOT:     chain
ds_plan.program @negative_writes_selected max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer selected : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

/// A caller that wants no output leaves its launch out.
// CHECK-LABEL: ds_plan.program @negative_writes_output
// CHECK-NOT:     chain
ds_plan.program @negative_writes_output max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %hidden = ds_plan.output "hidden" 0 tokens : memref<?x64xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%y : memref<?x64xf32>) outs(%hidden : memref<?x64xf32>)
}

/// Attention reads all keys for each row.
// CHECK-LABEL: ds_plan.program @negative_attention
// CHECK-NOT:     chain
ds_plan.program @negative_attention max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @attend ins(%y, %y, %y : memref<?x64xf32>, memref<?x64xf32>, memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

/// Pooling and gathering read rows of other numbers, even where the bounds are alike.
// CHECK-LABEL: ds_plan.program @negative_pool
// CHECK-NOT:     chain
ds_plan.program @negative_pool max_batch 32 max_rows 32 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer batch : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @pool ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

// CHECK-LABEL: ds_plan.program @negative_gather
// CHECK-NOT:     chain
ds_plan.program @negative_gather max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %rows = ds_plan.input "rows" 0 selected : memref<?xi32>
  %s = ds_plan.buffer selected : memref<?x64xf32>
  %y = ds_plan.buffer selected : memref<?x64xf32>
  %z = ds_plan.buffer selected : memref<?x64xf32>
  ds_plan.launch @gelu ins(%s : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @gather ins(%y, %rows : memref<?x64xf32>, memref<?xi32>) outs(%z : memref<?x64xf32>)
}
