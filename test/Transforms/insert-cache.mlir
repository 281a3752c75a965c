// RUN: ds-opt --ds-insert-cache=context=50 --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: ds-opt --ds-insert-cache='context=50 keep-forward=1' --split-input-file --verify-diagnostics %s | FileCheck --check-prefix=KEEP %s
// RUN: ds-opt --ds-insert-cache='context=50 elements=int8' --split-input-file --verify-diagnostics %s | FileCheck --check-prefix=INT8 %s
// RUN: ds-opt --ds-insert-cache='context=50 elements=bf16' --split-input-file --verify-diagnostics %s | FileCheck --check-prefix=BF16 %s
// RUN: not ds-opt --ds-insert-cache=elements=int3 --split-input-file %s 2>&1 | FileCheck --check-prefix=INT3 %s

// INT3: expects elements to be f32, bf16 or int8, got 'int3'

// BF16:       ds.cache @"0.k" : tensor<?x64x32xbf16>
// BF16-NEXT:  ds.cache @"0.v" : tensor<?x64x32xbf16>
// BF16-LABEL: func.func @prefill
// BF16:         %[[K:.*]] = ds.cache_append @"0.k", {{.*}} : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xbf16>
// BF16:         %[[V:.*]] = ds.cache_append @"0.v"
// BF16:         ds.attention %{{.*}}, %[[K]], %[[V]] past {{.*}} window 32 : tensor<?x?x64xf32>, tensor<?x64x32xbf16>
// BF16-LABEL: func.func @decode

/// Codes have one scale for a head of 16 values.
// INT8:       ds.cache @"0.k" : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
// INT8-NEXT:  ds.cache @"0.v" : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
// INT8-LABEL: func.func @prefill
// INT8:         %[[K:.*]] = ds.cache_append @"0.k", {{.*}} : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
// INT8:         %[[V:.*]] = ds.cache_append @"0.v"
// INT8:         ds.attention %{{.*}}, %[[K]], %[[V]] past {{.*}} window 32 : tensor<?x?x64xf32>, tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
// INT8-LABEL: func.func @decode

// CHECK:      ds.cache @"0.k" : tensor<?x64x32xf32>
// CHECK-NEXT: ds.cache @"0.v" : tensor<?x64x32xf32>
// CHECK-NEXT: ds.cache @"1.k" : tensor<?x64x32xf32>
// CHECK-NEXT: ds.cache @"1.v" : tensor<?x64x32xf32>
// CHECK-NOT:  @forward

// KEEP:       func.func @forward
// KEEP-NOT:   ds.cache_append
// KEEP:       ds.linear %{{.*}} : tensor<?x?x64xf32>, tensor<128x64xf32>

// CHECK-LABEL: func.func @prefill
// CHECK-SAME:    %{{.*}}: tensor<?x?xi32> {ds.name = "input_ids"}, %{{.*}}: tensor<?x?xi32> {ds.name = "positions"},
// CHECK-SAME:    %[[PAST:.*]]: tensor<?xi32> {ds.name = "past"}, %[[ROWS:.*]]: tensor<?xi32> {ds.name = "rows"})
// CHECK-SAME:    -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x128xf32> {ds.name = "logits"})
// CHECK:         ds.layer
// CHECK:         %[[K:.*]] = ds.cache_append @"0.k", %{{.*}} past %[[PAST]] : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
// CHECK:         %[[V:.*]] = ds.cache_append @"0.v", %{{.*}} past %[[PAST]]
// CHECK:         ds.attention %{{.*}}, %[[K]], %[[V]] past %[[PAST]] : tensor<?xi32> heads 4 kv_heads 2 scale 2.5{{.*}} causal window 32
// CHECK:         ds.cache_append @"1.k"
// CHECK:         %[[LAST:.*]] = ds.attention
// CHECK:         %[[HIDDEN:.*]] = ds.rms_norm %[[LAST]], %{{.*}} : tensor<?x?x64xf32>
// CHECK:         %[[CHOSEN:.*]] = ds.gather_rows %[[LAST]], %[[ROWS]] : tensor<?x?x64xf32>, tensor<?xi32>
// CHECK-NEXT:    %[[NORM:.*]] = ds.rms_norm %[[CHOSEN]], %{{.*}} : tensor<?x64xf32>
// CHECK-NEXT:    %[[DENSE:.*]] = ds.linear %[[NORM]], %{{.*}} : tensor<?x64xf32>, tensor<64x64xf32>
// CHECK-NEXT:    %[[GELU:.*]] = ds.gelu erf %[[DENSE]] : tensor<?x64xf32>
// CHECK-NEXT:    %[[SUM:.*]] = ds.add %[[GELU]], %[[NORM]] : tensor<?x64xf32>
// CHECK-NEXT:    %[[LOGITS:.*]] = ds.linear %[[SUM]], %{{.*}} : tensor<?x64xf32>, tensor<128x64xf32>
// CHECK-NEXT:    return %[[HIDDEN]], %[[LOGITS]]

