// RUN: ds-opt --ds-lower-caches %s | FileCheck %s

ds.cache @k0 : tensor<?x32x32xf32>
ds.cache @v0 : tensor<?x32x32xf32>

// CHECK-LABEL: func.func @appends_in_a_layer
// CHECK-NOT:     ds.layer
// CHECK:         %[[K:.*]] = ds_plan.store_cache keys heads 2 %{{.*}} past %{{.*}} {ds_plan.cache = @k0}
// CHECK:         %[[V:.*]] = ds_plan.store_cache values heads 2 %{{.*}} past %{{.*}} {ds_plan.cache = @v0}
// CHECK:         ds.attention %{{.*}}, %[[K]], %[[V]]
func.func @appends_in_a_layer(%x: tensor<?x?x32xf32>, %past: tensor<?xi32>) -> tensor<?x?x32xf32> {
  %y = ds.layer "h.0"(%x) : (tensor<?x?x32xf32>) -> tensor<?x?x32xf32> {
  ^bb0(%h: tensor<?x?x32xf32>):
    %k = ds.cache_append @k0, %h past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x32x32xf32>
    %v = ds.cache_append @v0, %h past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x32x32xf32>
    %a = ds.attention %h, %k, %v past %past : tensor<?xi32> heads 2 kv_heads 2 scale 0.25 causal : tensor<?x?x32xf32>, tensor<?x32x32xf32>
    ds.yield %a : tensor<?x?x32xf32>
  }
  return %y : tensor<?x?x32xf32>
}

// CHECK-LABEL: func.func @keys_and_values_of_this_step
// CHECK:         %[[K:.*]] = ds_plan.store_cache keys heads 2 %{{.*}}
// CHECK:         %[[V:.*]] = ds_plan.store_cache values heads 2 %{{.*}}
// CHECK:         ds.attention %{{.*}}, %[[K]], %[[V]]
func.func @keys_and_values_of_this_step(%x: tensor<?x?x32xf32>) -> tensor<?x?x32xf32> {
  %a = ds.attention %x, %x, %x heads 2 kv_heads 2 scale 0.25 : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  return %a : tensor<?x?x32xf32>
}
