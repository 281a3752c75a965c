module attributes {ds.model = {family = "llama", name = "tiny", task = "causal-lm", vocab_size = 128 : i64, hidden_size = 64 : i64, layers = 2 : i64,
                               max_positions = 256 : i64, bos = [1], eos = [2], labels = []},
                   ds.positions = {rule = "arange", offset = 0 : i64, pad_id = 0 : i64}} {
  ds.parameter @embed from "model.embed_tokens.weight" : tensor<128x64xf32>
  ds.parameter @norm from "model.norm.weight" : tensor<64xf32>
  ds.parameter @unused from "unused" : tensor<64xf32>
  ds.parameter @n1 from "model.layers.0.input_layernorm.weight" : tensor<64xf32>
  ds.parameter @q from "model.layers.0.self_attn.q_proj.weight" : tensor<64x64xf32>
  ds.parameter @k from "model.layers.0.self_attn.k_proj.weight" : tensor<32x64xf32>
  ds.parameter @v from "model.layers.0.self_attn.v_proj.weight" : tensor<32x64xf32>
  ds.parameter @o from "model.layers.0.self_attn.o_proj.weight" : tensor<64x64xf32>
  ds.parameter @n2 from "model.layers.0.post_attention_layernorm.weight" : tensor<64xf32>
  ds.parameter @gate from "model.layers.0.mlp.gate_proj.weight" : tensor<192x64xf32>
  ds.parameter @up from "model.layers.0.mlp.up_proj.weight" : tensor<192x64xf32>
  ds.parameter @down from "model.layers.0.mlp.down_proj.weight" : tensor<64x192xf32>
  func.func @forward(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x?x128xf32> {ds.name = "logits"}) {
    %e = ds.weight @embed : tensor<128x64xf32>
    %x = ds.embedding %ids, %e : tensor<?x?xi32>, tensor<128x64xf32>
    %y = ds.layer "model.layers.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%h: tensor<?x?x64xf32>):
      %n1 = ds.weight @n1 : tensor<64xf32>
      %a = ds.rms_norm %h, %n1 eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32> loc("model.layers.0.input_layernorm")
      %qw = ds.weight @q : tensor<64x64xf32>
      %kw = ds.weight @k : tensor<32x64xf32>
      %vw = ds.weight @v : tensor<32x64xf32>
      %q = ds.linear %a, %qw : tensor<?x?x64xf32>, tensor<64x64xf32> loc("model.layers.0.self_attn.q_proj")
      %k = ds.linear %a, %kw : tensor<?x?x64xf32>, tensor<32x64xf32>
      %v = ds.linear %a, %vw : tensor<?x?x64xf32>, tensor<32x64xf32>
      %qr = ds.rope half %q, %pos heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
      %kr = ds.rope half %k, %pos heads 2 rotary 16 base 1.0e4 : tensor<?x?x32xf32>, tensor<?x?xi32>
      %c = ds.attention %qr, %kr, %v heads 4 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x32xf32>
      %ow = ds.weight @o : tensor<64x64xf32>
      %o = ds.linear %c, %ow : tensor<?x?x64xf32>, tensor<64x64xf32>
      %h1 = ds.add %h, %o : tensor<?x?x64xf32>
      %n2 = ds.weight @n2 : tensor<64xf32>
      %m = ds.rms_norm %h1, %n2 eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
      %gw = ds.weight @gate : tensor<192x64xf32>
      %uw = ds.weight @up : tensor<192x64xf32>
      %dw = ds.weight @down : tensor<64x192xf32>
      %g = ds.linear %m, %gw : tensor<?x?x64xf32>, tensor<192x64xf32>
      %u = ds.linear %m, %uw : tensor<?x?x64xf32>, tensor<192x64xf32>
      %s = ds.silu %g : tensor<?x?x192xf32>
      %p = ds.mul %s, %u : tensor<?x?x192xf32>
      %d = ds.linear %p, %dw : tensor<?x?x192xf32>, tensor<64x192xf32>
      %h2 = ds.add %h1, %d : tensor<?x?x64xf32>
      ds.yield %h2 : tensor<?x?x64xf32>
    }
    %nw = ds.weight @norm : tensor<64xf32>
    %n = ds.rms_norm %y, %nw eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    %l = ds.linear %n, %e : tensor<?x?x64xf32>, tensor<128x64xf32>
    return %n, %l : tensor<?x?x64xf32>, tensor<?x?x128xf32>
  }
}
