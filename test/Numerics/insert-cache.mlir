// RUN: ds-opt --ds-insert-cache='context=16 keep-forward=1' %s -o %t.mlir
// RUN: ds-reference %t.mlir --function=forward --input=input_ids=1x3xi32=1,3,2 --input=positions=1x3xi32=0,1,2 --output=hidden=@%t.npy
// RUN: ds-reference %t.mlir --function=prefill --input=input_ids=1x3xi32=1,3,2 --input=positions=1x3xi32=0,1,2 --input=past=1xi32=0 --input=rows=1xi32=2 --compare=hidden=@%t.npy --atol=1e-7 --rtol=1e-6
// RUN: ds-reference %t.mlir --function=decode --input=input_ids=1x3xi32=1,3,2 --input=positions=1x3xi32=0,1,2 --input=past=1xi32=0 --input=rows=1xi32=2 --compare=hidden=@%t.npy --atol=1e-7 --rtol=1e-6

/// The cache holds what attention saw before, so the values are the same; the file between rounds them to f32.
module attributes {ds.model = {max_positions = 16}} {
  ds.parameter @table value dense<[[0.5, -1.0], [1.0, 0.25], [-0.5, 2.0], [0.125, 1.0]]> : tensor<4x2xf32> : tensor<4x2xf32>
  func.func @forward(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"})
      -> (tensor<?x?x2xf32> {ds.name = "hidden"}, tensor<?x?x4xf32> {ds.name = "logits"}) {
    %t = ds.weight @table : tensor<4x2xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<4x2xf32>
    %q = ds.rope half %x, %pos heads 1 rotary 2 base 1.0e4 : tensor<?x?x2xf32>, tensor<?x?xi32>
    %a = ds.attention %q, %q, %x heads 1 kv_heads 1 scale 0.5 causal : tensor<?x?x2xf32>, tensor<?x?x2xf32>
    %h = ds.add %x, %a : tensor<?x?x2xf32>
    %l = ds.linear %h, %t : tensor<?x?x2xf32>, tensor<4x2xf32>
    return %h, %l : tensor<?x?x2xf32>, tensor<?x?x4xf32>
  }
}
