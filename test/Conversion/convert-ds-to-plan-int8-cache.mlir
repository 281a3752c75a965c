// RUN: ds-opt --convert-ds-to-plan --split-input-file %s | FileCheck %s
// RUN: ds-opt --convert-ds-to-plan='target=cuda weights=bf16' --split-input-file %s | FileCheck %s

/// A cache takes 64 slots of 2 heads, each of 16 codes and a scale: 2560 bytes.
// CHECK:       ds_plan.kernel @store_keys_2x16_int8 "store_cache"
// CHECK:         ds_plan.store_cache keys heads 2 %{{.*}} past %{{.*}} : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
// CHECK:       ds_plan.kernel @attention_2x16 "attention"
// CHECK-LABEL: ds_plan.program @prefill max_batch 16 max_rows 512 arena 0 kv_bytes 5120
// CHECK:         %[[K:.*]] = ds_plan.cache @"0.k" keys heads 2 offset 0 : memref<64x32xi8>
// CHECK:         ds_plan.launch @store_keys_2x16_int8 ins(%{{.*}}) outs(%[[K]] : memref<64x32xi8>)
// CHECK:         %[[V:.*]] = ds_plan.cache @"0.v" values heads 2 offset 2560 : memref<64x32xi8>
// CHECK:         ds_plan.launch @store_values_2x16_int8 ins(%{{.*}}) outs(%[[V]] : memref<64x32xi8>)
// CHECK:         ds_plan.launch @attention_2x16 ins(%{{.*}}, %[[K]], %[[V]], %{{.*}} : memref<?x32xf32>, memref<64x32xi8>, memref<64x32xi8>, memref<?xi32>)
module attributes {ds.model = {max_positions = 64}} {
  ds.parameter @table from "table" : tensor<128x32xf32>
  ds.cache @"0.k" : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  ds.cache @"0.v" : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  func.func @prefill(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %past: tensor<?xi32> {ds.name = "past"})
      -> (tensor<?x?x32xf32> {ds.name = "hidden"}) {
    %w = ds.weight @table : tensor<128x32xf32>
    %x = ds.embedding %ids, %w : tensor<?x?xi32>, tensor<128x32xf32>
    %k = ds.cache_append @"0.k", %x past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
    %v = ds.cache_append @"0.v", %x past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
    %a = ds.attention %x, %k, %v past %past : tensor<?xi32> heads 2 kv_heads 2 scale 0.25 causal
      : tensor<?x?x32xf32>, tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
    return %a : tensor<?x?x32xf32>
  }
}
