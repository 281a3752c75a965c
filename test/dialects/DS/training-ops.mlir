// RUN: ds-opt --verify-roundtrip %s
// RUN: ds-opt %s | FileCheck %s
// RUN: ds-opt --mlir-print-op-generic %s | ds-opt | FileCheck %s

ds.parameter @w from "w" : tensor<192x64xf32>

// CHECK-LABEL: func.func @loss
func.func @loss(%logits: tensor<?x128xf32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>) {
  // CHECK: ds.cross_entropy %{{.*}}, %{{.*}} smoothing 0.0{{.*}} : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x1xf32>
  %l = ds.cross_entropy %logits, %labels smoothing 0.0 : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x1xf32>
  // CHECK: ds.cross_entropy_grad %{{.*}}, %{{.*}}, %{{.*}} smoothing 0.0{{.*}} : tensor<?x128xf32>, tensor<?xi32>, tensor<1xf32>
  %d = ds.cross_entropy_grad %logits, %labels, %scale smoothing 0.0 : tensor<?x128xf32>, tensor<?xi32>, tensor<1xf32>
  return
}

// CHECK-LABEL: func.func @controls
func.func @controls(%x: tensor<?x?x64xf32>, %scales: tensor<12xf32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.scale %{{.*}} by %{{.*}} at 3 : tensor<?x?x64xf32>, tensor<12xf32>
  %y = ds.scale %x by %scales at 3 : tensor<?x?x64xf32>, tensor<12xf32>
  return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @dropout
func.func @dropout(%x: tensor<?x?x64xf32>, %seed: tensor<2xi32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.dropout %{{.*}}, %{{.*}} rate 1.0{{.*}}e-01 site 3 : tensor<?x?x64xf32>, tensor<2xi32>
  %y = ds.dropout %x, %seed rate 1.0e-1 site 3 : tensor<?x?x64xf32>, tensor<2xi32>
  return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @switch
func.func @switch(%gates: tensor<12xi32>, %on: tensor<?x?x64xf32>, %off: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.switch %{{.*}} at 3, %{{.*}}, %{{.*}} : tensor<12xi32>, tensor<?x?x64xf32>
  %y = ds.switch %gates at 3, %on, %off : tensor<12xi32>, tensor<?x?x64xf32>
  return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @optimization_barrier
func.func @optimization_barrier(%x: tensor<?x?x64xf32>, %g: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.optimization_barrier %{{.*}} after %{{.*}} : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  %y = ds.optimization_barrier %x after %g : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @step
func.func @step(%dw: tensor<192x64xf32>, %gates: tensor<12xi32>) {
  // CHECK: ds.accumulate_gradient @w, %{{.*}} gate 3 of %{{.*}} : tensor<192x64xf32>, tensor<12xi32>
  ds.accumulate_gradient @w, %dw gate 3 of %gates : tensor<192x64xf32>, tensor<12xi32>
  // CHECK: ds.accumulate_gradient @w, %{{.*}} : tensor<192x64xf32>
  ds.accumulate_gradient @w, %dw : tensor<192x64xf32>
  return
}

// CHECK-LABEL: func.func @update
func.func @update(%controls: tensor<1x185xf32>, %hyper: tensor<1x8xf32>) -> tensor<1x37xf32> {
  // CHECK: ds.gradient_norms : tensor<1x37xf32>
  %n = ds.gradient_norms : tensor<1x37xf32>
  // CHECK: ds.optimizer_update lamb %{{.*}}, %{{.*}} : tensor<1x185xf32>, tensor<1x8xf32> -> tensor<1x37xf32>
  %c = ds.optimizer_update lamb %controls, %hyper : tensor<1x185xf32>, tensor<1x8xf32> -> tensor<1x37xf32>
  return %c : tensor<1x37xf32>
}

// CHECK-LABEL: func.func @rounded
func.func @rounded(%x: tensor<?x?x64xf32>, %w: tensor<192x64xf32>, %b: tensor<192xf32>) {
  // CHECK: ds.round %{{.*}} to bf16 : tensor<?x?x64xf32>
  %y = ds.round %x to bf16 : tensor<?x?x64xf32>
  // CHECK: ds.round %{{.*}} to f16 : tensor<?x?x64xf32>
  %h = ds.round %x to f16 : tensor<?x?x64xf32>
  // CHECK: ds.linear %{{.*}}, %{{.*}} rounded bf16 bias %{{.*}} : tensor<?x?x64xf32>, tensor<192x64xf32>, tensor<192xf32>
  %z = ds.linear %y, %w rounded bf16 bias %b : tensor<?x?x64xf32>, tensor<192x64xf32>, tensor<192xf32>
  return
}

// CHECK-LABEL: func.func @rounded_product
func.func @rounded_product(%x: tensor<?x?x64xf32>, %z: tensor<?x?x192xf32>, %w: tensor<192x64xf32>) {
  // CHECK: ds.round
  %r = ds.round %x to bf16 : tensor<?x?x64xf32>
  // CHECK: ds.linear %{{.*}}, %{{.*}} rounded bf16 : tensor<?x?x64xf32>
  %y = ds.linear %r, %w rounded bf16 : tensor<?x?x64xf32>, tensor<192x64xf32>
  // CHECK: ds.linear %{{.*}}, %{{.*}} transposed rounded f16 : tensor<?x?x192xf32>, tensor<192x64xf32>
  %t = ds.linear %z, %w transposed rounded f16 : tensor<?x?x192xf32>, tensor<192x64xf32>
  return
}
