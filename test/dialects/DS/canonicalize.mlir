// RUN: ds-opt --canonicalize --split-input-file %s | FileCheck %s

// CHECK-LABEL: func.func @add_negative_zero
// CHECK-SAME:    (%[[X:.*]]: tensor<2xf32>)
// CHECK-NEXT:    return %[[X]]
func.func @add_negative_zero(%x: tensor<2xf32>) -> tensor<2xf32> {
  %zero = ds.constant dense<-0.0> : tensor<2xf32>
  %y = ds.add %zero, %x : tensor<2xf32>
  return %y : tensor<2xf32>
}

/// -0 + 0 is +0: the sum is not its left side.
// CHECK-LABEL: func.func @negative_add_positive_zero
// CHECK:         ds.add
func.func @negative_add_positive_zero(%x: tensor<2xf32>) -> tensor<2xf32> {
  %zero = ds.constant dense<[-0.0, 0.0]> : tensor<2xf32>
  %y = ds.add %x, %zero : tensor<2xf32>
  return %y : tensor<2xf32>
}

// CHECK-LABEL: func.func @mul_one
// CHECK-SAME:    (%[[X:.*]]: tensor<2xbf16>)
// CHECK-NEXT:    return %[[X]]
func.func @mul_one(%x: tensor<2xbf16>) -> tensor<2xbf16> {
  %one = ds.constant dense<[1.0, 1.0]> : tensor<2xbf16>
  %y = ds.mul %x, %one : tensor<2xbf16>
  return %y : tensor<2xbf16>
}

/// Zero times NaN or infinity is NaN, and zero times a negative number is -0.
// CHECK-LABEL: func.func @negative_mul_zero
// CHECK:         ds.mul
func.func @negative_mul_zero(%x: tensor<2xf32>) -> tensor<2xf32> {
  %zero = ds.constant dense<0.0> : tensor<2xf32>
  %y = ds.mul %x, %zero : tensor<2xf32>
  return %y : tensor<2xf32>
}

