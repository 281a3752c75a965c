// RUN: ds-opt --ds-verify-phase=phase=imported --split-input-file %s -o /dev/null
// RUN: ds-opt --ds-verify-phase=phase=normalized --split-input-file --verify-diagnostics %s
// RUN: not ds-opt --ds-verify-phase=phase=baked --split-input-file %s 2>&1 | FileCheck --check-prefix=UNKNOWN %s
// RUN: not ds-opt --ds-verify-phase --split-input-file %s 2>&1 | FileCheck --check-prefix=NONE %s

// UNKNOWN: expects phase to be imported, normalized or planned, got 'baked'
// NONE:    expects phase to be imported, normalized or planned, got ''

module attributes {ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
                   ds.positions = {rule = "arange", offset = 0, pad_id = 0}} {
  ds.parameter @table from "table" : tensor<128x64xf32>
  func.func @encode(%ids: tensor<?x?xi32> {ds.name = "input_ids"}) -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %t = ds.weight @table : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    return %x : tensor<?x?x64xf32>
  }
}

// -----

module @negative_dead_op attributes {
    ds.model = {family = "llama", name = "tiny", task = "causal-lm", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange", offset = 0, pad_id = 0}} {
  ds.parameter @table from "table" : tensor<128x64xf32>
  func.func @forward(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x?x128xf32> {ds.name = "logits"}) {
    %t = ds.weight @table : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    // expected-error@+1 {{expects an op whose result is read}}
    %y = ds.relu %x : tensor<?x?x64xf32>
    %l = ds.linear %x, %t : tensor<?x?x64xf32>, tensor<128x64xf32>
    return %x, %l : tensor<?x?x64xf32>, tensor<?x?x128xf32>
  }
}

// -----

module @negative_unused_parameter attributes {
    ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
    ds.positions = {rule = "arange", offset = 0, pad_id = 0}} {
  ds.parameter @table from "table" : tensor<128x64xf32>
  // expected-error@+1 {{expects a parameter that a function reads}}
  ds.parameter @pooler from "pooler" : tensor<64x64xf32>
  func.func @encode(%ids: tensor<?x?xi32> {ds.name = "input_ids"}) -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %t = ds.weight @table : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    return %x : tensor<?x?x64xf32>
  }
}
