// RUN: ds-opt --ds-insert-layer-drop --split-input-file --verify-diagnostics %s | FileCheck %s

/// Norm first: both sums are with the stream, whichever operand it is.
// CHECK-LABEL: func.func @step
// CHECK-SAME:    %{{.*}}: tensor<2xi32> {ds.name = "layer_gates"}, %[[SCALES:.*]]: tensor<2xf32> {ds.name = "layer_scales"})
// CHECK:         ds.layer "h.0"(%{{.*}}) {ds.gate = 0 : i64}
// CHECK-NEXT:    ^bb0(%[[X:.*]]: tensor<?x?x64xf32>):
// CHECK:           %[[A:.*]] = ds.linear
// CHECK-NEXT:      %[[B:.*]] = ds.scale %[[A]] by %[[SCALES]] at 0 : tensor<?x?x64xf32>, tensor<2xf32>
// CHECK-NEXT:      %[[Y:.*]] = ds.add %[[B]], %[[X]]
// CHECK:           %[[C:.*]] = ds.linear
// CHECK-NEXT:      %[[D:.*]] = ds.scale %[[C]] by %[[SCALES]] at 0
// CHECK-NEXT:      %[[Z:.*]] = ds.add %[[Y]], %[[D]]
// CHECK-NEXT:      ds.yield %[[Z]]
/// Side by side: the sum of both branches is one.
// CHECK:         ds.layer "h.1"(%{{.*}}) {ds.gate = 1 : i64}
// CHECK-NEXT:    ^bb0(%[[X:.*]]: tensor<?x?x64xf32>):
// CHECK:           %[[BOTH:.*]] = ds.add
// CHECK-NEXT:      %[[SCALED:.*]] = ds.scale %[[BOTH]] by %[[SCALES]] at 1
// CHECK-NEXT:      ds.add %[[SCALED]], %[[X]]
// CHECK-LABEL: func.func @evaluate
// CHECK-NOT:     ds.scale
module {
  ds.parameter @g from "g" : tensor<64xf32>
  ds.parameter @w from "w" : tensor<64x64xf32>
  func.func @step(%in: tensor<?x?x64xf32> {ds.name = "in"}) -> tensor<?x?x64xf32> {
    %g = ds.weight @g : tensor<64xf32>
    %w = ds.weight @w : tensor<64x64xf32>
    %0 = ds.layer "h.0"(%in) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%x: tensor<?x?x64xf32>):
      %n = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
      %a = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
      %y = ds.add %a, %x : tensor<?x?x64xf32>
      %m = ds.rms_norm %y, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
      %c = ds.linear %m, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
      %z = ds.add %y, %c : tensor<?x?x64xf32>
      ds.yield %z : tensor<?x?x64xf32>
    }
    %1 = ds.layer "h.1"(%0) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%x: tensor<?x?x64xf32>):
      %n = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
      %a = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
      %b = ds.relu %n : tensor<?x?x64xf32>
      %both = ds.add %a, %b : tensor<?x?x64xf32>
      %z = ds.add %both, %x : tensor<?x?x64xf32>
      ds.yield %z : tensor<?x?x64xf32>
    }
    return %1 : tensor<?x?x64xf32>
  }
  func.func @evaluate(%in: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    %0 = ds.layer "h.0"(%in) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%x: tensor<?x?x64xf32>):
      %a = ds.relu %x : tensor<?x?x64xf32>
      %y = ds.add %a, %x : tensor<?x?x64xf32>
      ds.yield %y : tensor<?x?x64xf32>
    }
    return %0 : tensor<?x?x64xf32>
  }
}

// -----

