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
