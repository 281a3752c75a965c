// RUN: ds-opt --ds-plan-pair-keys --split-input-file %s | FileCheck %s
// RUN: ds-opt --ds-plan-pair-keys --split-input-file --remarks-filter='ds-plan-pair-keys' %s 2>&1 >/dev/null | FileCheck --check-prefix=REMARK %s

// REMARK: Function=encode | buffers=2
// REMARK: Function=encode | Reason="the head size is no multiple of 16"
// REMARK: Function=encode | Reason="more than attention reads them"
// REMARK: Function=attend
// REMARK: Function=attend_window | Reason="a window sees a part of the cache alone"
// REMARK: Function=attend_narrow | Reason="the head size is no multiple of 16"
// REMARK: Function=forward | Reason="the model has a cache"

ds_plan.kernel @store "store_cache" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %k = ds_plan.store_cache keys heads 4 %x : tensor<?x?x64xf32> -> tensor<?x?x64xf32>
  %v = ds_plan.store_cache values heads 4 %x : tensor<?x?x64xf32> -> tensor<?x?x64xf32>
  ds_plan.return %k, %v : tensor<?x?x64xf32>, tensor<?x?x64xf32>
}
ds_plan.kernel @attention "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x?x64xf32>, %v: tensor<?x?x64xf32>):
  %y = ds.attention %q, %k, %v heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.program @encode
// CHECK:         %[[Q:.*]] = ds_plan.buffer {{ *}}tokens : memref<?x64xf32>
// CHECK:         %[[K:.*]] = ds_plan.buffer {{ *}}packed : memref<?x64xbf16>
// CHECK:         %[[V:.*]] = ds_plan.buffer {{ *}}packed : memref<?x64xbf16>
// CHECK:         ds_plan.launch @store ins(%[[Q]] : memref<?x64xf32>) outs(%[[K]], %[[V]] : memref<?x64xbf16>, memref<?x64xbf16>)
ds_plan.program @encode max_batch 2 max_rows 64 arena 0 kv_bytes 0 {
  %q = ds_plan.buffer tokens : memref<?x64xf32>
  %k = ds_plan.buffer packed : memref<?x64xf32>
  %v = ds_plan.buffer packed : memref<?x64xf32>
  %y = ds_plan.output "y" 0 tokens : memref<?x64xf32>
  ds_plan.launch @store ins(%q : memref<?x64xf32>) outs(%k, %v : memref<?x64xf32>, memref<?x64xf32>)
  ds_plan.launch @attention ins(%q, %k, %v : memref<?x64xf32>, memref<?x64xf32>, memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

// -----

ds_plan.kernel @store "store_cache" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %k = ds_plan.store_cache keys heads 8 %x : tensor<?x?x64xf32> -> tensor<?x?x64xf32>
  ds_plan.return %k : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.program @encode
// CHECK:         ds_plan.buffer {{ *}}packed : memref<?x64xf32>
ds_plan.program @encode max_batch 2 max_rows 64 arena 0 kv_bytes 0 {
  %q = ds_plan.buffer tokens : memref<?x64xf32>
  %k = ds_plan.buffer packed : memref<?x64xf32>
  ds_plan.launch @store ins(%q : memref<?x64xf32>) outs(%k : memref<?x64xf32>)
}

// -----

ds_plan.kernel @store "store_cache" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %k = ds_plan.store_cache keys heads 4 %x : tensor<?x?x64xf32> -> tensor<?x?x64xf32>
  ds_plan.return %k : tensor<?x?x64xf32>
}
ds_plan.kernel @add "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %k: tensor<?x?x64xf32>):
  %y = ds.add %x, %k : tensor<?x?x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.program @encode
// CHECK:         ds_plan.buffer {{ *}}packed : memref<?x64xf32>
ds_plan.program @encode max_batch 2 max_rows 64 arena 0 kv_bytes 0 {
  %q = ds_plan.buffer tokens : memref<?x64xf32>
  %k = ds_plan.buffer packed : memref<?x64xf32>
  %y = ds_plan.output "y" 0 tokens : memref<?x64xf32>
  ds_plan.launch @store ins(%q : memref<?x64xf32>) outs(%k : memref<?x64xf32>)
  ds_plan.launch @add ins(%q, %k : memref<?x64xf32>, memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

// -----

/// Beside a decoder's steps with a cache, its step without one keeps f32 too. Attention to the cache may round, but with a window or heads of
/// no multiple of 16.
ds_plan.kernel @store "store_cache" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %k = ds_plan.store_cache keys heads 4 %x : tensor<?x?x64xf32> -> tensor<?x?x64xf32>
  ds_plan.return %k : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.kernel @attend
// CHECK:         ds.attention {{.*}} past %{{.*}} scale 2.500000e-01 causal rounded :
ds_plan.kernel @attend "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x16x64xf32>, %past: tensor<?xi32>):
  %y = ds.attention %q, %k, %k past %past : tensor<?xi32> heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x16x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.kernel @attend_window
// CHECK:         ds.attention {{.*}} causal window 5 :
ds_plan.kernel @attend_window "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x16x64xf32>, %past: tensor<?xi32>):
  %y = ds.attention %q, %k, %k past %past : tensor<?xi32> heads 4 kv_heads 4 scale 0.25 causal window 5 : tensor<?x?x64xf32>, tensor<?x16x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.kernel @attend_narrow
// CHECK:         ds.attention {{.*}} causal :
ds_plan.kernel @attend_narrow "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x16x64xf32>, %past: tensor<?xi32>):
  %y = ds.attention %q, %k, %k past %past : tensor<?xi32> heads 8 kv_heads 8 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x16x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.kernel @attend_step
// CHECK:         ds.attention {{.*}} causal :
ds_plan.kernel @attend_step "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x?x64xf32>):
  %y = ds.attention %q, %k, %k heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.program @forward
// CHECK:         ds_plan.buffer {{ *}}packed : memref<?x64xf32>
ds_plan.program @forward max_batch 2 max_rows 64 arena 0 kv_bytes 0 {
  %q = ds_plan.buffer tokens : memref<?x64xf32>
  %k = ds_plan.buffer packed : memref<?x64xf32>
  ds_plan.launch @store ins(%q : memref<?x64xf32>) outs(%k : memref<?x64xf32>)
}
ds_plan.program @decode max_batch 2 max_rows 64 arena 0 kv_bytes 4096 {
  %k = ds_plan.cache @k keys heads 4 offset 0 : memref<16x64xf32>
}
