// RUN: ds-opt --ds-insert-padding-mask --split-input-file --verify-diagnostics %s | FileCheck %s

// CHECK-LABEL: func.func @forward
// CHECK-SAME:    %[[MASK:[a-z0-9]+]]: tensor<?x?xi32> {ds.name = "mask"}
// CHECK-COUNT-2: ds.attention {{.*}} mask %[[MASK]] : tensor<?x?xi32> {{.*}} causal
func.func @forward(%q: tensor<?x?x32xf32> {ds.name = "x"}) -> tensor<?x?x32xf32> {
  %a = ds.attention %q, %q, %q heads 2 kv_heads 2 scale 0.25 causal : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  %y = ds.layer "h.0"(%a) : (tensor<?x?x32xf32>) -> tensor<?x?x32xf32> {
  ^bb0(%h: tensor<?x?x32xf32>):
    %b = ds.attention %h, %h, %h heads 2 kv_heads 2 scale 0.25 causal : tensor<?x?x32xf32>, tensor<?x?x32xf32>
    ds.yield %b : tensor<?x?x32xf32>
  }
  return %y : tensor<?x?x32xf32>
}

// -----

/// Another function has its own mask, or none.
// CHECK-LABEL: func.func @negative_encode
// CHECK-NOT:     ds.name = "mask"
func.func @negative_encode(%q: tensor<?x?x32xf32>) -> tensor<?x?x32xf32> {
  %a = ds.attention %q, %q, %q heads 2 kv_heads 2 scale 0.25 : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  return %a : tensor<?x?x32xf32>
}

// -----

/// A mask that is there would be lost.
func.func @forward(%q: tensor<?x?x32xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>, %mask: tensor<?x?xi32>) -> tensor<?x?x32xf32> {
  // expected-error @+1 {{expects attention without mask and past to insert a mask}}
  %a = ds.attention %q, %k, %v mask %mask : tensor<?x?xi32> heads 2 kv_heads 2 scale 0.25 causal : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  return %a : tensor<?x?x32xf32>
}
