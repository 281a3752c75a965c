// RUN: ds-opt --ds-observe-inputs %s | FileCheck %s

/// A value is named after the first matrix that reads it, also one that is a result already. Layers are inlined.
module attributes {ds.model = {family = "llama", hidden_size = 32 : i64, labels = [], layers = 1 : i64, max_positions = 64 : i64, name = "m", task = "causal-lm", vocab_size = 64 : i64}} {
  ds.parameter @q from "q.weight" : tensor<32x32xf32>
  ds.parameter @k from "k.weight" : tensor<16x32xf32>
  ds.parameter @o from "o.weight" : tensor<32x32xf32>
  ds.parameter @head from "head.weight" : tensor<64x32xf32>

  // CHECK-LABEL: func.func @forward
  // CHECK-SAME:  tensor<?x?x32xf32> {ds.name = "hidden"}, tensor<?x?x64xf32> {ds.name = "logits"}, tensor<?x?x32xf32> {ds.name = "input:q.weight"}, tensor<?x?x32xf32> {ds.name = "input:o.weight"}, tensor<?x?x32xf32> {ds.name = "input:head.weight"})
  func.func @forward(%x: tensor<?x?x32xf32> {ds.name = "x"}) -> (tensor<?x?x32xf32> {ds.name = "hidden"}, tensor<?x?x64xf32> {ds.name = "logits"}) {
    // CHECK-NOT: ds.layer
    %y = ds.layer "layer.0"(%x) : (tensor<?x?x32xf32>) -> tensor<?x?x32xf32> {
    ^bb0(%h: tensor<?x?x32xf32>):
      // CHECK: %[[NORMED:.*]] = ds.relu
      %n = ds.relu %h : tensor<?x?x32xf32>
      %wq = ds.weight @q : tensor<32x32xf32>
      %wk = ds.weight @k : tensor<16x32xf32>
      // CHECK: %[[Q:.*]] = ds.linear %[[NORMED]]
      %q = ds.linear %n, %wq : tensor<?x?x32xf32>, tensor<32x32xf32>
      %k = ds.linear %n, %wk : tensor<?x?x32xf32>, tensor<16x32xf32>
      %wo = ds.weight @o : tensor<32x32xf32>
      %o = ds.linear %q, %wo : tensor<?x?x32xf32>, tensor<32x32xf32>
      ds.yield %o : tensor<?x?x32xf32>
    }
    /// Not of the model's files.
    %w1 = ds.constant dense<1.0> : tensor<32x32xf32>
    %a = ds.silu %y : tensor<?x?x32xf32>
    %z = ds.linear %a, %w1 : tensor<?x?x32xf32>, tensor<32x32xf32>
    /// The second value of a matrix has no name.
    %wq = ds.weight @q : tensor<32x32xf32>
    %b = ds.silu %z : tensor<?x?x32xf32>
    %hidden = ds.linear %b, %wq : tensor<?x?x32xf32>, tensor<32x32xf32>
    %wh = ds.weight @head : tensor<64x32xf32>
    %logits = ds.linear %hidden, %wh : tensor<?x?x32xf32>, tensor<64x32xf32>
    // CHECK: return %[[HIDDEN:[0-9]+]], %{{[0-9]+}}, %[[NORMED]], %[[Q]], %[[HIDDEN]] :
    return %hidden, %logits : tensor<?x?x32xf32>, tensor<?x?x64xf32>
  }
}
