module attributes {ds.model = {bos = [2], eos = [2], family = "opt", hidden_size = 12 : i64, labels = [], layers = 2 : i64, max_positions = 16 : i64, name = "opt-postnorm", pad = 1 : i64, task = "causal-lm", vocab_size = 24 : i64}, ds.positions = {offset = 2 : i64, pad_id = 0 : i64, rule = "from_mask"}} {
  ds.parameter @model.decoder.embed_tokens.weight from "model.decoder.embed_tokens.weight" : tensor<24x12xf32>
  ds.parameter @model.decoder.embed_positions.weight from "model.decoder.embed_positions.weight" : tensor<18x12xf32>
  ds.parameter @model.decoder.layers.0.self_attn.q_proj.weight from "model.decoder.layers.0.self_attn.q_proj.weight" : tensor<12x12xf32>
  ds.parameter @model.decoder.layers.0.self_attn.q_proj.bias from "model.decoder.layers.0.self_attn.q_proj.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.0.self_attn.k_proj.weight from "model.decoder.layers.0.self_attn.k_proj.weight" : tensor<12x12xf32>
  ds.parameter @model.decoder.layers.0.self_attn.k_proj.bias from "model.decoder.layers.0.self_attn.k_proj.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.0.self_attn.v_proj.weight from "model.decoder.layers.0.self_attn.v_proj.weight" : tensor<12x12xf32>
  ds.parameter @model.decoder.layers.0.self_attn.v_proj.bias from "model.decoder.layers.0.self_attn.v_proj.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.0.self_attn.out_proj.weight from "model.decoder.layers.0.self_attn.out_proj.weight" : tensor<12x12xf32>
  ds.parameter @model.decoder.layers.0.self_attn.out_proj.bias from "model.decoder.layers.0.self_attn.out_proj.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.0.self_attn_layer_norm.weight from "model.decoder.layers.0.self_attn_layer_norm.weight" : tensor<12xf32>
  ds.parameter @model.decoder.layers.0.self_attn_layer_norm.bias from "model.decoder.layers.0.self_attn_layer_norm.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.0.fc1.weight from "model.decoder.layers.0.fc1.weight" : tensor<20x12xf32>
  ds.parameter @model.decoder.layers.0.fc1.bias from "model.decoder.layers.0.fc1.bias" : tensor<20xf32>
  ds.parameter @model.decoder.layers.0.fc2.weight from "model.decoder.layers.0.fc2.weight" : tensor<12x20xf32>
  ds.parameter @model.decoder.layers.0.fc2.bias from "model.decoder.layers.0.fc2.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.0.final_layer_norm.weight from "model.decoder.layers.0.final_layer_norm.weight" : tensor<12xf32>
  ds.parameter @model.decoder.layers.0.final_layer_norm.bias from "model.decoder.layers.0.final_layer_norm.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.self_attn.q_proj.weight from "model.decoder.layers.1.self_attn.q_proj.weight" : tensor<12x12xf32>
  ds.parameter @model.decoder.layers.1.self_attn.q_proj.bias from "model.decoder.layers.1.self_attn.q_proj.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.self_attn.k_proj.weight from "model.decoder.layers.1.self_attn.k_proj.weight" : tensor<12x12xf32>
  ds.parameter @model.decoder.layers.1.self_attn.k_proj.bias from "model.decoder.layers.1.self_attn.k_proj.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.self_attn.v_proj.weight from "model.decoder.layers.1.self_attn.v_proj.weight" : tensor<12x12xf32>
  ds.parameter @model.decoder.layers.1.self_attn.v_proj.bias from "model.decoder.layers.1.self_attn.v_proj.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.self_attn.out_proj.weight from "model.decoder.layers.1.self_attn.out_proj.weight" : tensor<12x12xf32>
  ds.parameter @model.decoder.layers.1.self_attn.out_proj.bias from "model.decoder.layers.1.self_attn.out_proj.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.self_attn_layer_norm.weight from "model.decoder.layers.1.self_attn_layer_norm.weight" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.self_attn_layer_norm.bias from "model.decoder.layers.1.self_attn_layer_norm.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.fc1.weight from "model.decoder.layers.1.fc1.weight" : tensor<20x12xf32>
  ds.parameter @model.decoder.layers.1.fc1.bias from "model.decoder.layers.1.fc1.bias" : tensor<20xf32>
  ds.parameter @model.decoder.layers.1.fc2.weight from "model.decoder.layers.1.fc2.weight" : tensor<12x20xf32>
  ds.parameter @model.decoder.layers.1.fc2.bias from "model.decoder.layers.1.fc2.bias" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.final_layer_norm.weight from "model.decoder.layers.1.final_layer_norm.weight" : tensor<12xf32>
  ds.parameter @model.decoder.layers.1.final_layer_norm.bias from "model.decoder.layers.1.final_layer_norm.bias" : tensor<12xf32>
  func.func @forward(%arg0: tensor<?x?xi32> {ds.name = "input_ids"}, %arg1: tensor<?x?xi32> {ds.name = "positions"}) -> (tensor<?x?x12xf32> {ds.name = "hidden"}, tensor<?x?x24xf32> {ds.name = "logits"}) {
    %0 = ds.weight @model.decoder.embed_tokens.weight : tensor<24x12xf32>
    %1 = ds.embedding %arg0, %0 : tensor<?x?xi32>, tensor<24x12xf32>
    %2 = ds.weight @model.decoder.embed_positions.weight : tensor<18x12xf32>
    %3 = ds.embedding %arg1, %2 : tensor<?x?xi32>, tensor<18x12xf32>
    %4 = ds.add %1, %3 : tensor<?x?x12xf32>
    %5 = ds.layer "model.decoder.layers.0"(%4) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg2: tensor<?x?x12xf32>):
      %8 = ds.weight @model.decoder.layers.0.self_attn.q_proj.weight : tensor<12x12xf32>
      %9 = ds.weight @model.decoder.layers.0.self_attn.q_proj.bias : tensor<12xf32>
      %10 = ds.linear %arg2, %8 bias %9 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %11 = ds.weight @model.decoder.layers.0.self_attn.k_proj.weight : tensor<12x12xf32>
      %12 = ds.weight @model.decoder.layers.0.self_attn.k_proj.bias : tensor<12xf32>
      %13 = ds.linear %arg2, %11 bias %12 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %14 = ds.weight @model.decoder.layers.0.self_attn.v_proj.weight : tensor<12x12xf32>
      %15 = ds.weight @model.decoder.layers.0.self_attn.v_proj.bias : tensor<12xf32>
      %16 = ds.linear %arg2, %14 bias %15 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %17 = ds.attention %10, %13, %16 heads 3 kv_heads 3 scale 5.000000e-01 causal : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %18 = ds.weight @model.decoder.layers.0.self_attn.out_proj.weight : tensor<12x12xf32>
      %19 = ds.weight @model.decoder.layers.0.self_attn.out_proj.bias : tensor<12xf32>
      %20 = ds.linear %17, %18 bias %19 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %21 = ds.add %20, %arg2 : tensor<?x?x12xf32>
      %22 = ds.weight @model.decoder.layers.0.self_attn_layer_norm.weight : tensor<12xf32>
      %23 = ds.weight @model.decoder.layers.0.self_attn_layer_norm.bias : tensor<12xf32>
      %24 = ds.layer_norm %21, %22 bias %23 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %25 = ds.weight @model.decoder.layers.0.fc1.weight : tensor<20x12xf32>
      %26 = ds.weight @model.decoder.layers.0.fc1.bias : tensor<20xf32>
      %27 = ds.linear %24, %25 bias %26 : tensor<?x?x12xf32>, tensor<20x12xf32>, tensor<20xf32>
      %28 = ds.relu %27 : tensor<?x?x20xf32>
      %29 = ds.weight @model.decoder.layers.0.fc2.weight : tensor<12x20xf32>
      %30 = ds.weight @model.decoder.layers.0.fc2.bias : tensor<12xf32>
      %31 = ds.linear %28, %29 bias %30 : tensor<?x?x20xf32>, tensor<12x20xf32>, tensor<12xf32>
      %32 = ds.add %31, %24 : tensor<?x?x12xf32>
      %33 = ds.weight @model.decoder.layers.0.final_layer_norm.weight : tensor<12xf32>
      %34 = ds.weight @model.decoder.layers.0.final_layer_norm.bias : tensor<12xf32>
      %35 = ds.layer_norm %32, %33 bias %34 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      ds.yield %35 : tensor<?x?x12xf32>
    }
    %6 = ds.layer "model.decoder.layers.1"(%5) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg2: tensor<?x?x12xf32>):
      %8 = ds.weight @model.decoder.layers.1.self_attn.q_proj.weight : tensor<12x12xf32>
      %9 = ds.weight @model.decoder.layers.1.self_attn.q_proj.bias : tensor<12xf32>
      %10 = ds.linear %arg2, %8 bias %9 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %11 = ds.weight @model.decoder.layers.1.self_attn.k_proj.weight : tensor<12x12xf32>
      %12 = ds.weight @model.decoder.layers.1.self_attn.k_proj.bias : tensor<12xf32>
      %13 = ds.linear %arg2, %11 bias %12 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %14 = ds.weight @model.decoder.layers.1.self_attn.v_proj.weight : tensor<12x12xf32>
      %15 = ds.weight @model.decoder.layers.1.self_attn.v_proj.bias : tensor<12xf32>
      %16 = ds.linear %arg2, %14 bias %15 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %17 = ds.attention %10, %13, %16 heads 3 kv_heads 3 scale 5.000000e-01 causal : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %18 = ds.weight @model.decoder.layers.1.self_attn.out_proj.weight : tensor<12x12xf32>
      %19 = ds.weight @model.decoder.layers.1.self_attn.out_proj.bias : tensor<12xf32>
      %20 = ds.linear %17, %18 bias %19 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %21 = ds.add %20, %arg2 : tensor<?x?x12xf32>
      %22 = ds.weight @model.decoder.layers.1.self_attn_layer_norm.weight : tensor<12xf32>
      %23 = ds.weight @model.decoder.layers.1.self_attn_layer_norm.bias : tensor<12xf32>
      %24 = ds.layer_norm %21, %22 bias %23 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %25 = ds.weight @model.decoder.layers.1.fc1.weight : tensor<20x12xf32>
      %26 = ds.weight @model.decoder.layers.1.fc1.bias : tensor<20xf32>
      %27 = ds.linear %24, %25 bias %26 : tensor<?x?x12xf32>, tensor<20x12xf32>, tensor<20xf32>
      %28 = ds.relu %27 : tensor<?x?x20xf32>
      %29 = ds.weight @model.decoder.layers.1.fc2.weight : tensor<12x20xf32>
      %30 = ds.weight @model.decoder.layers.1.fc2.bias : tensor<12xf32>
      %31 = ds.linear %28, %29 bias %30 : tensor<?x?x20xf32>, tensor<12x20xf32>, tensor<12xf32>
      %32 = ds.add %31, %24 : tensor<?x?x12xf32>
      %33 = ds.weight @model.decoder.layers.1.final_layer_norm.weight : tensor<12xf32>
      %34 = ds.weight @model.decoder.layers.1.final_layer_norm.bias : tensor<12xf32>
      %35 = ds.layer_norm %32, %33 bias %34 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      ds.yield %35 : tensor<?x?x12xf32>
    }
    %7 = ds.linear %6, %0 : tensor<?x?x12xf32>, tensor<24x12xf32>
    return %6, %7 : tensor<?x?x12xf32>, tensor<?x?x24xf32>
  }
}

