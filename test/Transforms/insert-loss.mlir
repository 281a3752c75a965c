// RUN: ds-opt --ds-insert-loss --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: ds-opt --ds-insert-loss=smoothing=0.125 --split-input-file --verify-diagnostics %s | FileCheck --check-prefix=SMOOTH %s
// RUN: not ds-opt --ds-insert-loss=smoothing=1.0 %s 2>&1 | FileCheck --check-prefix=RANGE %s
// RANGE: expects smoothing of 0 to less than 1, got 1

// CHECK-NOT:   @forward
// CHECK-LABEL: func.func @step
// CHECK-SAME:    (%{{.*}}: tensor<?x?xi32> {ds.name = "input_ids"}, %{{.*}}: tensor<?x?xi32> {ds.name = "positions"},
// CHECK-SAME:     %[[ROWS:.*]]: tensor<?xi32> {ds.name = "rows"}, %[[LABELS:.*]]: tensor<?xi32> {ds.name = "labels"})
// CHECK-SAME:    -> (tensor<?x1xf32> {ds.name = "loss"})
// CHECK:         ds.layer "h.0"
// CHECK:         %[[HIDDEN:.*]] = ds.rms_norm
// CHECK:         %[[CHOSEN:.*]] = ds.gather_rows %[[HIDDEN]], %[[ROWS]]
// CHECK:         %[[LOGITS:.*]] = ds.linear %[[CHOSEN]]
// CHECK-NEXT:    %[[LOSS:.*]] = ds.cross_entropy %[[LOGITS]], %[[LABELS]] smoothing 0.0{{.*}} : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x1xf32>
// CHECK-NEXT:    return %[[LOSS]] : tensor<?x1xf32>

// CHECK-LABEL: func.func @evaluate
// CHECK-SAME:     %{{.*}}: tensor<?xi32> {ds.name = "rows"}, %{{.*}}: tensor<?xi32> {ds.name = "labels"})
// CHECK-SAME:    -> (tensor<?x1xf32> {ds.name = "loss"}, tensor<?x128xf32> {ds.name = "logits"})
// CHECK:         ds.layer "h.0"
// CHECK:         %[[LOGITS:.*]] = ds.linear %{{.*}} : tensor<?x64xf32>, tensor<128x64xf32>
// CHECK-NEXT:    %[[LOSS:.*]] = ds.cross_entropy %[[LOGITS]]
// CHECK-NEXT:    return %[[LOSS]], %[[LOGITS]]

// SMOOTH-COUNT-2: ds.cross_entropy {{.*}} smoothing 1.250000e-01
module {
  ds.parameter @embed from "embed" : tensor<128x64xf32>
  ds.parameter @norm from "norm" : tensor<64xf32>
  func.func @forward(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x?x128xf32> {ds.name = "logits"}) {
    %e = ds.weight @embed : tensor<128x64xf32>
    %x = ds.embedding %ids, %e : tensor<?x?xi32>, tensor<128x64xf32>
    %y = ds.layer "h.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%h: tensor<?x?x64xf32>):
      %a = ds.relu %h : tensor<?x?x64xf32>
      ds.yield %a : tensor<?x?x64xf32>
    }
    %g = ds.weight @norm : tensor<64xf32>
    %n = ds.rms_norm %y, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    %l = ds.linear %n, %e : tensor<?x?x64xf32>, tensor<128x64xf32>
    return %n, %l : tensor<?x?x64xf32>, tensor<?x?x128xf32>
  }
}

// -----

/// One row of logits for each sequence needs no rows.
// CHECK-NOT:   @encode
// CHECK-LABEL: func.func @step
// CHECK-SAME:    (%{{.*}}: tensor<?x?xi32> {ds.name = "input_ids"}, %[[LABELS:.*]]: tensor<?xi32> {ds.name = "labels"})
// CHECK-NOT:     ds.gather_rows
// CHECK:         ds.cross_entropy %{{.*}}, %[[LABELS]] {{.*}} : tensor<?x3xf32>, tensor<?xi32> -> tensor<?x1xf32>
// CHECK-LABEL: func.func @evaluate
// CHECK-SAME:    -> (tensor<?x1xf32> {ds.name = "loss"}, tensor<?x3xf32> {ds.name = "logits"})
module attributes {ds.model = {task = "sequence-classification"}} {
  ds.parameter @embed from "embed" : tensor<128x64xf32>
  ds.parameter @head from "head" : tensor<3x64xf32>
  func.func @encode(%ids: tensor<?x?xi32> {ds.name = "input_ids"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x3xf32> {ds.name = "logits"}) {
    %e = ds.weight @embed : tensor<128x64xf32>
    %x = ds.embedding %ids, %e : tensor<?x?xi32>, tensor<128x64xf32>
    %p = ds.pool cls %x : tensor<?x?x64xf32>
    %w = ds.weight @head : tensor<3x64xf32>
    %l = ds.linear %p, %w : tensor<?x64xf32>, tensor<3x64xf32>
    return %x, %l : tensor<?x?x64xf32>, tensor<?x3xf32>
  }
}

// -----

module @negative_no_head attributes {ds.model = {task = "encoder"}} {
  // expected-error@+1 {{expects a result 'logits' of @encode to take the loss of, found none: a model of task 'encoder' has no head}}
  func.func @encode(%x: tensor<?x?x64xf32>) -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    return %x : tensor<?x?x64xf32>
  }
}

// -----

/// The cross-entropy of one class is 0, whatever the weights.
module @negative_regression {
  // expected-error@+1 {{expects logits of 2 classes or more to take a cross-entropy of, got 'tensor<?x1xf32>'}}
  func.func @encode(%x: tensor<?x1xf32>) -> (tensor<?x1xf32> {ds.name = "logits"}) {
    return %x : tensor<?x1xf32>
  }
}

// -----

module @negative_logits_of_no_width {
  // expected-error@+1 {{expects logits of shape [B, T, V] or [B, labels], got 'tensor<?x?xf32>'}}
  func.func @encode(%x: tensor<?x?xf32>) -> (tensor<?x?xf32> {ds.name = "logits"}) {
    return %x : tensor<?x?xf32>
  }
}

// -----

module @negative_no_hidden {
  // expected-error@+1 {{expects a result with ds.name 'hidden' beside the logits of tokens}}
  func.func @encode(%x: tensor<?x?x8xf32>) -> (tensor<?x?x8xf32> {ds.name = "logits"}) {
    return %x : tensor<?x?x8xf32>
  }
}

// -----

// expected-error@+1 {{expects a function @forward or @encode to take the loss of}}
module @negative_no_model {
}

// -----

// expected-error@+1 {{expects no symbol @step, got one: a module is trained by one loss}}
module @negative_has_loss {
  func.func @step() {
    return
  }
}
