module attributes {ds.model = {bos = [50256], eos = [50256], family = "gpt2", hidden_size = 12 : i64, labels = [], layers = 2 : i64, max_positions = 16 : i64, name = "gpt2", pad, task = "causal-lm", vocab_size = 24 : i64}, ds.positions = {offset = 0 : i64, pad_id = 0 : i64, rule = "arange"}} {
  ds.parameter @transformer.wte.weight from "transformer.wte.weight" : tensor<24x12xf32>
  ds.parameter @transformer.wpe.weight from "transformer.wpe.weight" : tensor<16x12xf32>
  ds.parameter @transformer.h.0.ln_1.weight from "transformer.h.0.ln_1.weight" : tensor<12xf32>
  ds.parameter @transformer.h.0.ln_1.bias from "transformer.h.0.ln_1.bias" : tensor<12xf32>
  ds.parameter @transformer.h.0.attn.c_attn.weight.q from "transformer.h.0.attn.c_attn.weight" view <0, [12, 12], [1, 36]> : tensor<12x12xf32>
  ds.parameter @transformer.h.0.attn.c_attn.bias.q from "transformer.h.0.attn.c_attn.bias" view <0, [12], [1]> : tensor<12xf32>
  ds.parameter @transformer.h.0.attn.c_attn.weight.k from "transformer.h.0.attn.c_attn.weight" view <12, [12, 12], [1, 36]> : tensor<12x12xf32>
  ds.parameter @transformer.h.0.attn.c_attn.bias.k from "transformer.h.0.attn.c_attn.bias" view <12, [12], [1]> : tensor<12xf32>
  ds.parameter @transformer.h.0.attn.c_attn.weight.v from "transformer.h.0.attn.c_attn.weight" view <24, [12, 12], [1, 36]> : tensor<12x12xf32>
  ds.parameter @transformer.h.0.attn.c_attn.bias.v from "transformer.h.0.attn.c_attn.bias" view <24, [12], [1]> : tensor<12xf32>
  ds.parameter @transformer.h.0.attn.c_proj.weight from "transformer.h.0.attn.c_proj.weight" view <0, [12, 12], [1, 12]> : tensor<12x12xf32>
  ds.parameter @transformer.h.0.attn.c_proj.bias from "transformer.h.0.attn.c_proj.bias" : tensor<12xf32>
  ds.parameter @transformer.h.0.ln_2.weight from "transformer.h.0.ln_2.weight" : tensor<12xf32>
  ds.parameter @transformer.h.0.ln_2.bias from "transformer.h.0.ln_2.bias" : tensor<12xf32>
  ds.parameter @transformer.h.0.mlp.c_fc.weight from "transformer.h.0.mlp.c_fc.weight" view <0, [20, 12], [1, 20]> : tensor<20x12xf32>
  ds.parameter @transformer.h.0.mlp.c_fc.bias from "transformer.h.0.mlp.c_fc.bias" : tensor<20xf32>
  ds.parameter @transformer.h.0.mlp.c_proj.weight from "transformer.h.0.mlp.c_proj.weight" view <0, [12, 20], [1, 12]> : tensor<12x20xf32>
  ds.parameter @transformer.h.0.mlp.c_proj.bias from "transformer.h.0.mlp.c_proj.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.ln_1.weight from "transformer.h.1.ln_1.weight" : tensor<12xf32>
  ds.parameter @transformer.h.1.ln_1.bias from "transformer.h.1.ln_1.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.attn.c_attn.weight.q from "transformer.h.1.attn.c_attn.weight" view <0, [12, 12], [1, 36]> : tensor<12x12xf32>
  ds.parameter @transformer.h.1.attn.c_attn.bias.q from "transformer.h.1.attn.c_attn.bias" view <0, [12], [1]> : tensor<12xf32>
  ds.parameter @transformer.h.1.attn.c_attn.weight.k from "transformer.h.1.attn.c_attn.weight" view <12, [12, 12], [1, 36]> : tensor<12x12xf32>
  ds.parameter @transformer.h.1.attn.c_attn.bias.k from "transformer.h.1.attn.c_attn.bias" view <12, [12], [1]> : tensor<12xf32>
  ds.parameter @transformer.h.1.attn.c_attn.weight.v from "transformer.h.1.attn.c_attn.weight" view <24, [12, 12], [1, 36]> : tensor<12x12xf32>
  ds.parameter @transformer.h.1.attn.c_attn.bias.v from "transformer.h.1.attn.c_attn.bias" view <24, [12], [1]> : tensor<12xf32>
  ds.parameter @transformer.h.1.attn.c_proj.weight from "transformer.h.1.attn.c_proj.weight" view <0, [12, 12], [1, 12]> : tensor<12x12xf32>
  ds.parameter @transformer.h.1.attn.c_proj.bias from "transformer.h.1.attn.c_proj.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.ln_2.weight from "transformer.h.1.ln_2.weight" : tensor<12xf32>
  ds.parameter @transformer.h.1.ln_2.bias from "transformer.h.1.ln_2.bias" : tensor<12xf32>
  ds.parameter @transformer.h.1.mlp.c_fc.weight from "transformer.h.1.mlp.c_fc.weight" view <0, [20, 12], [1, 20]> : tensor<20x12xf32>
  ds.parameter @transformer.h.1.mlp.c_fc.bias from "transformer.h.1.mlp.c_fc.bias" : tensor<20xf32>
  ds.parameter @transformer.h.1.mlp.c_proj.weight from "transformer.h.1.mlp.c_proj.weight" view <0, [12, 20], [1, 12]> : tensor<12x20xf32>
  ds.parameter @transformer.h.1.mlp.c_proj.bias from "transformer.h.1.mlp.c_proj.bias" : tensor<12xf32>
  ds.parameter @transformer.ln_f.weight from "transformer.ln_f.weight" : tensor<12xf32>
  ds.parameter @transformer.ln_f.bias from "transformer.ln_f.bias" : tensor<12xf32>
  func.func @forward(%arg0: tensor<?x?xi32> {ds.name = "input_ids"}, %arg1: tensor<?x?xi32> {ds.name = "positions"}) -> (tensor<?x?x12xf32> {ds.name = "hidden"}, tensor<?x?x24xf32> {ds.name = "logits"}) {
    %0 = ds.weight @transformer.wte.weight : tensor<24x12xf32>
    %1 = ds.embedding %arg0, %0 : tensor<?x?xi32>, tensor<24x12xf32>
    %2 = ds.weight @transformer.wpe.weight : tensor<16x12xf32>
    %3 = ds.embedding %arg1, %2 : tensor<?x?xi32>, tensor<16x12xf32>
    %4 = ds.add %1, %3 : tensor<?x?x12xf32>
    %5 = ds.layer "transformer.h.0"(%4) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg2: tensor<?x?x12xf32>):
      %11 = ds.weight @transformer.h.0.ln_1.weight : tensor<12xf32>
      %12 = ds.weight @transformer.h.0.ln_1.bias : tensor<12xf32>
      %13 = ds.layer_norm %arg2, %11 bias %12 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %14 = ds.weight @transformer.h.0.attn.c_attn.weight.q : tensor<12x12xf32>
      %15 = ds.weight @transformer.h.0.attn.c_attn.bias.q : tensor<12xf32>
      %16 = ds.linear %13, %14 bias %15 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %17 = ds.weight @transformer.h.0.attn.c_attn.weight.k : tensor<12x12xf32>
      %18 = ds.weight @transformer.h.0.attn.c_attn.bias.k : tensor<12xf32>
      %19 = ds.linear %13, %17 bias %18 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %20 = ds.weight @transformer.h.0.attn.c_attn.weight.v : tensor<12x12xf32>
      %21 = ds.weight @transformer.h.0.attn.c_attn.bias.v : tensor<12xf32>
      %22 = ds.linear %13, %20 bias %21 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %23 = ds.attention %16, %19, %22 heads 3 kv_heads 3 scale 5.000000e-01 causal : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %24 = ds.weight @transformer.h.0.attn.c_proj.weight : tensor<12x12xf32>
      %25 = ds.weight @transformer.h.0.attn.c_proj.bias : tensor<12xf32>
      %26 = ds.linear %23, %24 bias %25 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %27 = ds.add %26, %arg2 : tensor<?x?x12xf32>
      %28 = ds.weight @transformer.h.0.ln_2.weight : tensor<12xf32>
      %29 = ds.weight @transformer.h.0.ln_2.bias : tensor<12xf32>
      %30 = ds.layer_norm %27, %28 bias %29 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %31 = ds.weight @transformer.h.0.mlp.c_fc.weight : tensor<20x12xf32>
      %32 = ds.weight @transformer.h.0.mlp.c_fc.bias : tensor<20xf32>
      %33 = ds.linear %30, %31 bias %32 : tensor<?x?x12xf32>, tensor<20x12xf32>, tensor<20xf32>
      %34 = ds.gelu  tanh %33 : tensor<?x?x20xf32>
      %35 = ds.weight @transformer.h.0.mlp.c_proj.weight : tensor<12x20xf32>
      %36 = ds.weight @transformer.h.0.mlp.c_proj.bias : tensor<12xf32>
      %37 = ds.linear %34, %35 bias %36 : tensor<?x?x20xf32>, tensor<12x20xf32>, tensor<12xf32>
      %38 = ds.add %37, %27 : tensor<?x?x12xf32>
      ds.yield %38 : tensor<?x?x12xf32>
    }
    %6 = ds.layer "transformer.h.1"(%5) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg2: tensor<?x?x12xf32>):
      %11 = ds.weight @transformer.h.1.ln_1.weight : tensor<12xf32>
      %12 = ds.weight @transformer.h.1.ln_1.bias : tensor<12xf32>
      %13 = ds.layer_norm %arg2, %11 bias %12 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %14 = ds.weight @transformer.h.1.attn.c_attn.weight.q : tensor<12x12xf32>
      %15 = ds.weight @transformer.h.1.attn.c_attn.bias.q : tensor<12xf32>
      %16 = ds.linear %13, %14 bias %15 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %17 = ds.weight @transformer.h.1.attn.c_attn.weight.k : tensor<12x12xf32>
      %18 = ds.weight @transformer.h.1.attn.c_attn.bias.k : tensor<12xf32>
      %19 = ds.linear %13, %17 bias %18 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %20 = ds.weight @transformer.h.1.attn.c_attn.weight.v : tensor<12x12xf32>
      %21 = ds.weight @transformer.h.1.attn.c_attn.bias.v : tensor<12xf32>
      %22 = ds.linear %13, %20 bias %21 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %23 = ds.attention %16, %19, %22 heads 3 kv_heads 3 scale 5.000000e-01 causal : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %24 = ds.weight @transformer.h.1.attn.c_proj.weight : tensor<12x12xf32>
      %25 = ds.weight @transformer.h.1.attn.c_proj.bias : tensor<12xf32>
      %26 = ds.linear %23, %24 bias %25 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %27 = ds.add %26, %arg2 : tensor<?x?x12xf32>
      %28 = ds.weight @transformer.h.1.ln_2.weight : tensor<12xf32>
      %29 = ds.weight @transformer.h.1.ln_2.bias : tensor<12xf32>
      %30 = ds.layer_norm %27, %28 bias %29 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %31 = ds.weight @transformer.h.1.mlp.c_fc.weight : tensor<20x12xf32>
      %32 = ds.weight @transformer.h.1.mlp.c_fc.bias : tensor<20xf32>
      %33 = ds.linear %30, %31 bias %32 : tensor<?x?x12xf32>, tensor<20x12xf32>, tensor<20xf32>
      %34 = ds.gelu  tanh %33 : tensor<?x?x20xf32>
      %35 = ds.weight @transformer.h.1.mlp.c_proj.weight : tensor<12x20xf32>
      %36 = ds.weight @transformer.h.1.mlp.c_proj.bias : tensor<12xf32>
      %37 = ds.linear %34, %35 bias %36 : tensor<?x?x20xf32>, tensor<12x20xf32>, tensor<12xf32>
      %38 = ds.add %37, %27 : tensor<?x?x12xf32>
      ds.yield %38 : tensor<?x?x12xf32>
    }
    %7 = ds.weight @transformer.ln_f.weight : tensor<12xf32>
    %8 = ds.weight @transformer.ln_f.bias : tensor<12xf32>
    %9 = ds.layer_norm %6, %7 bias %8 eps 1.000000e-05 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
    %10 = ds.linear %9, %0 : tensor<?x?x12xf32>, tensor<24x12xf32>
    return %9, %10 : tensor<?x?x12xf32>, tensor<?x?x24xf32>
  }
}

