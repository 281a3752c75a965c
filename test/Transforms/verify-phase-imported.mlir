// RUN: ds-opt --ds-verify-phase=phase=imported --split-input-file --verify-diagnostics %s

// expected-error@+1 {{expects the attributes ds.model and ds.positions}}
module @no_attributes {
}

// -----

// expected-error@+1 {{expects ds.model to have a string 'task'}}
module @no_task attributes {ds.model = {family = "bert", name = "tiny"}, ds.positions = {rule = "arange"}} {
}

// -----

// expected-error@+1 {{expects ds.model to have a positive integer 'max_positions'}}
module @no_positions attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 0},
    ds.positions = {rule = "arange"}} {
}

// -----

// expected-error@+1 {{expects the task of ds.model to be one of the package format, got 'summarize'}}
module @odd_task attributes {
    ds.model = {family = "bert", name = "tiny", task = "summarize", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
}

// -----

// expected-error@+1 {{expects the rule of ds.positions to be arange, from_mask or from_ids}}
module @odd_rule attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "backwards"}} {
}

// -----

// expected-error@+1 {{expects a function of task encoder}}
module @no_function attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  // expected-error@+1 {{expects a function of task encoder}}
  func.func @forward() {
    return
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  // expected-error@+1 {{expects argument 0 to have a ds.name of its own}}
  func.func @encode(%ids: tensor<?x?xi32>) {
    return
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  // expected-error@+1 {{expects argument "input_ids" to be an input of the package format, got 'tensor<?xi32>'}}
  func.func @encode(%ids: tensor<?xi32> {ds.name = "input_ids"}) {
    return
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  // expected-error@+1 {{expects result "scores" to be an output of the package format}}
  func.func @encode(%x: tensor<?x?xi32> {ds.name = "input_ids"}) -> (tensor<?x?xi32> {ds.name = "scores"}) {
    return %x : tensor<?x?xi32>
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "masked-lm", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  ds.parameter @table from "table" : tensor<128x64xf32>
  // expected-error@+1 {{expects the results of task masked-lm}}
  func.func @encode(%ids: tensor<?x?xi32> {ds.name = "input_ids"}) -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %t = ds.weight @table : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    return %x : tensor<?x?x64xf32>
  }
}

// -----

module attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange"}} {
  // expected-error@+1 {{expects parameters, caches and functions alone}}
  ds_plan.program @encode max_batch 1 max_rows 1 arena 0 kv_bytes 0 {
  }
}
