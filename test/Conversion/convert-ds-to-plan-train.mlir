// RUN: ds-opt --convert-ds-to-plan='max-batch=4 max-rows=64 train=true' --mlir-print-local-scope %s | FileCheck %s

/// Parameters lie in the state in the order of the module, gradients a part behind them; what has no source lies in the weights file behind.
// CHECK-DAG:     ds_plan.storage @w.parameter rows of @w in parameter offset 0 : memref<64x64xf32>
// CHECK-DAG:     ds_plan.storage @t.rows rows of @t offset 16512 : memref<16x64xf32>
// CHECK-DAG:     ds_plan.storage @w.gradient rows of @w in gradient offset 16512 : memref<64x64xf32>
// CHECK-DAG:     ds_plan.storage @b.gradient vector of @b in gradient offset 32896 : memref<32xf32>
// CHECK-DAG:     ds_plan.storage @all.gradient vector in gradient offset 16512 : memref<4128xf32>
// CHECK-DAG:     ds_plan.storage @all.parameter vector in parameter offset 0 : memref<4128xf32>
// CHECK-DAG:     ds_plan.storage @all.moment1 vector in moment1 offset 33024 : memref<4128xf32>
// CHECK-DAG:     ds_plan.storage @all.moment2 vector in moment2 offset 49536 : memref<4128xf32>

/// What only a layer that may be off needs has its gate: the product, its norm, and what is added to gradients. The sum is always needed.
// CHECK-LABEL:   ds_plan.program @step max_batch 4 max_rows 64
// CHECK:         %[[GATES:.*]] = ds_plan.input "layer_gates" 1 single : memref<?x2xi32>
// CHECK:         ds_plan.launch @embed_16x64 ins(
// CHECK:         ds_plan.launch @rms_norm_64 gate 1 ins(
// CHECK:         ds_plan.launch @gemm_64x64 gate 1 ins({{.*}}) outs(%[[ON:[^ ]*]] :
// CHECK:         %[[Y:.*]] = ds_plan.switch 1, %[[ON]], %{{.*}} : memref<?x64xf32>
// CHECK:         ds_plan.launch @{{column_sum_.*}} gate 1 ins(
// CHECK:         ds_plan.launch @{{linear_weight_grad_64x64_.*}} gate 1 ins(
// CHECK:         ds_plan.launch @relu_64 ins(%[[Y]] :
// CHECK-LABEL:   ds_plan.program @norms
// CHECK:         ds_plan.launch @gradient_norms_2 ins() aux({{.*}}) outs(
// CHECK-LABEL:   ds_plan.program @update
// CHECK:         ds_plan.launch @adamw_2 ins({{.*}}) aux({{.*}}) outs(
module attributes {ds.model = {max_positions = 32}, ds.positions = {rule = "arange"}} {
  ds.parameter @w from "w" : tensor<64x64xf32>
  ds.parameter @b from "b" : tensor<20xf32>
  ds.parameter @u value dense<1.0> : tensor<20x64xf32> : tensor<20x64xf32>
  ds.parameter @slope value dense<1.0> : tensor<64xf32> : tensor<64xf32>
  ds.parameter @t value dense<1.0> : tensor<16x64xf32> : tensor<16x64xf32>
  func.func @step(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %gates: tensor<2xi32> {ds.name = "layer_gates"})
      -> (tensor<?x?x64xf32> {ds.name = "loss"}) {
    %t = ds.weight @t : tensor<16x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<16x64xf32>
    %s = ds.weight @slope : tensor<64xf32>
    %n = ds.rms_norm %x, %s eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    %w = ds.weight @w : tensor<64x64xf32>
    %on = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
    %y = ds.switch %gates at 1, %on, %x : tensor<2xi32>, tensor<?x?x64xf32>
    %u = ds.weight @u : tensor<20x64xf32>
    %z = ds.linear %n, %u : tensor<?x?x64xf32>, tensor<20x64xf32>
    %db = ds.column_sum %z : tensor<?x?x20xf32> -> tensor<20xf32>
    ds.accumulate_gradient @b, %db gate 1 of %gates : tensor<20xf32>, tensor<2xi32>
    %dw = ds.linear_weight_grad %n, %on : tensor<?x?x64xf32>, tensor<?x?x64xf32> -> tensor<64x64xf32>
    ds.accumulate_gradient @w, %dw gate 1 of %gates : tensor<64x64xf32>, tensor<2xi32>
    %r = ds.relu %y : tensor<?x?x64xf32>
    return %r : tensor<?x?x64xf32>
  }
  func.func @norms() -> (tensor<1x2xf32> {ds.name = "norms"}) {
    %n = ds.gradient_norms : tensor<1x2xf32>
    return %n : tensor<1x2xf32>
  }
  func.func @update(%controls: tensor<1x10xf32> {ds.name = "controls"}, %hyper: tensor<1x8xf32> {ds.name = "hyper"})
      -> (tensor<1x2xf32> {ds.name = "coefficients"}) {
    %c = ds.optimizer_update adamw %controls, %hyper : tensor<1x10xf32>, tensor<1x8xf32> -> tensor<1x2xf32>
    return %c : tensor<1x2xf32>
  }
}
