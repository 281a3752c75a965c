// RUN: ds-opt --ds-fuse-loss --split-input-file %s | FileCheck %s

// CHECK-LABEL: func.func @loss_and_gradient
// CHECK:       %[[F:.*]]:2 = ds.fusion -> tensor<?x1xf32>, tensor<?x8xf32> {
// CHECK-NEXT:    %[[LOSS:.*]] = ds.cross_entropy %
// CHECK-NEXT:    %[[GRAD:.*]] = ds.cross_entropy_grad %
// CHECK-NEXT:    ds.yield %[[LOSS]], %[[GRAD]]
// CHECK:       return %[[F]]#0, %[[F]]#1
func.func @loss_and_gradient(%x: tensor<?x8xf32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>) -> (tensor<?x1xf32>, tensor<?x8xf32>) {
  %loss = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
  %grad = ds.cross_entropy_grad %x, %labels, %scale smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32>, tensor<1xf32>
  return %loss, %grad : tensor<?x1xf32>, tensor<?x8xf32>
}

// -----

/// What rounds the gradient joins, unless the gradient is read as it is too.
// CHECK-LABEL: func.func @rounded_gradient
// CHECK:       %[[F:.*]]:2 = ds.fusion -> tensor<?x1xf32>, tensor<?x8xf32> {
// CHECK-NEXT:    %[[LOSS:.*]] = ds.cross_entropy %
// CHECK-NEXT:    %[[GRAD:.*]] = ds.cross_entropy_grad %
// CHECK-NEXT:    %[[ROUND:.*]] = ds.round %[[GRAD]] to bf16
// CHECK-NEXT:    ds.yield %[[LOSS]], %[[ROUND]]
func.func @rounded_gradient(%x: tensor<?x8xf32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>) -> (tensor<?x1xf32>, tensor<?x8xf32>) {
  %loss = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
  %grad = ds.cross_entropy_grad %x, %labels, %scale smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32>, tensor<1xf32>
  %rounded = ds.round %grad to bf16 : tensor<?x8xf32>
  return %loss, %rounded : tensor<?x1xf32>, tensor<?x8xf32>
}

// CHECK-LABEL: func.func @gradient_read_twice
// CHECK:       %[[F:.*]]:2 = ds.fusion
// CHECK:         ds.yield
// CHECK-NEXT:  }
// CHECK-NEXT:  ds.round %[[F]]#1 to bf16
func.func @gradient_read_twice(%x: tensor<?x8xf32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>)
    -> (tensor<?x1xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %loss = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
  %grad = ds.cross_entropy_grad %x, %labels, %scale smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32>, tensor<1xf32>
  %rounded = ds.round %grad to bf16 : tensor<?x8xf32>
  return %loss, %grad, %rounded : tensor<?x1xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

/// They are smoothed differently.
// CHECK-LABEL: func.func @negative_smoothing
// CHECK-NOT:     ds.fusion
func.func @negative_smoothing(%x: tensor<?x8xf32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>) -> (tensor<?x1xf32>, tensor<?x8xf32>) {
  %loss = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
  %grad = ds.cross_entropy_grad %x, %labels, %scale smoothing 0.5 : tensor<?x8xf32>, tensor<?xi32>, tensor<1xf32>
  return %loss, %grad : tensor<?x1xf32>, tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func.func @negative_loss_alone
// CHECK-NOT:     ds.fusion
func.func @negative_loss_alone(%x: tensor<?x8xf32>, %labels: tensor<?xi32>) -> tensor<?x1xf32> {
  %loss = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
  return %loss : tensor<?x1xf32>
}
