// RUN: ds-opt --ds-normalize %s | FileCheck %s

/// One weight op for each parameter, nothing unused.
// CHECK-NOT:   @pooler
// CHECK-LABEL: func.func @encode
// CHECK-NEXT:    ds.weight @table
// CHECK-NEXT:    %[[X:.*]] = ds.embedding
// CHECK-NEXT:    %[[Y:.*]] = ds.relu %[[X]]
// CHECK-NEXT:    ds.add %[[Y]], %[[Y]]
// CHECK-NEXT:    return
module attributes {ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128, hidden_size = 64, layers = 0, max_positions = 64},
                   ds.positions = {rule = "arange", offset = 0, pad_id = 0}} {
  ds.parameter @table from "table" : tensor<128x64xf32>
  ds.parameter @pooler from "pooler" : tensor<64x64xf32>
  func.func @encode(%ids: tensor<?x?xi32> {ds.name = "input_ids"}) -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %t = ds.weight @table : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    %again = ds.weight @table : tensor<128x64xf32>
    %y = ds.embedding %ids, %again : tensor<?x?xi32>, tensor<128x64xf32>
    %a = ds.relu %x : tensor<?x?x64xf32>
    %b = ds.relu %y : tensor<?x?x64xf32>
    %dead = ds.silu %y : tensor<?x?x64xf32>
    %c = ds.add %a, %b : tensor<?x?x64xf32>
    return %c : tensor<?x?x64xf32>
  }
}
