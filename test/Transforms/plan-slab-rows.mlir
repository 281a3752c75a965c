// RUN: ds-opt --ds-plan-slab-rows='slab-bytes=1000000' %s | FileCheck %s
// RUN: ds-opt --ds-plan-slab-rows='slab-bytes=1000000' %s | ds-opt | FileCheck %s
// RUN: ds-opt --ds-plan-slab-rows %s | FileCheck --check-prefix=SMALL %s
// RUN: ds-opt --ds-plan-slab-rows='slab-bytes=1000000' --remarks-filter='ds-plan-slab-rows' %s 2>&1 >/dev/null | FileCheck --check-prefix=REMARK %s

// SMALL-NOT: slab

// REMARK-DAG: [Passed] slab | Category:ds-plan-slab-rows | Function=loss | bytes saved=1920000, launches=3, rows=264
// REMARK-DAG: [Missed] slab | Category:ds-plan-slab-rows | Function=negative_scattered {{.*}}a kernel of family gather

ds.parameter @w from "w" : tensor<1000x64xf32>
ds_plan.storage @w.rows rows of @w in parameter : memref<1000x64xf32>
ds_plan.storage @w.gradient rows of @w in gradient : memref<1000x64xf32>

ds_plan.kernel @product "gemm" schedule {} {
^bb0(%x: tensor<?x64xf32>, %w: tensor<1000x64xf32>):
  %y = ds.linear %x, %w : tensor<?x64xf32>, tensor<1000x64xf32>
  ds_plan.return %y : tensor<?x1000xf32>
}
ds_plan.kernel @weight "gemm_gradient" schedule {} {
^bb0(%x: tensor<?x64xf32>, %dy: tensor<?x1000xf32>):
  %dw = ds.linear_weight_grad %x, %dy : tensor<?x64xf32>, tensor<?x1000xf32> -> tensor<1000x64xf32>
  %g = ds_plan.accumulate %dw : tensor<1000x64xf32>
  ds_plan.return %g : tensor<1000x64xf32>
}
ds_plan.kernel @input "gemm" schedule {} {
^bb0(%dy: tensor<?x1000xf32>, %w: tensor<1000x64xf32>):
  %dx = ds.linear %dy, %w transposed : tensor<?x1000xf32>, tensor<1000x64xf32>
  ds_plan.return %dx : tensor<?x64xf32>
}
ds_plan.kernel @gather "gather" schedule {} {
^bb0(%x: tensor<?x?x1000xf32>, %r: tensor<?xi32>):
  %y = ds.gather_rows %x, %r : tensor<?x?x1000xf32>, tensor<?xi32>
  ds_plan.return %y : tensor<?x1000xf32>
}
ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x64xf32>):
  ds_plan.return %x : tensor<?x64xf32>
}

/// What only launches of the slab touch is as long as a slab; the rows before and behind it are not.
// CHECK-LABEL: ds_plan.program @loss
// CHECK-NEXT:    ds_plan.buffer selected : memref<?x64xf32>
// CHECK-NEXT:    %[[X:.*]] = ds_plan.buffer selected : memref<?x64xf32>
// CHECK:         %[[Y:.*]] = ds_plan.buffer selected slab 264 : memref<?x1000xf32>
// CHECK:         %[[DX:.*]] = ds_plan.buffer selected : memref<?x64xf32>
// CHECK:         ds_plan.launch @copy ins(
// CHECK-NEXT:    ds_plan.launch @product slab 264 ins(%[[X]],
// CHECK-NEXT:    ds_plan.launch @weight slab 264 ins(%[[X]], %[[Y]]
// CHECK-NEXT:    ds_plan.launch @input slab 264 ins(%[[Y]],
// CHECK-NEXT:    ds_plan.launch @copy ins(%[[DX]]
ds_plan.program @loss max_batch 4 max_rows 744 arena 0 kv_bytes 0 {
  %from = ds_plan.buffer selected : memref<?x64xf32>
  %x = ds_plan.buffer selected : memref<?x64xf32>
  %y = ds_plan.buffer selected : memref<?x1000xf32>
  %dx = ds_plan.buffer selected : memref<?x64xf32>
  %out = ds_plan.output "dx" 0 selected : memref<?x64xf32>
  %w = ds_plan.weight @w.rows : memref<1000x64xf32>
  %g = ds_plan.weight @w.gradient : memref<1000x64xf32>
  ds_plan.launch @copy ins(%from : memref<?x64xf32>) outs(%x : memref<?x64xf32>)
  ds_plan.launch @product ins(%x, %w : memref<?x64xf32>, memref<1000x64xf32>) outs(%y : memref<?x1000xf32>)
  ds_plan.launch @weight ins(%x, %y : memref<?x64xf32>, memref<?x1000xf32>) outs(%g : memref<1000x64xf32>)
  ds_plan.launch @input ins(%y, %w : memref<?x1000xf32>, memref<1000x64xf32>) outs(%dx : memref<?x64xf32>)
  ds_plan.launch @copy ins(%dx : memref<?x64xf32>) outs(%out : memref<?x64xf32>)
}

/// All rows are no more than a slab.
// CHECK-LABEL: ds_plan.program @negative_few_rows
// CHECK-NOT:     slab
ds_plan.program @negative_few_rows max_batch 4 max_rows 264 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer selected : memref<?x64xf32>
  %y = ds_plan.buffer selected : memref<?x1000xf32>
  %w = ds_plan.weight @w.rows : memref<1000x64xf32>
  ds_plan.launch @product ins(%x, %w : memref<?x64xf32>, memref<1000x64xf32>) outs(%y : memref<?x1000xf32>)
  ds_plan.launch @input ins(%y, %w : memref<?x1000xf32>, memref<1000x64xf32>) outs(%x : memref<?x64xf32>)
}

/// Rows come from anywhere.
// CHECK-LABEL: ds_plan.program @negative_scattered
// CHECK-NOT:     slab
ds_plan.program @negative_scattered max_batch 4 max_rows 744 arena 0 kv_bytes 0 {
  %r = ds_plan.input "rows" 0 selected : memref<?xi32>
  %all = ds_plan.buffer tokens : memref<?x1000xf32>
  %y = ds_plan.buffer selected : memref<?x1000xf32>
  %dx = ds_plan.buffer selected : memref<?x64xf32>
  %w = ds_plan.weight @w.rows : memref<1000x64xf32>
  ds_plan.launch @gather ins(%all, %r : memref<?x1000xf32>, memref<?xi32>) outs(%y : memref<?x1000xf32>)
  ds_plan.launch @input ins(%y, %w : memref<?x1000xf32>, memref<1000x64xf32>) outs(%dx : memref<?x64xf32>)
}