// CHECK-LABEL: func.func @decode
// CHECK:         ds.cache_append @"0.k"
module attributes {ds.model = {max_positions = 100}} {
  ds.parameter @embed from "embed" : tensor<128x64xf32>
  ds.parameter @norm from "norm" : tensor<64xf32>
  ds.parameter @kv from "kv" : tensor<32x64xf32>
  ds.parameter @dense from "dense" : tensor<64x64xf32>
  func.func @forward(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x?x128xf32> {ds.name = "logits"}) {
    %e = ds.weight @embed : tensor<128x64xf32>
    %kv = ds.weight @kv : tensor<32x64xf32>
    %x = ds.embedding %ids, %e : tensor<?x?xi32>, tensor<128x64xf32>
    %y = ds.layer "h.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%h: tensor<?x?x64xf32>):
      %k = ds.linear %h, %kv : tensor<?x?x64xf32>, tensor<32x64xf32>
      %a = ds.attention %h, %k, %k heads 4 kv_heads 2 scale 0.25 causal window 32 : tensor<?x?x64xf32>, tensor<?x?x32xf32>
      ds.yield %a : tensor<?x?x64xf32>
    }
    %z = ds.layer "h.1"(%y) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%h: tensor<?x?x64xf32>):
      %k = ds.linear %h, %kv : tensor<?x?x64xf32>, tensor<32x64xf32>
      %a = ds.attention %h, %k, %k heads 4 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x32xf32>
      ds.yield %a : tensor<?x?x64xf32>
    }
    %g = ds.weight @norm : tensor<64xf32>
    %n = ds.rms_norm %z, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    %d = ds.weight @dense : tensor<64x64xf32>
    %p = ds.linear %n, %d : tensor<?x?x64xf32>, tensor<64x64xf32>
    %q = ds.gelu erf %p : tensor<?x?x64xf32>
    %s = ds.add %q, %n : tensor<?x?x64xf32>
    %l = ds.linear %s, %e : tensor<?x?x64xf32>, tensor<128x64xf32>
    return %n, %l : tensor<?x?x64xf32>, tensor<?x?x128xf32>
  }
}

// -----

/// An encoder has no step to keep anything for.
// CHECK-LABEL: func.func @encode(%{{.*}}: tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
module attributes {ds.model = {max_positions = 100}} {
  func.func @encode(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    return %x : tensor<?x?x64xf32>
  }
}

// -----

/// 50 positions need 64 slots, more than the model knows positions for.
// CHECK: ds.cache @"0.k" : tensor<?x48x64xf32>
// expected-remark@+1 {{context is 48, not 50: slots come in groups of 16 and the model has 50 positions}}
module attributes {ds.model = {max_positions = 50}} {
  func.func @forward(%h: tensor<?x?x64xf32>) -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x?x64xf32> {ds.name = "logits"}) {
    %n = ds.attention %h, %h, %h heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    %l = ds.relu %n : tensor<?x?x64xf32>
    return %n, %l : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  }
}

// -----

// expected-error@+1 {{expects a context of at most the 49 positions of the model, got 50}}
module @negative_context attributes {ds.model = {max_positions = 49}} {
  func.func @forward(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    return %x : tensor<?x?x64xf32>
  }
}

// -----

// expected-error@+1 {{expects a model of at least 16 positions, got 15}}
module @negative_positions attributes {ds.model = {max_positions = 15}} {
  func.func @forward(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    return %x : tensor<?x?x64xf32>
  }
}

// -----

// expected-error@+1 {{expects max_positions in ds.model}}
module @negative_no_model {
  func.func @forward(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    return %x : tensor<?x?x64xf32>
  }
}

// -----

/// A token would see tokens that are not there yet when its keys are stored.
module @negative_not_causal attributes {ds.model = {max_positions = 100}} {
  func.func @forward(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    // expected-error@+1 {{expects causal attention to insert a cache}}
    %a = ds.attention %x, %x, %x heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    return %a : tensor<?x?x64xf32>
  }
}

