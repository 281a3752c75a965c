// RUN: ds-opt --ds-plan-narrow-buffers --split-input-file %s | FileCheck %s
// RUN: ds-opt --ds-plan-narrow-buffers --split-input-file --remarks-filter-analyse='ds-plan-narrow-buffers' %s 2>&1 >/dev/null | FileCheck --check-prefix=REMARK %s

// REMARK: Function=run |{{.*}}buffers of 16 bits=1, bytes of those=16384, rounded buffers of f32=1, their bytes=8192

ds.parameter @w from "w" : tensor<64x64xf32>
ds_plan.storage @w.rows rows of @w in parameter offset 0 : memref<64x64xf32>

ds_plan.kernel @up "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w rounded bf16 : tensor<?x?x64xf32>, tensor<64x64xf32>
  %z = ds.gelu erf %y : tensor<?x?x64xf32>
  %r = ds.round %z to bf16 : tensor<?x?x64xf32>
  ds_plan.return %y, %r : tensor<?x?x64xf32>, tensor<?x?x64xf32>
}
ds_plan.kernel @gather "gather" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %rows: tensor<?xi32>):
  %y = ds.gather_rows %x, %rows : tensor<?x?x64xf32>, tensor<?xi32>
  ds_plan.return %y : tensor<?x64xf32>
}
ds_plan.kernel @round "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %r = ds.round %x to bf16 : tensor<?x?x64xf32>
  ds_plan.return %r : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.program @run
// CHECK:         %[[X:.*]] = ds_plan.buffer {{ *}}tokens : memref<?x64xf32>
/// What is not rounded, and is rounded and multiplied.
// CHECK:         %[[H:.*]] = ds_plan.buffer {{ *}}tokens : memref<?x64xf32>
// CHECK:         %[[R:.*]] = ds_plan.buffer {{ *}}tokens : memref<?x64xbf16>
/// Rounded, but a kernel reads it that does not take such rows.
// CHECK:         %[[G:.*]] = ds_plan.buffer {{ *}}tokens : memref<?x64xf32>
// CHECK:         ds_plan.launch @up ins(%[[X]], %{{.*}} outs(%[[H]], %[[R]] : memref<?x64xf32>, memref<?x64xbf16>)
ds_plan.program @run max_batch 2 max_rows 64 arena 0 kv_bytes 0 {
  %rows = ds_plan.input "rows" 0 selected : memref<?xi32>
  %w = ds_plan.weight @w.rows : memref<64x64xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %r = ds_plan.buffer tokens : memref<?x64xf32>
  %g = ds_plan.buffer tokens : memref<?x64xf32>
  %s = ds_plan.output "hidden" 0 selected : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<64x64xf32>) outs(%h, %r : memref<?x64xf32>, memref<?x64xf32>)
  ds_plan.launch @up ins(%r, %w : memref<?x64xf32>, memref<64x64xf32>) outs(%x, %h : memref<?x64xf32>, memref<?x64xf32>)
  ds_plan.launch @round ins(%h : memref<?x64xf32>) outs(%g : memref<?x64xf32>)
  ds_plan.launch @gather ins(%g, %rows : memref<?x64xf32>, memref<?xi32>) outs(%s : memref<?x64xf32>)
}

// -----

/// Wide rows of any width: logits, in whose place their gradient comes, and the product that is too deep for the stack. With an op behind
/// it that product reads f32.
// CHECK-LABEL: ds_plan.program @wide
// CHECK:         ds_plan.buffer {{ *}}selected : memref<?x16401xbf16>
// CHECK:         ds_plan.buffer {{ *}}selected : memref<?x16401xbf16>
// CHECK:         ds_plan.buffer {{ *}}selected : memref<?x16401xf32>
/// Narrow ones of no whole vectors.
// CHECK:         ds_plan.buffer {{ *}}selected : memref<?x20xf32>
ds.parameter @w from "w" : tensor<16401x20xf32>
ds_plan.storage @w.rows rows of @w in parameter offset 0 : memref<16401x20xf32>
ds_plan.kernel @head "gemm" schedule {} {
^bb0(%x: tensor<?x20xf32>, %w: tensor<16401x20xf32>):
  %y = ds.linear %x, %w rounded bf16 : tensor<?x20xf32>, tensor<16401x20xf32>
  %r = ds.round %y to bf16 : tensor<?x16401xf32>
  ds_plan.return %r : tensor<?x16401xf32>
}
ds_plan.kernel @loss "row" schedule {} {
^bb0(%x: tensor<?x16401xf32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>):
  %loss = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x16401xf32>, tensor<?xi32> -> tensor<?x1xf32>
  %grad = ds.cross_entropy_grad %x, %labels, %scale smoothing 0.0 : tensor<?x16401xf32>, tensor<?xi32>, tensor<1xf32>
  %round = ds.round %grad to bf16 : tensor<?x16401xf32>
  ds_plan.return %loss, %round : tensor<?x1xf32>, tensor<?x16401xf32>
}
ds_plan.kernel @back "gemm" schedule {} {
^bb0(%x: tensor<?x16401xf32>, %w: tensor<16401x20xf32>):
  %y = ds.linear %x, %w transposed rounded bf16 : tensor<?x16401xf32>, tensor<16401x20xf32>
  ds_plan.return %y : tensor<?x20xf32>
}
ds_plan.kernel @back_and_more "gemm" schedule {} {
^bb0(%x: tensor<?x16401xf32>, %w: tensor<16401x20xf32>):
  %y = ds.linear %x, %w transposed rounded bf16 : tensor<?x16401xf32>, tensor<16401x20xf32>
  %r = ds.round %y to bf16 : tensor<?x20xf32>
  ds_plan.return %r : tensor<?x20xf32>
}
ds_plan.program @wide max_batch 2 max_rows 64 arena 0 kv_bytes 0 {
  %labels = ds_plan.input "labels" 0 selected : memref<?xi32>
  %scale = ds_plan.input "loss_scale" 1 single : memref<?x1xf32>
  %w = ds_plan.weight @w.rows : memref<16401x20xf32>
  %x = ds_plan.output "x" 0 selected : memref<?x20xf32>
  %loss = ds_plan.output "loss" 1 selected : memref<?x1xf32>
  %logits = ds_plan.buffer selected : memref<?x16401xf32>
  %grad = ds_plan.buffer selected : memref<?x16401xf32>
  %other = ds_plan.buffer selected : memref<?x16401xf32>
  %dx = ds_plan.buffer selected : memref<?x20xf32>
  ds_plan.launch @head ins(%x, %w : memref<?x20xf32>, memref<16401x20xf32>) outs(%logits : memref<?x16401xf32>)
  ds_plan.launch @loss ins(%logits, %labels, %scale : memref<?x16401xf32>, memref<?xi32>, memref<?x1xf32>) outs(%loss, %grad : memref<?x1xf32>, memref<?x16401xf32>)
  ds_plan.launch @back ins(%grad, %w : memref<?x16401xf32>, memref<16401x20xf32>) outs(%x : memref<?x20xf32>)
  ds_plan.launch @head ins(%x, %w : memref<?x20xf32>, memref<16401x20xf32>) outs(%other : memref<?x16401xf32>)
  ds_plan.launch @back_and_more ins(%other, %w : memref<?x16401xf32>, memref<16401x20xf32>) outs(%dx : memref<?x20xf32>)
}