// CHECK-LABEL: func.func @relu_of_relu
// CHECK:         %[[Y:.*]] = ds.relu
// CHECK-NEXT:    return %[[Y]]
func.func @relu_of_relu(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = ds.relu %x : tensor<?x64xf32>
  %z = ds.relu %y : tensor<?x64xf32>
  return %z : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @mask_of_ones
// CHECK-NOT:     ds.constant
// CHECK:         ds.attention %{{.*}}, %{{.*}}, %{{.*}} past %{{.*}} : tensor<2xi32> slopes %{{.*}} : tensor<4xf32> heads
func.func @mask_of_ones(%q: tensor<2x3x16xf32>, %p: tensor<2xi32>, %s: tensor<4xf32>) -> tensor<2x3x16xf32> {
  %ones = ds.constant dense<[[1, 1, 1], [1, 2, 1]]> : tensor<2x3xi32>
  %y = ds.attention %q, %q, %q mask %ones : tensor<2x3xi32> past %p : tensor<2xi32> slopes %s : tensor<4xf32> heads 4 kv_heads 4 scale 0.5 : tensor<2x3x16xf32>, tensor<2x3x16xf32>
  return %y : tensor<2x3x16xf32>
}

/// One key is hidden.
// CHECK-LABEL: func.func @negative_mask_with_a_zero
// CHECK:         ds.attention {{.*}} mask
func.func @negative_mask_with_a_zero(%q: tensor<2x3x16xf32>) -> tensor<2x3x16xf32> {
  %mask = ds.constant dense<[[1, 1, 1], [1, 1, 0]]> : tensor<2x3xi32>
  %y = ds.attention %q, %q, %q mask %mask : tensor<2x3xi32> heads 4 kv_heads 4 scale 0.5 : tensor<2x3x16xf32>, tensor<2x3x16xf32>
  return %y : tensor<2x3x16xf32>
}

// CHECK-LABEL: func.func @pool_cls_with_mask
// CHECK:         ds.pool cls %{{.*}} : tensor<?x?x64xf32>{{$}}
func.func @pool_cls_with_mask(%x: tensor<?x?x64xf32>, %m: tensor<?x?xi32>) -> tensor<?x64xf32> {
  %y = ds.pool cls %x mask %m : tensor<?x?x64xf32>, tensor<?x?xi32>
  return %y : tensor<?x64xf32>
}

/// The mean of some tokens is not that of all.
// CHECK-LABEL: func.func @negative_pool_mean_with_mask
// CHECK:         ds.pool mean %{{.*}} mask
func.func @negative_pool_mean_with_mask(%x: tensor<?x?x64xf32>, %m: tensor<?x?xi32>) -> tensor<?x64xf32> {
  %y = ds.pool mean %x mask %m : tensor<?x?x64xf32>, tensor<?x?xi32>
  return %y : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @layer_result_unread
// CHECK-SAME:    (%[[X:.*]]: tensor<?x64xf32>, %[[Y:.*]]: tensor<?x64xf32>)
// CHECK-NEXT:    %[[R:.*]] = ds.layer "h.0"(%[[X]]) {note = "kept"} : (tensor<?x64xf32>) -> tensor<?x64xf32> {
// CHECK-NEXT:    ^bb0(%[[H:.*]]: tensor<?x64xf32>):
// CHECK-NEXT:      %[[S:.*]] = ds.add %[[H]], %[[Y]]
// CHECK-NEXT:      ds.yield %[[S]] : tensor<?x64xf32>
// CHECK-NEXT:    }
// CHECK-NEXT:    return %[[R]]
func.func @layer_result_unread(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %r:2 = ds.layer "h.0"(%x, %y) {note = "kept"} : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>):
    %s = ds.add %a, %b : tensor<?x64xf32>
    %t = ds.tanh %b : tensor<?x64xf32>
    ds.yield %s, %t : tensor<?x64xf32>, tensor<?x64xf32>
  }
  return %r#0 : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @layer_result_is_input
// CHECK-SAME:    (%[[X:.*]]: tensor<?x64xf32>, %[[Y:.*]]: tensor<?x64xf32>)
// CHECK:         %[[R:.*]] = ds.layer "h.0"(%[[Y]])
// CHECK:         return %[[X]], %[[R]]
func.func @layer_result_is_input(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %r:2 = ds.layer "h.0"(%x, %y) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>):
    %t = ds.tanh %b : tensor<?x64xf32>
    ds.yield %a, %t : tensor<?x64xf32>, tensor<?x64xf32>
  }
  return %r#0, %r#1 : tensor<?x64xf32>, tensor<?x64xf32>
}

/// Two results change places: neither is its own input.
// CHECK-LABEL: func.func @negative_layer_swaps
// CHECK:         ds.layer "h.0"(%{{.*}}, %{{.*}}) :
func.func @negative_layer_swaps(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %r:2 = ds.layer "h.0"(%x, %y) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>):
    ds.yield %b, %a : tensor<?x64xf32>, tensor<?x64xf32>
  }
  return %r#0, %r#1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

ds.parameter @w from "w" : tensor<64x64xf32>
ds.cache @k : tensor<?x64x64xf32>

// CHECK-LABEL: func.func @nothing_read
// CHECK-NEXT:    return
func.func @nothing_read(%x: tensor<?x?x64xf32>) {
  %y = ds.layer "h.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  ^bb0(%h: tensor<?x?x64xf32>):
    %w = ds.weight @w : tensor<64x64xf32>
    %l = ds.linear %h, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
    ds.yield %l : tensor<?x?x64xf32>
  }
  %k = ds.cache_read @k : tensor<?x64x64xf32>
  return
}

/// Its append is seen by the next step.
// CHECK-LABEL: func.func @negative_layer_appends
// CHECK:         ds.layer "h.0"() : () -> () {
// CHECK:           ds.cache_append
func.func @negative_layer_appends(%x: tensor<?x?x64xf32>, %p: tensor<?xi32>) {
  %y = ds.layer "h.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  ^bb0(%h: tensor<?x?x64xf32>):
    %k = ds.cache_append @k, %h past %p : tensor<?x?x64xf32>, tensor<?xi32> -> tensor<?x64x64xf32>
    ds.yield %h : tensor<?x?x64xf32>
  }
  return
}
