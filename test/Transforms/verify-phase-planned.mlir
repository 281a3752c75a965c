// RUN: ds-opt --ds-verify-phase=phase=planned --split-input-file --verify-diagnostics %s

// expected-error@+1 {{expects a program 'decode' for task causal-lm}}
module @no_decode attributes {
    ds.model = {family = "llama", name = "tiny", task = "causal-lm", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds_plan.program @prefill max_batch 1 max_rows 1 arena 0 kv_bytes 0 {
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  // expected-error@+1 {{expects parameters, caches, storages, kernels and programs alone}}
  func.func @encode() {
    return
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds.parameter @g from "g" : tensor<64xf32>
  // expected-error@+1 {{expects an offset}}
  ds_plan.storage @g.vector vector of @g : memref<64xf32>
  ds_plan.program @encode max_batch 1 max_rows 1 arena 0 kv_bytes 0 {
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds.parameter @g from "g" : tensor<64xf32>
  ds_plan.storage @g.vector vector of @g offset 0 : memref<64xf32>
  // expected-error@+1 {{expects a place of its own, got byte 192 before the end 256 of another}}
  ds_plan.storage @h.vector vector of @g offset 192 : memref<64xf32>
  ds_plan.program @encode max_batch 1 max_rows 1 arena 0 kv_bytes 0 {
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds.cache @k : tensor<?x16x32xf32>
  ds_plan.program @encode max_batch 1 max_rows 1 arena 0 kv_bytes 1024 {
    // expected-error@+1 {{expects to end at byte 1024 at most, got 2048}}
    %0 = ds_plan.cache @k keys heads 2 offset 0 : memref<16x32xf32>
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds_plan.kernel @copy "copy" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>):
    ds_plan.return %x : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 1 arena 512 kv_bytes 0 {
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 256 : memref<?x64xf32>
    // expected-error@+1 {{expects a buffer that an earlier launch wrote}}
    ds_plan.launch @copy ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds.parameter @t from "t" : tensor<128x64xf32>
  ds_plan.storage @t.rows rows of @t offset 0 : memref<128x64xf32>
  ds_plan.kernel @embed "embed" schedule {} {
  ^bb0(%x: tensor<?x?xi32>, %t: tensor<128x64xf32>):
    %y = ds.embedding %x, %t : tensor<?x?xi32>, tensor<128x64xf32>
    ds_plan.return %y : tensor<?x?x64xf32>
  }
  ds_plan.kernel @copy "copy" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>):
    ds_plan.return %x : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 1 arena 512 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 256 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
    // expected-error@+1 {{expects a barrier between this launch and one it depends on}}
    ds_plan.launch @copy ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds.parameter @t from "t" : tensor<128x64xf32>
  ds_plan.storage @t.rows rows of @t offset 0 : memref<128x64xf32>
  ds_plan.kernel @embed "embed" schedule {} {
  ^bb0(%x: tensor<?x?xi32>, %t: tensor<128x64xf32>):
    %y = ds.embedding %x, %t : tensor<?x?xi32>, tensor<128x64xf32>
    ds_plan.return %y : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 2 arena 1024 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    // expected-error@+1 {{expects a place of its own while it lives, got bytes 0 to 512 beside 256 to 768}}
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 256 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%1 : memref<?x64xf32>)
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds_plan.program @encode max_batch 1 max_rows 2 arena 0 kv_bytes 0 {
    // expected-error@+1 {{expects a launch that writes output "hidden"}}
    %0 = ds_plan.output "hidden" 0 tokens : memref<?x64xf32>
  }
}
