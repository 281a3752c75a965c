// RUN: ds-opt --ds-insert-optimizer --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: ds-opt --ds-insert-optimizer=kind=lamb --split-input-file --verify-diagnostics %s | FileCheck --check-prefix=LAMB %s
// RUN: not ds-opt --ds-insert-optimizer=kind=lion %s 2>&1 | FileCheck --check-prefix=KIND %s
// KIND: expects kind to be sgd, adam, adamw or lamb, got 'lion'

/// `@c` gets no gradient, `@a` gets two.
// CHECK-LABEL: func.func @norms() -> (tensor<1x2xf32> {ds.name = "norms"})
// CHECK-NEXT:    %[[N:.*]] = ds.gradient_norms : tensor<1x2xf32>
// CHECK-NEXT:    return %[[N]] : tensor<1x2xf32>
// CHECK-LABEL: func.func @update
// CHECK-SAME:    (%[[CONTROLS:.*]]: tensor<1x10xf32> {ds.name = "controls"}, %[[HYPER:.*]]: tensor<1x8xf32> {ds.name = "hyper"})
// CHECK-SAME:    -> (tensor<1x2xf32> {ds.name = "coefficients"})
// CHECK-NEXT:    %[[C:.*]] = ds.optimizer_update {{ *}}adamw %[[CONTROLS]], %[[HYPER]] : tensor<1x10xf32>, tensor<1x8xf32> -> tensor<1x2xf32>
// CHECK-NEXT:    return %[[C]]
// LAMB:        ds.optimizer_update {{ *}}lamb
module {
  ds.parameter @a from "a" : tensor<64xf32>
  ds.parameter @b from "b" : tensor<64xf32>
  ds.parameter @c from "c" : tensor<64xf32>
  func.func @step(%x: tensor<64xf32>) {
    ds.accumulate_gradient @b, %x : tensor<64xf32>
    ds.accumulate_gradient @a, %x : tensor<64xf32>
    ds.accumulate_gradient @a, %x : tensor<64xf32>
    return
  }
}

// -----

// expected-error@+1 {{expects parameters with a gradient (ds.accumulate_gradient) to update, found none}}
module @negative_nothing_trained {
  ds.parameter @a from "a" : tensor<64xf32>
}

// -----

// expected-error@+1 {{expects no symbol @update, got one: a module has one optimizer}}
module @negative_has_optimizer {
  ds.parameter @a from "a" : tensor<64xf32>
  func.func @step(%x: tensor<64xf32>) {
    ds.accumulate_gradient @a, %x : tensor<64xf32>
    return
  }
  func.func @update() {
    return
  }
}
