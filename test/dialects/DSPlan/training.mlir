// RUN: ds-opt %s | ds-opt | FileCheck %s

// CHECK: ds_plan.storage @w.gradient rows of @w in gradient offset 49152 : memref<192x64xf32>
// CHECK: ds_plan.storage @all vector in moment1 offset 98304 : memref<12288xf32>
// CHECK: %{{.*}} = ds_plan.accumulate %{{.*}} : tensor<192x64xf32>
// CHECK: ds_plan.launch @grad gate 3 ins(
// CHECK: %{{.*}} = ds_plan.switch 3, %{{.*}}, %{{.*}} : memref<?x64xf32>
ds.parameter @w from "w" : tensor<192x64xf32>
ds_plan.storage @w.gradient rows of @w in gradient offset 49152 : memref<192x64xf32>
ds_plan.storage @all vector in moment1 offset 98304 : memref<12288xf32>
ds_plan.kernel @grad "gemm_gradient" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %dy: tensor<?x?x192xf32>):
  %dw = ds.linear_weight_grad %x, %dy : tensor<?x?x64xf32>, tensor<?x?x192xf32> -> tensor<192x64xf32>
  %g = ds_plan.accumulate %dw : tensor<192x64xf32>
  ds_plan.return %g : tensor<192x64xf32>
}
ds_plan.program @step max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %gates = ds_plan.input "layer_gates" 0 single : memref<?x4xi32>
  %on = ds_plan.buffer tokens : memref<?x64xf32>
  %off = ds_plan.buffer tokens : memref<?x64xf32>
  %dy = ds_plan.buffer tokens : memref<?x192xf32>
  %w = ds_plan.weight @w.gradient : memref<192x64xf32>
  ds_plan.launch @grad gate 3 ins(%on, %dy : memref<?x64xf32>, memref<?x192xf32>) outs(%w : memref<192x64xf32>)
  %y = ds_plan.switch 3, %on, %off : memref<?x64xf32>
}
