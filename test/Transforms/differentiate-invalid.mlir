// RUN: ds-opt --ds-differentiate --split-input-file --verify-diagnostics %s

// expected-error@+1 {{expects a function @step to differentiate}}
module @negative_no_step {
}

// -----

// expected-error@+1 {{expects an argument 'labels' and a result 'loss' of @step}}
func.func @step(%x: tensor<?x3xf32>) -> (tensor<?x3xf32> {ds.name = "loss"}) {
  return %x : tensor<?x3xf32>
}

// -----

// expected-error@+1 {{expects result 'loss' of @step to be a ds.cross_entropy}}
func.func @step(%x: tensor<?x1xf32>, %l: tensor<?xi32> {ds.name = "labels"}) -> (tensor<?x1xf32> {ds.name = "loss"}) {
  %y = ds.relu %x : tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

/// A parameter with its value in the module is none of the model's.
module @negative_nothing_to_train {
  ds.parameter @w value dense<1.0> : tensor<3x8xf32> : tensor<3x8xf32>
  func.func @step(%x: tensor<?x8xf32>, %l: tensor<?xi32> {ds.name = "labels"}) -> (tensor<?x1xf32> {ds.name = "loss"}) {
    %w = ds.weight @w : tensor<3x8xf32>
    %y = ds.linear %x, %w : tensor<?x8xf32>, tensor<3x8xf32>
    // expected-error@+1 {{expects a loss that depends on a parameter with a source}}
    %loss = ds.cross_entropy %y, %l smoothing 0.0 : tensor<?x3xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}

// -----

module @negative_quantized {
  // expected-error@+1 {{expects a parameter of floats to train it, got 'tensor<32x32x!ds.quantized<8 symmetric group 32 scale f16>>'}}
  ds.parameter @w from "w" : tensor<32x32x!ds.quantized<8 symmetric group 32 scale f16>>
  func.func @step(%x: tensor<?x32xf32>, %l: tensor<?xi32> {ds.name = "labels"}) -> (tensor<?x1xf32> {ds.name = "loss"}) {
    %w = ds.weight @w : tensor<32x32x!ds.quantized<8 symmetric group 32 scale f16>>
    %y = ds.linear %x, %w : tensor<?x32xf32>, tensor<32x32x!ds.quantized<8 symmetric group 32 scale f16>>
    %loss = ds.cross_entropy %y, %l smoothing 0.0 : tensor<?x32xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}

// -----

module @negative_op_without_gradient {
  ds.parameter @w from "w" : tensor<3x8xf32>
  func.func @step(%x: tensor<?x8xf32>, %l: tensor<?xi32> {ds.name = "labels"}) -> (tensor<?x1xf32> {ds.name = "loss"}) {
    %w = ds.weight @w : tensor<3x8xf32>
    %y = ds.linear %x, %w : tensor<?x8xf32>, tensor<3x8xf32>
    // expected-error@+1 {{'ds.relu_grad' op has no gradient}}
    %z = ds.relu_grad %y, %y : tensor<?x3xf32>
    %loss = ds.cross_entropy %z, %l smoothing 0.0 : tensor<?x3xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}

// -----

/// Slopes of attention are fixed in every model.
module @negative_operand_without_gradient {
  ds.parameter @s from "s" : tensor<1xf32>
  func.func @step(%x: tensor<?x?x8xf32>, %r: tensor<?xi32>, %l: tensor<?xi32> {ds.name = "labels"})
      -> (tensor<?x1xf32> {ds.name = "loss"}) {
    %s = ds.weight @s : tensor<1xf32>
    // expected-error@+1 {{'ds.attention' op has no gradient of operand 3, which depends on a parameter}}
    %y = ds.attention %x, %x, %x slopes %s : tensor<1xf32> heads 1 kv_heads 1 scale 1.0 : tensor<?x?x8xf32>, tensor<?x?x8xf32>
    %z = ds.gather_rows %y, %r : tensor<?x?x8xf32>, tensor<?xi32>
    %loss = ds.cross_entropy %z, %l smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}

// -----

/// What comes from outside would get a gradient where the layer is off.
module @negative_gated_layer_reads_outside {
  ds.parameter @w from "w" : tensor<8x8xf32>
  func.func @step(%x: tensor<?x8xf32>, %l: tensor<?xi32> {ds.name = "labels"}, %g: tensor<1xi32> {ds.name = "layer_gates"})
      -> (tensor<?x1xf32> {ds.name = "loss"}) {
    %w = ds.weight @w : tensor<8x8xf32>
    %y = ds.linear %x, %w : tensor<?x8xf32>, tensor<8x8xf32>
    %z = ds.tanh %y : tensor<?x8xf32>
    %a = ds.layer "h.0"(%y) {ds.gate = 0 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32> {
    ^bb0(%h: tensor<?x8xf32>):
      // expected-error@+1 {{expects a layer with a gate to read nothing trained from outside but its input and parameters}}
      %b = ds.add %h, %z : tensor<?x8xf32>
      ds.yield %b : tensor<?x8xf32>
    }
    %loss = ds.cross_entropy %a, %l smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}

// -----

module @negative_gated_layer_without_input {
  ds.parameter @w from "w" : tensor<8x8xf32>
  func.func @step(%x: tensor<?x8xf32>, %l: tensor<?xi32> {ds.name = "labels"}, %g: tensor<1xi32> {ds.name = "layer_gates"})
      -> (tensor<?x1xf32> {ds.name = "loss"}) {
    %w = ds.weight @w : tensor<8x8xf32>
    %y = ds.linear %x, %w : tensor<?x8xf32>, tensor<8x8xf32>
    // expected-error@+1 {{expects the result of a layer with a gate to depend on its input}}
    %a = ds.layer "h.0"(%y) {ds.gate = 0 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32> {
    ^bb0(%h: tensor<?x8xf32>):
      %b = ds.linear %x, %w : tensor<?x8xf32>, tensor<8x8xf32>
      ds.yield %b : tensor<?x8xf32>
    }
    %loss = ds.cross_entropy %a, %l smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}

// -----

module @negative_gate_without_gates {
  func.func @step(%x: tensor<?x8xf32>, %l: tensor<?xi32> {ds.name = "labels"}) -> (tensor<?x1xf32> {ds.name = "loss"}) {
    // expected-error@+1 {{expects a layer with a gate to have one input and result, and an argument 'layer_gates' of @step}}
    %a = ds.layer "h.0"(%x) {ds.gate = 0 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32> {
    ^bb0(%h: tensor<?x8xf32>):
      %b = ds.relu %h : tensor<?x8xf32>
      ds.yield %b : tensor<?x8xf32>
    }
    %loss = ds.cross_entropy %a, %l smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}

// -----

module @negative_gate_inside_a_layer {
  func.func @step(%x: tensor<?x8xf32>, %l: tensor<?xi32> {ds.name = "labels"}) -> (tensor<?x1xf32> {ds.name = "loss"}) {
    %a = ds.layer "h"(%x) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
    ^bb0(%h: tensor<?x8xf32>):
      // expected-error@+1 {{expects no gate of a layer inside a layer}}
      %b = ds.layer "h.0"(%h) {ds.gate = 0 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32> {
      ^bb0(%i: tensor<?x8xf32>):
        ds.yield %i : tensor<?x8xf32>
      }
      ds.yield %b : tensor<?x8xf32>
    }
    %loss = ds.cross_entropy %a, %l smoothing 0.0 : tensor<?x8xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}