// -----

/// A mask of this step says nothing of the tokens in the cache.
module @negative_mask attributes {ds.model = {max_positions = 100}} {
  func.func @forward(%x: tensor<?x?x64xf32>, %m: tensor<?x?xi32>) -> tensor<?x?x64xf32> {
    // expected-error@+1 {{expects attention without mask and past to insert a cache}}
    %a = ds.attention %x, %x, %x mask %m : tensor<?x?xi32> heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    return %a : tensor<?x?x64xf32>
  }
}

// -----

/// Behind the last attention only chosen tokens go on, with their residual. A product of what keys are made of is joined with theirs, so it
/// stays one of all tokens.
// CHECK-LABEL: module @last_layer
// CHECK:       func.func @prefill
// CHECK-NOT:     ds.layer
// CHECK:         %[[X:.*]] = ds.embedding
// CHECK:         %[[N:.*]] = ds.layer_norm %[[X]]
// CHECK:         %[[A:.*]] = ds.attention %[[N]]
// CHECK:         %[[U:.*]] = ds.linear %[[N]]
// CHECK:         ds.add %[[A]], %[[X]] : tensor<?x?x64xf32>
// CHECK-NEXT:    %[[HIDDEN:.*]] = ds.add %{{.*}} : tensor<?x?x64xf32>
// CHECK-NEXT:    %[[AR:.*]] = ds.gather_rows %[[A]], %{{.*}}
// CHECK-NEXT:    %[[XR:.*]] = ds.gather_rows %[[X]], %{{.*}}
// CHECK-NEXT:    %[[S:.*]] = ds.add %[[AR]], %[[XR]] : tensor<?x64xf32>
// CHECK-NEXT:    %[[UR:.*]] = ds.gather_rows %[[U]], %{{.*}}
// CHECK-NEXT:    %[[T:.*]] = ds.add %[[S]], %[[UR]] : tensor<?x64xf32>
// CHECK-NEXT:    %[[LOGITS:.*]] = ds.linear %[[T]], %{{.*}} : tensor<?x64xf32>, tensor<128x64xf32>
// CHECK-NEXT:    return %[[HIDDEN]], %[[LOGITS]]
module @last_layer attributes {ds.model = {max_positions = 100}} {
  ds.parameter @embed from "embed" : tensor<128x64xf32>
  ds.parameter @norm from "norm" : tensor<64xf32>
  ds.parameter @up from "up" : tensor<64x64xf32>
  func.func @forward(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x?x128xf32> {ds.name = "logits"}) {
    %e = ds.weight @embed : tensor<128x64xf32>
    %x = ds.embedding %ids, %e : tensor<?x?xi32>, tensor<128x64xf32>
    %y = ds.layer "h.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%h: tensor<?x?x64xf32>):
      %g = ds.weight @norm : tensor<64xf32>
      %n = ds.layer_norm %h, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
      %a = ds.attention %n, %n, %n heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x64xf32>
      %w = ds.weight @up : tensor<64x64xf32>
      %u = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
      %s = ds.add %a, %h : tensor<?x?x64xf32>
      %t = ds.add %s, %u : tensor<?x?x64xf32>
      ds.yield %t : tensor<?x?x64xf32>
    }
    %l = ds.linear %y, %e : tensor<?x?x64xf32>, tensor<128x64xf32>
    return %y, %l : tensor<?x?x64xf32>, tensor<?x?x128xf32>
  }
}

// -----

/// The rows of a head that mixes tokens cannot be chosen before it.
module @negative_head attributes {ds.model = {max_positions = 100}} {
  func.func @forward(%x: tensor<?x?xi32>, %h: tensor<?x?x64xf32>) -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x?x64xf32> {ds.name = "logits"}) {
    %n = ds.relu %h : tensor<?x?x64xf32>
    // expected-error@+1 {{expects a head of linear, norm and element-wise ops}}
    %l = ds.attention %n, %n, %n heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    return %n, %l : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  }
}

// -----

/// A tensor of the model's files may have any name.
module @negative_name_taken attributes {ds.model = {max_positions = 100}} {
  ds.parameter @"0.v" from "0.v" : tensor<64xf32>
  func.func @forward(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    // expected-error@+1 {{expects no symbol with the name of cache '0.v'}}
    %a = ds.attention %x, %x, %x heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    return %a : tensor<?x?x64xf32>
  }
}
