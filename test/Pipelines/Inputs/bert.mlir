module attributes {ds.model = {family = "bert", name = "tiny", task = "encoder", vocab_size = 128 : i64, hidden_size = 64 : i64, layers = 1 : i64,
                               max_positions = 64 : i64, labels = []},
                   ds.positions = {rule = "arange", offset = 0 : i64, pad_id = 0 : i64}} {
  ds.parameter @word from "embeddings.word_embeddings.weight" : tensor<128x64xf32>
  ds.parameter @position from "embeddings.position_embeddings.weight" : tensor<64x64xf32>
  ds.parameter @type from "embeddings.token_type_embeddings.weight" : tensor<2x64xf32>
  ds.parameter @g from "embeddings.LayerNorm.weight" : tensor<64xf32>
  ds.parameter @b from "embeddings.LayerNorm.bias" : tensor<64xf32>
  ds.parameter @q from "q" : tensor<64x64xf32>
  ds.parameter @k from "k" : tensor<64x64xf32>
  ds.parameter @v from "v" : tensor<64x64xf32>
  ds.parameter @o from "o" : tensor<64x64xf32>
  ds.parameter @up from "up" : tensor<192x64xf32>
  ds.parameter @upb from "upb" : tensor<192xf32>
  ds.parameter @down from "down" : tensor<64x192xf32>
  func.func @encode(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"},
                    %mask: tensor<?x?xi32> {ds.name = "mask"}, %types: tensor<?x?xi32> {ds.name = "token_type_ids"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x64xf32> {ds.name = "embedding"}) {
    %ww = ds.weight @word : tensor<128x64xf32>
    %pw = ds.weight @position : tensor<64x64xf32>
    %tw = ds.weight @type : tensor<2x64xf32>
    %0 = ds.embedding %ids, %ww : tensor<?x?xi32>, tensor<128x64xf32>
    %1 = ds.embedding %pos, %pw : tensor<?x?xi32>, tensor<64x64xf32>
    %2 = ds.embedding %types, %tw : tensor<?x?xi32>, tensor<2x64xf32>
    %3 = ds.add %0, %1 : tensor<?x?x64xf32>
    %4 = ds.add %3, %2 : tensor<?x?x64xf32>
    %g = ds.weight @g : tensor<64xf32>
    %b = ds.weight @b : tensor<64xf32>
    %5 = ds.layer_norm %4, %g bias %b eps 1.0e-12 : tensor<?x?x64xf32>, tensor<64xf32>, tensor<64xf32>
    %6 = ds.layer "encoder.layer.0"(%5) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%h: tensor<?x?x64xf32>):
      %qw = ds.weight @q : tensor<64x64xf32>
      %kw = ds.weight @k : tensor<64x64xf32>
      %vw = ds.weight @v : tensor<64x64xf32>
      %ow = ds.weight @o : tensor<64x64xf32>
      %q = ds.linear %h, %qw bias %b : tensor<?x?x64xf32>, tensor<64x64xf32>, tensor<64xf32>
      %k = ds.linear %h, %kw bias %b : tensor<?x?x64xf32>, tensor<64x64xf32>, tensor<64xf32>
      %v = ds.linear %h, %vw bias %b : tensor<?x?x64xf32>, tensor<64x64xf32>, tensor<64xf32>
      %c = ds.attention %q, %k, %v mask %mask : tensor<?x?xi32> heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
      %o = ds.linear %c, %ow bias %b : tensor<?x?x64xf32>, tensor<64x64xf32>, tensor<64xf32>
      %h1 = ds.add %h, %o : tensor<?x?x64xf32>
      %n = ds.layer_norm %h1, %g bias %b eps 1.0e-12 : tensor<?x?x64xf32>, tensor<64xf32>, tensor<64xf32>
      %uw = ds.weight @up : tensor<192x64xf32>
      %ub = ds.weight @upb : tensor<192xf32>
      %dw = ds.weight @down : tensor<64x192xf32>
      %u = ds.linear %n, %uw bias %ub : tensor<?x?x64xf32>, tensor<192x64xf32>, tensor<192xf32>
      %a = ds.gelu erf %u : tensor<?x?x192xf32>
      %d = ds.linear %a, %dw bias %b : tensor<?x?x192xf32>, tensor<64x192xf32>, tensor<64xf32>
      %h2 = ds.add %n, %d : tensor<?x?x64xf32>
      ds.yield %h2 : tensor<?x?x64xf32>
    }
    %p = ds.pool mean %6 mask %mask : tensor<?x?x64xf32>, tensor<?x?xi32>
    %e = ds.l2_normalize %p eps 1.0e-12 : tensor<?x64xf32>
    return %6, %e : tensor<?x?x64xf32>, tensor<?x64xf32>
  }
}
