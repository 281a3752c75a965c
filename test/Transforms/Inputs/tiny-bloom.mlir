module attributes {ds.model = {bos = [1], eos = [2], family = "bloom", hidden_size = 12 : i64, labels = [], layers = 2 : i64, max_positions = 2048 : i64, name = "bloom", pad, task = "causal-lm", vocab_size = 24 : i64}, ds.positions = {offset = 0 : i64, pad_id = 0 : i64, rule = "arange"}} {
  ds.parameter @transformer.word_embeddings.weight from "transformer.word_embeddings.weight" : tensor<24x12xf32>
  ds.parameter @transformer.word_embeddings_layernorm.weight from "transformer.word_embeddings_layernorm.weight" : tensor<12xf32>
  ds.parameter @transformer.word_embeddings_layernorm.bias from "transformer.word_embeddings_layernorm.bias" : tensor<12xf32>
  ds.parameter @transformer.h.0.input_layernorm.weight from "transformer.h.0.input_layernorm.weight" : tensor<12xf32>
  ds.parameter @transformer.h.0.input_layernorm.bias from "transformer.h.0.input_layernorm.bias" : tensor<12xf32>
  ds.parameter @transformer.h.0.self_attention.query_key_value.weight.q from "transformer.h.0.self_attention.query_key_value.weight" view <0, [3, 4, 12], [144, 12, 1]> : tensor<12x12xf32>
  ds.parameter @transformer.h.0.self_attention.query_key_value.bias.q from "transformer.h.0.self_attention.query_key_value.bias" view <0, [3, 4], [12, 1]> : tensor<12xf32>
  ds.parameter @transformer.h.0.self_attention.query_key_value.weight.k from "transformer.h.0.self_attention.query_key_value.weight" view <48, [3, 4, 12], [144, 12, 1]> : tensor<12x12xf32>
  ds.parameter @transformer.h.0.self_attention.query_key_value.bias.k from "transformer.h.0.self_attention.query_key_value.bias" view <4, [3, 4], [12, 1]> : tensor<12xf32>
  ds.parameter @transformer.h.0.self_attention.query_key_value.weight.v from "transformer.h.0.self_attention.query_key_value.weight" view <96, [3, 4, 12], [144, 12, 1]> : tensor<12x12xf32>
  ds.parameter @transformer.h.0.self_attention.query_key_value.bias.v from "transformer.h.0.self_attention.query_key_value.bias" view <8, [3, 4], [12, 1]> : tensor<12xf32>
  ds.parameter @transformer.h.0.self_attention.dense.weight from "transformer.h.0.self_attention.dense.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.0.self_attention.dense.bias from "transformer.h.0.self_attention.dense.bias" : tensor<12xf32>
  ds.parameter @transformer.h.0.post_attention_layernorm.weight from "transformer.h.0.post_attention_layernorm.weight" : tensor<12xf32>
  ds.parameter @transformer.h.0.post_attention_layernorm.bias from "transformer.h.0.post_attention_layernorm.bias" : tensor<12xf32>
  ds.parameter @transformer.h.0.mlp.dense_h_to_4h.weight from "transformer.h.0.mlp.dense_h_to_4h.weight" : tensor<48x12xf32>
  ds.parameter @transformer.h.0.mlp.dense_h_to_4h.bias from "transformer.h.0.mlp.dense_h_to_4h.bias" : tensor<48xf32>
  ds.parameter @transformer.h.0.mlp.dense_4h_to_h.weight from "transformer.h.0.mlp.dense_4h_to_h.weight" : tensor<12x48xf32>
  ds.parameter @transformer.h.0.mlp.dense_4h_to_h.bias from "transformer.h.0.mlp.dense_4h_to_h.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.input_layernorm.weight from "transformer.h.1.input_layernorm.weight" : tensor<12xf32>
  ds.parameter @transformer.h.1.input_layernorm.bias from "transformer.h.1.input_layernorm.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.self_attention.query_key_value.weight.q from "transformer.h.1.self_attention.query_key_value.weight" view <0, [3, 4, 12], [144, 12, 1]> : tensor<12x12xf32>
  ds.parameter @transformer.h.1.self_attention.query_key_value.bias.q from "transformer.h.1.self_attention.query_key_value.bias" view <0, [3, 4], [12, 1]> : tensor<12xf32>
  ds.parameter @transformer.h.1.self_attention.query_key_value.weight.k from "transformer.h.1.self_attention.query_key_value.weight" view <48, [3, 4, 12], [144, 12, 1]> : tensor<12x12xf32>
  ds.parameter @transformer.h.1.self_attention.query_key_value.bias.k from "transformer.h.1.self_attention.query_key_value.bias" view <4, [3, 4], [12, 1]> : tensor<12xf32>
  ds.parameter @transformer.h.1.self_attention.query_key_value.weight.v from "transformer.h.1.self_attention.query_key_value.weight" view <96, [3, 4, 12], [144, 12, 1]> : tensor<12x12xf32>
  ds.parameter @transformer.h.1.self_attention.query_key_value.bias.v from "transformer.h.1.self_attention.query_key_value.bias" view <8, [3, 4], [12, 1]> : tensor<12xf32>
  ds.parameter @transformer.h.1.self_attention.dense.weight from "transformer.h.1.self_attention.dense.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.1.self_attention.dense.bias from "transformer.h.1.self_attention.dense.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.post_attention_layernorm.weight from "transformer.h.1.post_attention_layernorm.weight" : tensor<12xf32>
  ds.parameter @transformer.h.1.post_attention_layernorm.bias from "transformer.h.1.post_attention_layernorm.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.mlp.dense_h_to_4h.weight from "transformer.h.1.mlp.dense_h_to_4h.weight" : tensor<48x12xf32>
  ds.parameter @transformer.h.1.mlp.dense_h_to_4h.bias from "transformer.h.1.mlp.dense_h_to_4h.bias" : tensor<48xf32>
  ds.parameter @transformer.h.1.mlp.dense_4h_to_h.weight from "transformer.h.1.mlp.dense_4h_to_h.weight" : tensor<12x48xf32>
  ds.parameter @transformer.h.1.mlp.dense_4h_to_h.bias from "transformer.h.1.mlp.dense_4h_to_h.bias" : tensor<12xf32>
  ds.parameter @transformer.ln_f.weight from "transformer.ln_f.weight" : tensor<12xf32>
  ds.parameter @transformer.ln_f.bias from "transformer.ln_f.bias" : tensor<12xf32>
  func.func @forward(%arg0: tensor<?x?xi32> {ds.name = "input_ids"}, %arg1: tensor<?x?xi32> {ds.name = "positions"}) -> (tensor<?x?x12xf32> {ds.name = "hidden"}, tensor<?x?x24xf32> {ds.name = "logits"}) {
    %0 = ds.constant dense<[6.250000e-02, 3.906250e-03, 2.500000e-01]> : tensor<3xf32>
    %1 = ds.weight @transformer.word_embeddings.weight : tensor<24x12xf32>
    %2 = ds.embedding %arg0, %1 : tensor<?x?xi32>, tensor<24x12xf32>
    %3 = ds.weight @transformer.word_embeddings_layernorm.weight : tensor<12xf32>
    %4 = ds.weight @transformer.word_embeddings_layernorm.bias : tensor<12xf32>
    %5 = ds.layer_norm %2, %3 bias %4 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
    %6 = ds.layer "transformer.h.0"(%5) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg2: tensor<?x?x12xf32>):
      %12 = ds.weight @transformer.h.0.input_layernorm.weight : tensor<12xf32>
      %13 = ds.weight @transformer.h.0.input_layernorm.bias : tensor<12xf32>
      %14 = ds.layer_norm %arg2, %12 bias %13 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %15 = ds.weight @transformer.h.0.self_attention.query_key_value.weight.q : tensor<12x12xf32>
      %16 = ds.weight @transformer.h.0.self_attention.query_key_value.bias.q : tensor<12xf32>
      %17 = ds.linear %14, %15 bias %16 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %18 = ds.weight @transformer.h.0.self_attention.query_key_value.weight.k : tensor<12x12xf32>
      %19 = ds.weight @transformer.h.0.self_attention.query_key_value.bias.k : tensor<12xf32>
      %20 = ds.linear %14, %18 bias %19 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %21 = ds.weight @transformer.h.0.self_attention.query_key_value.weight.v : tensor<12x12xf32>
      %22 = ds.weight @transformer.h.0.self_attention.query_key_value.bias.v : tensor<12xf32>
      %23 = ds.linear %14, %21 bias %22 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %24 = ds.attention %17, %20, %23 slopes %0 : tensor<3xf32> heads 3 kv_heads 3 scale 5.000000e-01 causal : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %25 = ds.weight @transformer.h.0.self_attention.dense.weight : tensor<12x12xf32>
      %26 = ds.weight @transformer.h.0.self_attention.dense.bias : tensor<12xf32>
      %27 = ds.linear %24, %25 bias %26 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %28 = ds.add %27, %arg2 : tensor<?x?x12xf32>
      %29 = ds.weight @transformer.h.0.post_attention_layernorm.weight : tensor<12xf32>
      %30 = ds.weight @transformer.h.0.post_attention_layernorm.bias : tensor<12xf32>
      %31 = ds.layer_norm %28, %29 bias %30 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %32 = ds.weight @transformer.h.0.mlp.dense_h_to_4h.weight : tensor<48x12xf32>
      %33 = ds.weight @transformer.h.0.mlp.dense_h_to_4h.bias : tensor<48xf32>
      %34 = ds.linear %31, %32 bias %33 : tensor<?x?x12xf32>, tensor<48x12xf32>, tensor<48xf32>
      %35 = ds.gelu  tanh %34 : tensor<?x?x48xf32>
      %36 = ds.weight @transformer.h.0.mlp.dense_4h_to_h.weight : tensor<12x48xf32>
      %37 = ds.weight @transformer.h.0.mlp.dense_4h_to_h.bias : tensor<12xf32>
      %38 = ds.linear %35, %36 bias %37 : tensor<?x?x48xf32>, tensor<12x48xf32>, tensor<12xf32>
      %39 = ds.add %38, %28 : tensor<?x?x12xf32>
      ds.yield %39 : tensor<?x?x12xf32>
    }
    %7 = ds.layer "transformer.h.1"(%6) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg2: tensor<?x?x12xf32>):
      %12 = ds.weight @transformer.h.1.input_layernorm.weight : tensor<12xf32>
      %13 = ds.weight @transformer.h.1.input_layernorm.bias : tensor<12xf32>
      %14 = ds.layer_norm %arg2, %12 bias %13 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %15 = ds.weight @transformer.h.1.self_attention.query_key_value.weight.q : tensor<12x12xf32>
      %16 = ds.weight @transformer.h.1.self_attention.query_key_value.bias.q : tensor<12xf32>
      %17 = ds.linear %14, %15 bias %16 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %18 = ds.weight @transformer.h.1.self_attention.query_key_value.weight.k : tensor<12x12xf32>
      %19 = ds.weight @transformer.h.1.self_attention.query_key_value.bias.k : tensor<12xf32>
      %20 = ds.linear %14, %18 bias %19 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %21 = ds.weight @transformer.h.1.self_attention.query_key_value.weight.v : tensor<12x12xf32>
      %22 = ds.weight @transformer.h.1.self_attention.query_key_value.bias.v : tensor<12xf32>
      %23 = ds.linear %14, %21 bias %22 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %24 = ds.attention %17, %20, %23 slopes %0 : tensor<3xf32> heads 3 kv_heads 3 scale 5.000000e-01 causal : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %25 = ds.weight @transformer.h.1.self_attention.dense.weight : tensor<12x12xf32>
      %26 = ds.weight @transformer.h.1.self_attention.dense.bias : tensor<12xf32>
      %27 = ds.linear %24, %25 bias %26 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %28 = ds.add %27, %arg2 : tensor<?x?x12xf32>
      %29 = ds.weight @transformer.h.1.post_attention_layernorm.weight : tensor<12xf32>
      %30 = ds.weight @transformer.h.1.post_attention_layernorm.bias : tensor<12xf32>
      %31 = ds.layer_norm %28, %29 bias %30 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %32 = ds.weight @transformer.h.1.mlp.dense_h_to_4h.weight : tensor<48x12xf32>
      %33 = ds.weight @transformer.h.1.mlp.dense_h_to_4h.bias : tensor<48xf32>
      %34 = ds.linear %31, %32 bias %33 : tensor<?x?x12xf32>, tensor<48x12xf32>, tensor<48xf32>
      %35 = ds.gelu  tanh %34 : tensor<?x?x48xf32>
      %36 = ds.weight @transformer.h.1.mlp.dense_4h_to_h.weight : tensor<12x48xf32>
      %37 = ds.weight @transformer.h.1.mlp.dense_4h_to_h.bias : tensor<12xf32>
      %38 = ds.linear %35, %36 bias %37 : tensor<?x?x48xf32>, tensor<12x48xf32>, tensor<12xf32>
      %39 = ds.add %38, %28 : tensor<?x?x12xf32>
      ds.yield %39 : tensor<?x?x12xf32>
    }
    %8 = ds.weight @transformer.ln_f.weight : tensor<12xf32>
    %9 = ds.weight @transformer.ln_f.bias : tensor<12xf32>
    %10 = ds.layer_norm %7, %8 bias %9 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
    %11 = ds.linear %10, %1 : tensor<?x?x12xf32>, tensor<24x12xf32>
    return %10, %11 : tensor<?x?x12xf32>, tensor<?x?x24xf32>
  }
}

