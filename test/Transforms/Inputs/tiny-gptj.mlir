module attributes {ds.model = {bos = [50256], eos = [50256], family = "gptj", hidden_size = 12 : i64, labels = [], layers = 2 : i64, max_positions = 16 : i64, name = "gptj", pad, task = "causal-lm", vocab_size = 24 : i64}, ds.positions = {offset = 0 : i64, pad_id = 0 : i64, rule = "arange"}} {
  ds.parameter @transformer.wte.weight from "transformer.wte.weight" : tensor<24x12xf32>
  ds.parameter @transformer.h.0.ln_1.weight from "transformer.h.0.ln_1.weight" : tensor<12xf32>
  ds.parameter @transformer.h.0.ln_1.bias from "transformer.h.0.ln_1.bias" : tensor<12xf32>
  ds.parameter @transformer.h.0.attn.q_proj.weight from "transformer.h.0.attn.q_proj.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.0.attn.k_proj.weight from "transformer.h.0.attn.k_proj.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.0.attn.v_proj.weight from "transformer.h.0.attn.v_proj.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.0.attn.out_proj.weight from "transformer.h.0.attn.out_proj.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.0.mlp.fc_in.weight from "transformer.h.0.mlp.fc_in.weight" : tensor<20x12xf32>
  ds.parameter @transformer.h.0.mlp.fc_in.bias from "transformer.h.0.mlp.fc_in.bias" : tensor<20xf32>
  ds.parameter @transformer.h.0.mlp.fc_out.weight from "transformer.h.0.mlp.fc_out.weight" : tensor<12x20xf32>
  ds.parameter @transformer.h.0.mlp.fc_out.bias from "transformer.h.0.mlp.fc_out.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.ln_1.weight from "transformer.h.1.ln_1.weight" : tensor<12xf32>
  ds.parameter @transformer.h.1.ln_1.bias from "transformer.h.1.ln_1.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.attn.q_proj.weight from "transformer.h.1.attn.q_proj.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.1.attn.k_proj.weight from "transformer.h.1.attn.k_proj.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.1.attn.v_proj.weight from "transformer.h.1.attn.v_proj.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.1.attn.out_proj.weight from "transformer.h.1.attn.out_proj.weight" : tensor<12x12xf32>
  ds.parameter @transformer.h.1.mlp.fc_in.weight from "transformer.h.1.mlp.fc_in.weight" : tensor<20x12xf32>
  ds.parameter @transformer.h.1.mlp.fc_in.bias from "transformer.h.1.mlp.fc_in.bias" : tensor<20xf32>
  ds.parameter @transformer.h.1.mlp.fc_out.weight from "transformer.h.1.mlp.fc_out.weight" : tensor<12x20xf32>
  ds.parameter @transformer.h.1.mlp.fc_out.bias from "transformer.h.1.mlp.fc_out.bias" : tensor<12xf32>
  ds.parameter @transformer.ln_f.weight from "transformer.ln_f.weight" : tensor<12xf32>
  ds.parameter @transformer.ln_f.bias from "transformer.ln_f.bias" : tensor<12xf32>
  ds.parameter @lm_head.weight from "lm_head.weight" : tensor<24x12xf32>
  ds.parameter @lm_head.bias from "lm_head.bias" : tensor<24xf32>
  func.func @forward(%arg0: tensor<?x?xi32> {ds.name = "input_ids"}, %arg1: tensor<?x?xi32> {ds.name = "positions"}) -> (tensor<?x?x12xf32> {ds.name = "hidden"}, tensor<?x?x24xf32> {ds.name = "logits"}) {
    %0 = ds.weight @transformer.wte.weight : tensor<24x12xf32>
    %1 = ds.embedding %arg0, %0 : tensor<?x?xi32>, tensor<24x12xf32>
    %2 = ds.layer "transformer.h.0"(%1) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg2: tensor<?x?x12xf32>):
      %10 = ds.weight @transformer.h.0.ln_1.weight : tensor<12xf32>
      %11 = ds.weight @transformer.h.0.ln_1.bias : tensor<12xf32>
      %12 = ds.layer_norm %arg2, %10 bias %11 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %13 = ds.weight @transformer.h.0.attn.q_proj.weight : tensor<12x12xf32>
      %14 = ds.linear %12, %13 : tensor<?x?x12xf32>, tensor<12x12xf32>
      %15 = ds.rope  interleaved %14, %arg1 heads 3 rotary 2 base 1.000000e+04 : tensor<?x?x12xf32>, tensor<?x?xi32>
      %16 = ds.weight @transformer.h.0.attn.k_proj.weight : tensor<12x12xf32>
      %17 = ds.linear %12, %16 : tensor<?x?x12xf32>, tensor<12x12xf32>
      %18 = ds.rope  interleaved %17, %arg1 heads 3 rotary 2 base 1.000000e+04 : tensor<?x?x12xf32>, tensor<?x?xi32>
      %19 = ds.weight @transformer.h.0.attn.v_proj.weight : tensor<12x12xf32>
      %20 = ds.linear %12, %19 : tensor<?x?x12xf32>, tensor<12x12xf32>
      %21 = ds.attention %15, %18, %20 heads 3 kv_heads 3 scale 5.000000e-01 causal : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %22 = ds.weight @transformer.h.0.attn.out_proj.weight : tensor<12x12xf32>
      %23 = ds.linear %21, %22 : tensor<?x?x12xf32>, tensor<12x12xf32>
      %24 = ds.weight @transformer.h.0.mlp.fc_in.weight : tensor<20x12xf32>
      %25 = ds.weight @transformer.h.0.mlp.fc_in.bias : tensor<20xf32>
      %26 = ds.linear %12, %24 bias %25 : tensor<?x?x12xf32>, tensor<20x12xf32>, tensor<20xf32>
      %27 = ds.gelu  tanh %26 : tensor<?x?x20xf32>
      %28 = ds.weight @transformer.h.0.mlp.fc_out.weight : tensor<12x20xf32>
      %29 = ds.weight @transformer.h.0.mlp.fc_out.bias : tensor<12xf32>
      %30 = ds.linear %27, %28 bias %29 : tensor<?x?x20xf32>, tensor<12x20xf32>, tensor<12xf32>
      %31 = ds.add %23, %30 : tensor<?x?x12xf32>
      %32 = ds.add %31, %arg2 : tensor<?x?x12xf32>
      ds.yield %32 : tensor<?x?x12xf32>
    }
    %3 = ds.layer "transformer.h.1"(%2) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg2: tensor<?x?x12xf32>):
      %10 = ds.weight @transformer.h.1.ln_1.weight : tensor<12xf32>
      %11 = ds.weight @transformer.h.1.ln_1.bias : tensor<12xf32>
      %12 = ds.layer_norm %arg2, %10 bias %11 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %13 = ds.weight @transformer.h.1.attn.q_proj.weight : tensor<12x12xf32>
      %14 = ds.linear %12, %13 : tensor<?x?x12xf32>, tensor<12x12xf32>
      %15 = ds.rope  interleaved %14, %arg1 heads 3 rotary 2 base 1.000000e+04 : tensor<?x?x12xf32>, tensor<?x?xi32>
      %16 = ds.weight @transformer.h.1.attn.k_proj.weight : tensor<12x12xf32>
      %17 = ds.linear %12, %16 : tensor<?x?x12xf32>, tensor<12x12xf32>
      %18 = ds.rope  interleaved %17, %arg1 heads 3 rotary 2 base 1.000000e+04 : tensor<?x?x12xf32>, tensor<?x?xi32>
      %19 = ds.weight @transformer.h.1.attn.v_proj.weight : tensor<12x12xf32>
      %20 = ds.linear %12, %19 : tensor<?x?x12xf32>, tensor<12x12xf32>
      %21 = ds.attention %15, %18, %20 heads 3 kv_heads 3 scale 5.000000e-01 causal : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %22 = ds.weight @transformer.h.1.attn.out_proj.weight : tensor<12x12xf32>
      %23 = ds.linear %21, %22 : tensor<?x?x12xf32>, tensor<12x12xf32>
      %24 = ds.weight @transformer.h.1.mlp.fc_in.weight : tensor<20x12xf32>
      %25 = ds.weight @transformer.h.1.mlp.fc_in.bias : tensor<20xf32>
      %26 = ds.linear %12, %24 bias %25 : tensor<?x?x12xf32>, tensor<20x12xf32>, tensor<20xf32>
      %27 = ds.gelu  tanh %26 : tensor<?x?x20xf32>
      %28 = ds.weight @transformer.h.1.mlp.fc_out.weight : tensor<12x20xf32>
      %29 = ds.weight @transformer.h.1.mlp.fc_out.bias : tensor<12xf32>
      %30 = ds.linear %27, %28 bias %29 : tensor<?x?x20xf32>, tensor<12x20xf32>, tensor<12xf32>
      %31 = ds.add %23, %30 : tensor<?x?x12xf32>
      %32 = ds.add %31, %arg2 : tensor<?x?x12xf32>
      ds.yield %32 : tensor<?x?x12xf32>
    }
    %4 = ds.weight @transformer.ln_f.weight : tensor<12xf32>
    %5 = ds.weight @transformer.ln_f.bias : tensor<12xf32>
    %6 = ds.layer_norm %3, %4 bias %5 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
    %7 = ds.weight @lm_head.weight : tensor<24x12xf32>
    %8 = ds.weight @lm_head.bias : tensor<24xf32>
    %9 = ds.linear %6, %7 bias %8 : tensor<?x?x12xf32>, tensor<24x12xf32>, tensor<24xf32>
    return %6, %9 : tensor<?x?x12xf32>, tensor<?x?x24xf32>
  }
}

