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

// -----

/// All is well: a chain with its barrier inside, and one behind it.
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
  ds_plan.kernel @gelu "row" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>):
    %y = ds.gelu erf %x : tensor<?x?x64xf32>
    ds_plan.return %y : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 24 arena 24576 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 6144 : memref<?x64xf32>
    %2 = ds_plan.buffer tokens offset 12288 : memref<?x64xf32>
    %3 = ds_plan.buffer tokens offset 18432 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu chain 0 ins(%1 : memref<?x64xf32>) outs(%2 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu ins(%1 : memref<?x64xf32>) outs(%3 : memref<?x64xf32>)
  }
}

// -----

/// The barrier is inside the chain, where no thread may wait: it does not help the launch behind that reads what the first one wrote.
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
  ds_plan.kernel @gelu "row" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>):
    %y = ds.gelu erf %x : tensor<?x?x64xf32>
    ds_plan.return %y : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 24 arena 24576 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 6144 : memref<?x64xf32>
    %2 = ds_plan.buffer tokens offset 12288 : memref<?x64xf32>
    %3 = ds_plan.buffer tokens offset 18432 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu chain 0 ins(%1 : memref<?x64xf32>) outs(%2 : memref<?x64xf32>)
    // expected-error@+1 {{expects a barrier between this launch and one it depends on}}
    ds_plan.launch @gelu ins(%1 : memref<?x64xf32>) outs(%3 : memref<?x64xf32>)
  }
}

// -----

/// Nor does it help the chain's second launch with what stands before the chain.
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
  ds_plan.kernel @gelu "row" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>):
    %y = ds.gelu erf %x : tensor<?x?x64xf32>
    ds_plan.return %y : tensor<?x?x64xf32>
  }
  ds_plan.kernel @add "row" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>, %y: tensor<?x?x64xf32>):
    %z = ds.add %x, %y : tensor<?x?x64xf32>
    ds_plan.return %z : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 24 arena 24576 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 6144 : memref<?x64xf32>
    %2 = ds_plan.buffer tokens offset 12288 : memref<?x64xf32>
    %3 = ds_plan.buffer tokens offset 18432 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%3 : memref<?x64xf32>)
    ds_plan.launch @gelu chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
    ds_plan.barrier
    // expected-error@+1 {{expects a barrier between this launch and one it depends on}}
    ds_plan.launch @add chain 0 ins(%1, %3 : memref<?x64xf32>, memref<?x64xf32>) outs(%2 : memref<?x64xf32>)
  }
}

// -----

/// Nor the launches around the chain.
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
  ds_plan.kernel @gelu "row" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>):
    %y = ds.gelu erf %x : tensor<?x?x64xf32>
    ds_plan.return %y : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 24 arena 30720 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 6144 : memref<?x64xf32>
    %2 = ds_plan.buffer tokens offset 12288 : memref<?x64xf32>
    %3 = ds_plan.buffer tokens offset 18432 : memref<?x64xf32>
    %4 = ds_plan.buffer tokens offset 24576 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%3 : memref<?x64xf32>)
    ds_plan.launch @gelu chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu chain 0 ins(%1 : memref<?x64xf32>) outs(%2 : memref<?x64xf32>)
    // expected-error@+1 {{expects a barrier between this launch and one it depends on}}
    ds_plan.launch @gelu ins(%3 : memref<?x64xf32>) outs(%4 : memref<?x64xf32>)
  }
}

// -----

/// In steps of few rows the launches of a chain follow each other as others do.
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
  ds_plan.kernel @gelu "row" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>):
    %y = ds.gelu erf %x : tensor<?x?x64xf32>
    ds_plan.return %y : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 24 arena 18432 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 6144 : memref<?x64xf32>
    %2 = ds_plan.buffer tokens offset 12288 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
    // expected-error@+1 {{expects a barrier between this launch and one it depends on}}
    ds_plan.launch @gelu chain 0 ins(%1 : memref<?x64xf32>) outs(%2 : memref<?x64xf32>)
  }
}

// -----

/// What the chain's first launch reads lives until the chain ends.
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
  ds_plan.kernel @gelu "row" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>):
    %y = ds.gelu erf %x : tensor<?x?x64xf32>
    ds_plan.return %y : tensor<?x?x64xf32>
  }
  ds_plan.kernel @add "row" schedule {} {
  ^bb0(%x: tensor<?x?x64xf32>, %y: tensor<?x?x64xf32>):
    %z = ds.add %x, %y : tensor<?x?x64xf32>
    ds_plan.return %z : tensor<?x?x64xf32>
  }
  ds_plan.program @encode max_batch 1 max_rows 24 arena 18432 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    // expected-error@+1 {{expects a place of its own while it lives, got bytes 0 to 6144 beside 0 to 6144}}
    %0 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    %1 = ds_plan.buffer tokens offset 6144 : memref<?x64xf32>
    %2 = ds_plan.buffer tokens offset 12288 : memref<?x64xf32>
    %3 = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @add chain 0 ins(%0, %1 : memref<?x64xf32>, memref<?x64xf32>) outs(%2 : memref<?x64xf32>)
    ds_plan.barrier
    ds_plan.launch @gelu chain 0 ins(%2 : memref<?x64xf32>) outs(%3 : memref<?x64xf32>)
  }
}

// -----

/// Grouped rows take seven rows more, for a last group that holds one.
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
  ds_plan.program @encode max_batch 1 max_rows 24 arena 6144 kv_bytes 0 {
    %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
    %t = ds_plan.weight @t.rows : memref<128x64xf32>
    // expected-error@+1 {{expects to end at byte 6144 at most, got 7936}}
    %0 = ds_plan.buffer tokens grouped offset 0 : memref<?x64xf32>
    ds_plan.launch @embed ins(%ids, %t : memref<?xi32>, memref<128x64xf32>) outs(%0 : memref<?x64xf32>)
  }
}
