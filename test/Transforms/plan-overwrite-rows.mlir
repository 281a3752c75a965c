// RUN: ds-opt --ds-plan-overwrite-rows %s | FileCheck %s
// RUN: ds-opt --ds-plan-overwrite-rows --remarks-filter='ds-plan-overwrite-rows' %s 2>&1 >/dev/null | FileCheck --check-prefix=REMARK %s

// REMARK-DAG: [Passed] in-place | Category:ds-plan-overwrite-rows | Function=step | width=8
// REMARK-DAG: [Missed] in-place | Category:ds-plan-overwrite-rows | Function=negative_read_again {{.*}}what it reads is read again

ds_plan.kernel @loss "row" schedule {} {
^bb0(%x: tensor<?x8xf32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>):
  %loss = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
  %grad = ds.cross_entropy_grad %x, %labels, %scale smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32>, tensor<1xf32>
  ds_plan.return %loss, %grad : tensor<?x1xf32>, tensor<?x8xf32>
}
ds_plan.kernel @rounded_loss "row" schedule {} {
^bb0(%x: tensor<?x8xf32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>):
  %loss = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
  %grad = ds.cross_entropy_grad %x, %labels, %scale smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32>, tensor<1xf32>
  %round = ds.round %grad to bf16 : tensor<?x8xf32>
  ds_plan.return %loss, %round : tensor<?x1xf32>, tensor<?x8xf32>
}
ds_plan.kernel @round "row" schedule {} {
^bb0(%x: tensor<?x8xf32>):
  %y = ds.round %x to bf16 : tensor<?x8xf32>
  ds_plan.return %y : tensor<?x8xf32>
}
ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x8xf32>):
  ds_plan.return %x : tensor<?x8xf32>
}

// CHECK-LABEL: ds_plan.program @step
// CHECK:         %[[X:.*]] = ds_plan.buffer selected : memref<?x8xf32>
// CHECK:         ds_plan.launch @loss ins(%[[X]], {{.*}}) outs(%{{.*}}, %[[X]] :
// CHECK-NEXT:    ds_plan.launch @round ins(%[[X]] : {{.*}}) outs(%[[X]] :
// CHECK-NEXT:    ds_plan.launch @copy ins(%[[X]] :
ds_plan.program @step max_batch 4 max_rows 64 arena 0 kv_bytes 0 {
  %labels = ds_plan.input "labels" 0 selected : memref<?xi32>
  %scale = ds_plan.input "loss_scale" 1 single : memref<?x1xf32>
  %x = ds_plan.buffer selected : memref<?x8xf32>
  %loss = ds_plan.buffer selected : memref<?x1xf32>
  %grad = ds_plan.buffer selected : memref<?x8xf32>
  %rounded = ds_plan.buffer selected : memref<?x8xf32>
  %out = ds_plan.output "grad" 0 selected : memref<?x8xf32>
  ds_plan.launch @loss ins(%x, %labels, %scale : memref<?x8xf32>, memref<?xi32>, memref<?x1xf32>) outs(%loss, %grad : memref<?x1xf32>, memref<?x8xf32>)
  ds_plan.launch @round ins(%grad : memref<?x8xf32>) outs(%rounded : memref<?x8xf32>)
  ds_plan.launch @copy ins(%rounded : memref<?x8xf32>) outs(%out : memref<?x8xf32>)
}

/// A gradient that is rounded on the way, of 16 bits as the logits are.
// CHECK-LABEL: ds_plan.program @rounded
// CHECK:         %[[X:.*]] = ds_plan.buffer selected : memref<?x8xbf16>
// CHECK:         ds_plan.launch @rounded_loss ins(%[[X]], {{.*}}) outs(%{{.*}}, %[[X]] :
ds_plan.program @rounded max_batch 4 max_rows 64 arena 0 kv_bytes 0 {
  %labels = ds_plan.input "labels" 0 selected : memref<?xi32>
  %scale = ds_plan.input "loss_scale" 1 single : memref<?x1xf32>
  %x = ds_plan.buffer selected : memref<?x8xbf16>
  %loss = ds_plan.buffer selected : memref<?x1xf32>
  %grad = ds_plan.buffer selected : memref<?x8xbf16>
  ds_plan.launch @rounded_loss ins(%x, %labels, %scale : memref<?x8xbf16>, memref<?xi32>, memref<?x1xf32>) outs(%loss, %grad : memref<?x1xf32>, memref<?x8xbf16>)
}

// CHECK-LABEL: ds_plan.program @negative_read_again
// CHECK:         %[[X:.*]] = ds_plan.buffer selected : memref<?x8xf32>
// CHECK:         %[[LOSS:.*]] = ds_plan.buffer
// CHECK:         %[[GRAD:.*]] = ds_plan.buffer selected : memref<?x8xf32>
// CHECK:         ds_plan.launch @loss ins(%[[X]], {{.*}}) outs(%[[LOSS]], %[[GRAD]] :
ds_plan.program @negative_read_again max_batch 4 max_rows 64 arena 0 kv_bytes 0 {
  %labels = ds_plan.input "labels" 0 selected : memref<?xi32>
  %scale = ds_plan.input "loss_scale" 1 single : memref<?x1xf32>
  %x = ds_plan.buffer selected : memref<?x8xf32>
  %loss = ds_plan.buffer selected : memref<?x1xf32>
  %grad = ds_plan.buffer selected : memref<?x8xf32>
  %out = ds_plan.output "logits" 0 selected : memref<?x8xf32>
  ds_plan.launch @loss ins(%x, %labels, %scale : memref<?x8xf32>, memref<?xi32>, memref<?x1xf32>) outs(%loss, %grad : memref<?x1xf32>, memref<?x8xf32>)
  ds_plan.launch @copy ins(%x : memref<?x8xf32>) outs(%out : memref<?x8xf32>)
}
