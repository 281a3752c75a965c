module attributes {ds.model = {bos = [], eos = [], family = "bert", hidden_size = 12 : i64, labels = [], layers = 2 : i64, max_positions = 16 : i64, name = "bert-mlm", pad = 0 : i64, task = "masked-lm", token_types = 2 : i64, vocab_size = 24 : i64}, ds.positions = {offset = 0 : i64, pad_id = 0 : i64, rule = "arange"}} {
  ds.parameter @bert.embeddings.word_embeddings.weight from "bert.embeddings.word_embeddings.weight" : tensor<24x12xf32>
  ds.parameter @bert.embeddings.token_type_embeddings.weight from "bert.embeddings.token_type_embeddings.weight" : tensor<2x12xf32>
  ds.parameter @bert.embeddings.position_embeddings.weight from "bert.embeddings.position_embeddings.weight" : tensor<16x12xf32>
  ds.parameter @bert.embeddings.LayerNorm.weight from "bert.embeddings.LayerNorm.weight" : tensor<12xf32>
  ds.parameter @bert.embeddings.LayerNorm.bias from "bert.embeddings.LayerNorm.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.attention.self.query.weight from "bert.encoder.layer.0.attention.self.query.weight" : tensor<12x12xf32>
  ds.parameter @bert.encoder.layer.0.attention.self.query.bias from "bert.encoder.layer.0.attention.self.query.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.attention.self.key.weight from "bert.encoder.layer.0.attention.self.key.weight" : tensor<12x12xf32>
  ds.parameter @bert.encoder.layer.0.attention.self.key.bias from "bert.encoder.layer.0.attention.self.key.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.attention.self.value.weight from "bert.encoder.layer.0.attention.self.value.weight" : tensor<12x12xf32>
  ds.parameter @bert.encoder.layer.0.attention.self.value.bias from "bert.encoder.layer.0.attention.self.value.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.attention.output.dense.weight from "bert.encoder.layer.0.attention.output.dense.weight" : tensor<12x12xf32>
  ds.parameter @bert.encoder.layer.0.attention.output.dense.bias from "bert.encoder.layer.0.attention.output.dense.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.attention.output.LayerNorm.weight from "bert.encoder.layer.0.attention.output.LayerNorm.weight" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.attention.output.LayerNorm.bias from "bert.encoder.layer.0.attention.output.LayerNorm.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.intermediate.dense.weight from "bert.encoder.layer.0.intermediate.dense.weight" : tensor<20x12xf32>
  ds.parameter @bert.encoder.layer.0.intermediate.dense.bias from "bert.encoder.layer.0.intermediate.dense.bias" : tensor<20xf32>
  ds.parameter @bert.encoder.layer.0.output.dense.weight from "bert.encoder.layer.0.output.dense.weight" : tensor<12x20xf32>
  ds.parameter @bert.encoder.layer.0.output.dense.bias from "bert.encoder.layer.0.output.dense.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.output.LayerNorm.weight from "bert.encoder.layer.0.output.LayerNorm.weight" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.0.output.LayerNorm.bias from "bert.encoder.layer.0.output.LayerNorm.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.attention.self.query.weight from "bert.encoder.layer.1.attention.self.query.weight" : tensor<12x12xf32>
  ds.parameter @bert.encoder.layer.1.attention.self.query.bias from "bert.encoder.layer.1.attention.self.query.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.attention.self.key.weight from "bert.encoder.layer.1.attention.self.key.weight" : tensor<12x12xf32>
  ds.parameter @bert.encoder.layer.1.attention.self.key.bias from "bert.encoder.layer.1.attention.self.key.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.attention.self.value.weight from "bert.encoder.layer.1.attention.self.value.weight" : tensor<12x12xf32>
  ds.parameter @bert.encoder.layer.1.attention.self.value.bias from "bert.encoder.layer.1.attention.self.value.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.attention.output.dense.weight from "bert.encoder.layer.1.attention.output.dense.weight" : tensor<12x12xf32>
  ds.parameter @bert.encoder.layer.1.attention.output.dense.bias from "bert.encoder.layer.1.attention.output.dense.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.attention.output.LayerNorm.weight from "bert.encoder.layer.1.attention.output.LayerNorm.weight" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.attention.output.LayerNorm.bias from "bert.encoder.layer.1.attention.output.LayerNorm.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.intermediate.dense.weight from "bert.encoder.layer.1.intermediate.dense.weight" : tensor<20x12xf32>
  ds.parameter @bert.encoder.layer.1.intermediate.dense.bias from "bert.encoder.layer.1.intermediate.dense.bias" : tensor<20xf32>
  ds.parameter @bert.encoder.layer.1.output.dense.weight from "bert.encoder.layer.1.output.dense.weight" : tensor<12x20xf32>
  ds.parameter @bert.encoder.layer.1.output.dense.bias from "bert.encoder.layer.1.output.dense.bias" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.output.LayerNorm.weight from "bert.encoder.layer.1.output.LayerNorm.weight" : tensor<12xf32>
  ds.parameter @bert.encoder.layer.1.output.LayerNorm.bias from "bert.encoder.layer.1.output.LayerNorm.bias" : tensor<12xf32>
  ds.parameter @cls.predictions.transform.dense.weight from "cls.predictions.transform.dense.weight" : tensor<12x12xf32>
  ds.parameter @cls.predictions.transform.dense.bias from "cls.predictions.transform.dense.bias" : tensor<12xf32>
  ds.parameter @cls.predictions.transform.LayerNorm.weight from "cls.predictions.transform.LayerNorm.weight" : tensor<12xf32>
  ds.parameter @cls.predictions.transform.LayerNorm.bias from "cls.predictions.transform.LayerNorm.bias" : tensor<12xf32>
  ds.parameter @cls.predictions.bias from "cls.predictions.bias" : tensor<24xf32>
  func.func @encode(%arg0: tensor<?x?xi32> {ds.name = "input_ids"}, %arg1: tensor<?x?xi32> {ds.name = "positions"}, %arg2: tensor<?x?xi32> {ds.name = "mask"}, %arg3: tensor<?x?xi32> {ds.name = "token_type_ids"}) -> (tensor<?x?x12xf32> {ds.name = "hidden"}, tensor<?x?x24xf32> {ds.name = "logits"}) {
    %0 = ds.weight @bert.embeddings.word_embeddings.weight : tensor<24x12xf32>
    %1 = ds.embedding %arg0, %0 : tensor<?x?xi32>, tensor<24x12xf32>
    %2 = ds.weight @bert.embeddings.token_type_embeddings.weight : tensor<2x12xf32>
    %3 = ds.embedding %arg3, %2 : tensor<?x?xi32>, tensor<2x12xf32>
    %4 = ds.add %1, %3 : tensor<?x?x12xf32>
    %5 = ds.weight @bert.embeddings.position_embeddings.weight : tensor<16x12xf32>
    %6 = ds.embedding %arg1, %5 : tensor<?x?xi32>, tensor<16x12xf32>
    %7 = ds.add %4, %6 : tensor<?x?x12xf32>
    %8 = ds.weight @bert.embeddings.LayerNorm.weight : tensor<12xf32>
    %9 = ds.weight @bert.embeddings.LayerNorm.bias : tensor<12xf32>
    %10 = ds.layer_norm %7, %8 bias %9 eps 9.9999999999999998E-13 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
    %11 = ds.layer "bert.encoder.layer.0"(%10) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg4: tensor<?x?x12xf32>):
      %22 = ds.weight @bert.encoder.layer.0.attention.self.query.weight : tensor<12x12xf32>
      %23 = ds.weight @bert.encoder.layer.0.attention.self.query.bias : tensor<12xf32>
      %24 = ds.linear %arg4, %22 bias %23 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %25 = ds.weight @bert.encoder.layer.0.attention.self.key.weight : tensor<12x12xf32>
      %26 = ds.weight @bert.encoder.layer.0.attention.self.key.bias : tensor<12xf32>
      %27 = ds.linear %arg4, %25 bias %26 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %28 = ds.weight @bert.encoder.layer.0.attention.self.value.weight : tensor<12x12xf32>
      %29 = ds.weight @bert.encoder.layer.0.attention.self.value.bias : tensor<12xf32>
      %30 = ds.linear %arg4, %28 bias %29 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %31 = ds.attention %24, %27, %30 mask %arg2 : tensor<?x?xi32> heads 3 kv_heads 3 scale 5.000000e-01 : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %32 = ds.weight @bert.encoder.layer.0.attention.output.dense.weight : tensor<12x12xf32>
      %33 = ds.weight @bert.encoder.layer.0.attention.output.dense.bias : tensor<12xf32>
      %34 = ds.linear %31, %32 bias %33 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %35 = ds.add %34, %arg4 : tensor<?x?x12xf32>
      %36 = ds.weight @bert.encoder.layer.0.attention.output.LayerNorm.weight : tensor<12xf32>
      %37 = ds.weight @bert.encoder.layer.0.attention.output.LayerNorm.bias : tensor<12xf32>
      %38 = ds.layer_norm %35, %36 bias %37 eps 9.9999999999999998E-13 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %39 = ds.weight @bert.encoder.layer.0.intermediate.dense.weight : tensor<20x12xf32>
      %40 = ds.weight @bert.encoder.layer.0.intermediate.dense.bias : tensor<20xf32>
      %41 = ds.linear %38, %39 bias %40 : tensor<?x?x12xf32>, tensor<20x12xf32>, tensor<20xf32>
      %42 = ds.gelu  erf %41 : tensor<?x?x20xf32>
      %43 = ds.weight @bert.encoder.layer.0.output.dense.weight : tensor<12x20xf32>
      %44 = ds.weight @bert.encoder.layer.0.output.dense.bias : tensor<12xf32>
      %45 = ds.linear %42, %43 bias %44 : tensor<?x?x20xf32>, tensor<12x20xf32>, tensor<12xf32>
      %46 = ds.add %45, %38 : tensor<?x?x12xf32>
      %47 = ds.weight @bert.encoder.layer.0.output.LayerNorm.weight : tensor<12xf32>
      %48 = ds.weight @bert.encoder.layer.0.output.LayerNorm.bias : tensor<12xf32>
      %49 = ds.layer_norm %46, %47 bias %48 eps 9.9999999999999998E-13 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      ds.yield %49 : tensor<?x?x12xf32>
    }
    %12 = ds.layer "bert.encoder.layer.1"(%11) : (tensor<?x?x12xf32>) -> tensor<?x?x12xf32> {
    ^bb0(%arg4: tensor<?x?x12xf32>):
      %22 = ds.weight @bert.encoder.layer.1.attention.self.query.weight : tensor<12x12xf32>
      %23 = ds.weight @bert.encoder.layer.1.attention.self.query.bias : tensor<12xf32>
      %24 = ds.linear %arg4, %22 bias %23 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %25 = ds.weight @bert.encoder.layer.1.attention.self.key.weight : tensor<12x12xf32>
      %26 = ds.weight @bert.encoder.layer.1.attention.self.key.bias : tensor<12xf32>
      %27 = ds.linear %arg4, %25 bias %26 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %28 = ds.weight @bert.encoder.layer.1.attention.self.value.weight : tensor<12x12xf32>
      %29 = ds.weight @bert.encoder.layer.1.attention.self.value.bias : tensor<12xf32>
      %30 = ds.linear %arg4, %28 bias %29 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %31 = ds.attention %24, %27, %30 mask %arg2 : tensor<?x?xi32> heads 3 kv_heads 3 scale 5.000000e-01 : tensor<?x?x12xf32>, tensor<?x?x12xf32>
      %32 = ds.weight @bert.encoder.layer.1.attention.output.dense.weight : tensor<12x12xf32>
      %33 = ds.weight @bert.encoder.layer.1.attention.output.dense.bias : tensor<12xf32>
      %34 = ds.linear %31, %32 bias %33 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
      %35 = ds.add %34, %arg4 : tensor<?x?x12xf32>
      %36 = ds.weight @bert.encoder.layer.1.attention.output.LayerNorm.weight : tensor<12xf32>
      %37 = ds.weight @bert.encoder.layer.1.attention.output.LayerNorm.bias : tensor<12xf32>
      %38 = ds.layer_norm %35, %36 bias %37 eps 9.9999999999999998E-13 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      %39 = ds.weight @bert.encoder.layer.1.intermediate.dense.weight : tensor<20x12xf32>
      %40 = ds.weight @bert.encoder.layer.1.intermediate.dense.bias : tensor<20xf32>
      %41 = ds.linear %38, %39 bias %40 : tensor<?x?x12xf32>, tensor<20x12xf32>, tensor<20xf32>
      %42 = ds.gelu  erf %41 : tensor<?x?x20xf32>
      %43 = ds.weight @bert.encoder.layer.1.output.dense.weight : tensor<12x20xf32>
      %44 = ds.weight @bert.encoder.layer.1.output.dense.bias : tensor<12xf32>
      %45 = ds.linear %42, %43 bias %44 : tensor<?x?x20xf32>, tensor<12x20xf32>, tensor<12xf32>
      %46 = ds.add %45, %38 : tensor<?x?x12xf32>
      %47 = ds.weight @bert.encoder.layer.1.output.LayerNorm.weight : tensor<12xf32>
      %48 = ds.weight @bert.encoder.layer.1.output.LayerNorm.bias : tensor<12xf32>
      %49 = ds.layer_norm %46, %47 bias %48 eps 9.9999999999999998E-13 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
      ds.yield %49 : tensor<?x?x12xf32>
    }
    %13 = ds.weight @cls.predictions.transform.dense.weight : tensor<12x12xf32>
    %14 = ds.weight @cls.predictions.transform.dense.bias : tensor<12xf32>
    %15 = ds.linear %12, %13 bias %14 : tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>
    %16 = ds.gelu  erf %15 : tensor<?x?x12xf32>
    %17 = ds.weight @cls.predictions.transform.LayerNorm.weight : tensor<12xf32>
    %18 = ds.weight @cls.predictions.transform.LayerNorm.bias : tensor<12xf32>
    %19 = ds.layer_norm %16, %17 bias %18 eps 9.9999999999999998E-13 : tensor<?x?x12xf32>, tensor<12xf32>, tensor<12xf32>
    %20 = ds.weight @cls.predictions.bias : tensor<24xf32>
    %21 = ds.linear %19, %0 bias %20 : tensor<?x?x12xf32>, tensor<24x12xf32>, tensor<24xf32>
    return %12, %21 : tensor<?x?x12xf32>, tensor<?x?x24xf32>
  }
}