/// Norm last: the second sum is with what the first norm made of the stream. A branch added to a sum is one of its own.
// CHECK-LABEL: func.func @step
// CHECK:         ds.layer "h.0"
// CHECK-NEXT:    ^bb0(%[[X:.*]]: tensor<?x?x64xf32>):
// CHECK-NEXT:      %[[A:.*]] = ds.relu %[[X]]
// CHECK-NEXT:      %[[SA:.*]] = ds.scale %[[A]]
// CHECK-NEXT:      %[[Y:.*]] = ds.add %[[SA]], %[[X]]
// CHECK-NEXT:      %[[N:.*]] = ds.l2_normalize %[[Y]]
// CHECK-NEXT:      %[[C:.*]] = ds.relu %[[N]]
// CHECK-NEXT:      %[[SC:.*]] = ds.scale %[[C]]
// CHECK-NEXT:      %[[Z:.*]] = ds.add %[[N]], %[[SC]]
// CHECK-NEXT:      ds.l2_normalize %[[Z]]
// CHECK:         ds.layer "h.1"
// CHECK-NEXT:    ^bb0(%[[X:.*]]: tensor<?x?x64xf32>):
// CHECK-NEXT:      %[[A:.*]] = ds.relu %[[X]]
// CHECK-NEXT:      %[[B:.*]] = ds.tanh %[[X]]
// CHECK-NEXT:      %[[SA:.*]] = ds.scale %[[A]]
// CHECK-NEXT:      %[[Y:.*]] = ds.add %[[X]], %[[SA]]
// CHECK-NEXT:      %[[SB:.*]] = ds.scale %[[B]]
// CHECK-NEXT:      ds.add %[[Y]], %[[SB]]
func.func @step(%in: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  %0 = ds.layer "h.0"(%in) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  ^bb0(%x: tensor<?x?x64xf32>):
    %a = ds.relu %x : tensor<?x?x64xf32>
    %y = ds.add %a, %x : tensor<?x?x64xf32>
    %n = ds.l2_normalize %y eps 1.0e-12 : tensor<?x?x64xf32>
    %c = ds.relu %n : tensor<?x?x64xf32>
    %z = ds.add %n, %c : tensor<?x?x64xf32>
    %m = ds.l2_normalize %z eps 1.0e-12 : tensor<?x?x64xf32>
    ds.yield %m : tensor<?x?x64xf32>
  }
  %1 = ds.layer "h.1"(%0) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  ^bb0(%x: tensor<?x?x64xf32>):
    %a = ds.relu %x : tensor<?x?x64xf32>
    %b = ds.tanh %x : tensor<?x?x64xf32>
    %y = ds.add %x, %a : tensor<?x?x64xf32>
    %z = ds.add %y, %b : tensor<?x?x64xf32>
    ds.yield %z : tensor<?x?x64xf32>
  }
  return %1 : tensor<?x?x64xf32>
}

// -----

// expected-error@+1 {{expects a function @step to drop layers of}}
module @negative_no_step {
}

// -----

// expected-error@+1 {{expects layers (ds.layer) to drop, found none}}
func.func @step(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  return %x : tensor<?x?x64xf32>
}

// -----

module @negative_two_streams {
  func.func @step(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    // expected-error@+1 {{expects a layer of one input and result to drop it, got 2}}
    %0:2 = ds.layer "h.0"(%x, %x) : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> (tensor<?x?x64xf32>, tensor<?x?x64xf32>) {
    ^bb0(%a: tensor<?x?x64xf32>, %b: tensor<?x?x64xf32>):
      ds.yield %a, %b : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    }
    return %0#0 : tensor<?x?x64xf32>
  }
}

// -----

/// Nothing would make up for the layer when it is left out.
module @negative_no_residual {
  func.func @step(%in: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    // expected-error@+1 {{expects a sum of the layer's input and what is computed from it to drop the layer}}
    %0 = ds.layer "h.0"(%in) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%x: tensor<?x?x64xf32>):
      %a = ds.relu %x : tensor<?x?x64xf32>
      %b = ds.tanh %x : tensor<?x?x64xf32>
      %c = ds.add %a, %b : tensor<?x?x64xf32>
      ds.yield %c : tensor<?x?x64xf32>
    }
    return %0 : tensor<?x?x64xf32>
  }
}

// -----

module @negative_nested {
  func.func @step(%in: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    %0 = ds.layer "h.0"(%in) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%x: tensor<?x?x64xf32>):
      // expected-error@+1 {{expects no layer inside a layer to drop layers}}
      %i = ds.layer "h.0.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
      ^bb0(%y: tensor<?x?x64xf32>):
        ds.yield %y : tensor<?x?x64xf32>
      }
      %c = ds.add %x, %i : tensor<?x?x64xf32>
      ds.yield %c : tensor<?x?x64xf32>
    }
    return %0 : tensor<?x?x64xf32>
  }
}
