module attributes {ds.model = {bos = [1], eos = [2], family = "llama", hidden_size = 16 : i64, labels = [], layers = 2 : i64, max_positions = 16 : i64, name = "llama", pad, task = "causal-lm", vocab_size = 24 : i64}, ds.positions = {offset = 0 : i64, pad_id = 0 : i64, rule = "arange"}} {
  ds.parameter @model.embed_tokens.weight from "model.embed_tokens.weight" : tensor<24x16xf32>
  ds.parameter @model.layers.0.input_layernorm.weight from "model.layers.0.input_layernorm.weight" : tensor<16xf32>
  ds.parameter @model.layers.0.self_attn.v_proj.weight from "model.layers.0.self_attn.v_proj.weight" : tensor<8x16xf32>
  ds.parameter @model.layers.0.self_attn.q_proj.weight from "model.layers.0.self_attn.q_proj.weight" : tensor<16x16xf32>
  ds.parameter @model.layers.0.self_attn.k_proj.weight from "model.layers.0.self_attn.k_proj.weight" : tensor<8x16xf32>
  ds.parameter @model.layers.0.self_attn.o_proj.weight from "model.layers.0.self_attn.o_proj.weight" : tensor<16x16xf32>
  ds.parameter @model.layers.0.post_attention_layernorm.weight from "model.layers.0.post_attention_layernorm.weight" : tensor<16xf32>
  ds.parameter @model.layers.0.mlp.gate_proj.weight from "model.layers.0.mlp.gate_proj.weight" : tensor<20x16xf32>
  ds.parameter @model.layers.0.mlp.up_proj.weight from "model.layers.0.mlp.up_proj.weight" : tensor<20x16xf32>
  ds.parameter @model.layers.0.mlp.down_proj.weight from "model.layers.0.mlp.down_proj.weight" : tensor<16x20xf32>
  ds.parameter @model.layers.1.input_layernorm.weight from "model.layers.1.input_layernorm.weight" : tensor<16xf32>
  ds.parameter @model.layers.1.self_attn.v_proj.weight from "model.layers.1.self_attn.v_proj.weight" : tensor<8x16xf32>
  ds.parameter @model.layers.1.self_attn.q_proj.weight from "model.layers.1.self_attn.q_proj.weight" : tensor<16x16xf32>
  ds.parameter @model.layers.1.self_attn.k_proj.weight from "model.layers.1.self_attn.k_proj.weight" : tensor<8x16xf32>
  ds.parameter @model.layers.1.self_attn.o_proj.weight from "model.layers.1.self_attn.o_proj.weight" : tensor<16x16xf32>
  ds.parameter @model.layers.1.post_attention_layernorm.weight from "model.layers.1.post_attention_layernorm.weight" : tensor<16xf32>
  ds.parameter @model.layers.1.mlp.gate_proj.weight from "model.layers.1.mlp.gate_proj.weight" : tensor<20x16xf32>
  ds.parameter @model.layers.1.mlp.up_proj.weight from "model.layers.1.mlp.up_proj.weight" : tensor<20x16xf32>
  ds.parameter @model.layers.1.mlp.down_proj.weight from "model.layers.1.mlp.down_proj.weight" : tensor<16x20xf32>
  ds.parameter @model.norm.weight from "model.norm.weight" : tensor<16xf32>
  ds.parameter @lm_head.weight from "lm_head.weight" : tensor<24x16xf32>
  func.func @forward(%arg0: tensor<?x?xi32> {ds.name = "input_ids"}, %arg1: tensor<?x?xi32> {ds.name = "positions"}) -> (tensor<?x?x16xf32> {ds.name = "hidden"}, tensor<?x?x24xf32> {ds.name = "logits"}) {
    %0 = ds.weight @model.embed_tokens.weight : tensor<24x16xf32>
    %1 = ds.embedding %arg0, %0 : tensor<?x?xi32>, tensor<24x16xf32>
    %2 = ds.layer "model.layers.0"(%1) : (tensor<?x?x16xf32>) -> tensor<?x?x16xf32> {
    ^bb0(%arg2: tensor<?x?x16xf32>):
      %8 = ds.weight @model.layers.0.input_layernorm.weight : tensor<16xf32>
      %9 = ds.rms_norm %arg2, %8 eps 9.9999999999999995E-7 : tensor<?x?x16xf32>, tensor<16xf32>
      %10 = ds.weight @model.layers.0.self_attn.v_proj.weight : tensor<8x16xf32>
      %11 = ds.linear %9, %10 : tensor<?x?x16xf32>, tensor<8x16xf32>
      %12 = ds.weight @model.layers.0.self_attn.q_proj.weight : tensor<16x16xf32>
      %13 = ds.linear %9, %12 : tensor<?x?x16xf32>, tensor<16x16xf32>
      %14 = ds.weight @model.layers.0.self_attn.k_proj.weight : tensor<8x16xf32>
      %15 = ds.linear %9, %14 : tensor<?x?x16xf32>, tensor<8x16xf32>
      %16 = ds.rope  half %13, %arg1 heads 4 rotary 4 base 1.000000e+04 : tensor<?x?x16xf32>, tensor<?x?xi32>
      %17 = ds.rope  half %15, %arg1 heads 2 rotary 4 base 1.000000e+04 : tensor<?x?x8xf32>, tensor<?x?xi32>
      %18 = ds.attention %16, %17, %11 heads 4 kv_heads 2 scale 5.000000e-01 causal : tensor<?x?x16xf32>, tensor<?x?x8xf32>
      %19 = ds.weight @model.layers.0.self_attn.o_proj.weight : tensor<16x16xf32>
      %20 = ds.linear %18, %19 : tensor<?x?x16xf32>, tensor<16x16xf32>
      %21 = ds.add %20, %arg2 : tensor<?x?x16xf32>
      %22 = ds.weight @model.layers.0.post_attention_layernorm.weight : tensor<16xf32>
      %23 = ds.rms_norm %21, %22 eps 9.9999999999999995E-7 : tensor<?x?x16xf32>, tensor<16xf32>
      %24 = ds.weight @model.layers.0.mlp.gate_proj.weight : tensor<20x16xf32>
      %25 = ds.linear %23, %24 : tensor<?x?x16xf32>, tensor<20x16xf32>
      %26 = ds.silu %25 : tensor<?x?x20xf32>
      %27 = ds.weight @model.layers.0.mlp.up_proj.weight : tensor<20x16xf32>
      %28 = ds.linear %23, %27 : tensor<?x?x16xf32>, tensor<20x16xf32>
      %29 = ds.mul %26, %28 : tensor<?x?x20xf32>
      %30 = ds.weight @model.layers.0.mlp.down_proj.weight : tensor<16x20xf32>
      %31 = ds.linear %29, %30 : tensor<?x?x20xf32>, tensor<16x20xf32>
      %32 = ds.add %31, %21 : tensor<?x?x16xf32>
      ds.yield %32 : tensor<?x?x16xf32>
    }
    %3 = ds.layer "model.layers.1"(%2) : (tensor<?x?x16xf32>) -> tensor<?x?x16xf32> {
    ^bb0(%arg2: tensor<?x?x16xf32>):
      %8 = ds.weight @model.layers.1.input_layernorm.weight : tensor<16xf32>
      %9 = ds.rms_norm %arg2, %8 eps 9.9999999999999995E-7 : tensor<?x?x16xf32>, tensor<16xf32>
      %10 = ds.weight @model.layers.1.self_attn.v_proj.weight : tensor<8x16xf32>
      %11 = ds.linear %9, %10 : tensor<?x?x16xf32>, tensor<8x16xf32>
      %12 = ds.weight @model.layers.1.self_attn.q_proj.weight : tensor<16x16xf32>
      %13 = ds.linear %9, %12 : tensor<?x?x16xf32>, tensor<16x16xf32>
      %14 = ds.weight @model.layers.1.self_attn.k_proj.weight : tensor<8x16xf32>
      %15 = ds.linear %9, %14 : tensor<?x?x16xf32>, tensor<8x16xf32>
      %16 = ds.rope  half %13, %arg1 heads 4 rotary 4 base 1.000000e+04 : tensor<?x?x16xf32>, tensor<?x?xi32>
      %17 = ds.rope  half %15, %arg1 heads 2 rotary 4 base 1.000000e+04 : tensor<?x?x8xf32>, tensor<?x?xi32>
      %18 = ds.attention %16, %17, %11 heads 4 kv_heads 2 scale 5.000000e-01 causal : tensor<?x?x16xf32>, tensor<?x?x8xf32>
      %19 = ds.weight @model.layers.1.self_attn.o_proj.weight : tensor<16x16xf32>
      %20 = ds.linear %18, %19 : tensor<?x?x16xf32>, tensor<16x16xf32>
      %21 = ds.add %20, %arg2 : tensor<?x?x16xf32>
      %22 = ds.weight @model.layers.1.post_attention_layernorm.weight : tensor<16xf32>
      %23 = ds.rms_norm %21, %22 eps 9.9999999999999995E-7 : tensor<?x?x16xf32>, tensor<16xf32>
      %24 = ds.weight @model.layers.1.mlp.gate_proj.weight : tensor<20x16xf32>
      %25 = ds.linear %23, %24 : tensor<?x?x16xf32>, tensor<20x16xf32>
      %26 = ds.silu %25 : tensor<?x?x20xf32>
      %27 = ds.weight @model.layers.1.mlp.up_proj.weight : tensor<20x16xf32>
      %28 = ds.linear %23, %27 : tensor<?x?x16xf32>, tensor<20x16xf32>
      %29 = ds.mul %26, %28 : tensor<?x?x20xf32>
      %30 = ds.weight @model.layers.1.mlp.down_proj.weight : tensor<16x20xf32>
      %31 = ds.linear %29, %30 : tensor<?x?x20xf32>, tensor<16x20xf32>
      %32 = ds.add %31, %21 : tensor<?x?x16xf32>
      ds.yield %32 : tensor<?x?x16xf32>
    }
    %4 = ds.weight @model.norm.weight : tensor<16xf32>
    %5 = ds.rms_norm %3, %4 eps 9.9999999999999995E-7 : tensor<?x?x16xf32>, tensor<16xf32>
    %6 = ds.weight @lm_head.weight : tensor<24x16xf32>
    %7 = ds.linear %5, %6 : tensor<?x?x16xf32>, tensor<24x16xf32>
    return %5, %7 : tensor<?x?x16xf32>, tensor<?x?x24xf32>
  }
}

