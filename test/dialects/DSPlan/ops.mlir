// RUN: ds-opt --verify-roundtrip %s
// RUN: ds-opt %s | FileCheck %s

ds.parameter @q from "q" : tensor<64x64xf32>
ds.parameter @wte from "wte" : tensor<128x64xf32>
ds.parameter @gain from "gain" : tensor<64xf32>
ds.parameter @codes_of from "codes" : tensor<64x64x!ds.quantized<4 symmetric group 32 scale f16>>
ds.cache @k0 : tensor<?x64x32xf32>
ds.cache @v0 : tensor<?x64x32xf32>
ds.cache @c0 : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>

// CHECK: ds_plan.storage @wq panels of @q offset 0 : memref<2x64x32xf32>
ds_plan.storage @wq panels of @q offset 0 : memref<2x64x32xf32>
// CHECK: ds_plan.storage @wide panel_pairs of @wte offset 16384 : memref<4x32x32x2xbf16>
ds_plan.storage @wide panel_pairs of @wte offset 16384 : memref<4x32x32x2xbf16>
/// Panels of 48 columns: 64 of them fill one and a third.
// CHECK: ds_plan.storage @panels_48 panels of @q : memref<2x64x48xf32>
ds_plan.storage @panels_48 panels of @q : memref<2x64x48xf32>
// CHECK: ds_plan.storage @halves panels of @wte : memref<4x64x32xf16>
ds_plan.storage @halves panels of @wte : memref<4x64x32xf16>
// CHECK: ds_plan.storage @tiles tiles of @wte : memref<16x2x8x32xf16>
ds_plan.storage @tiles tiles of @wte : memref<16x2x8x32xf16>
// CHECK: ds_plan.storage @pairs_48 panel_pairs of @wte : memref<3x32x48x2xbf16>
ds_plan.storage @pairs_48 panel_pairs of @wte : memref<3x32x48x2xbf16>
// CHECK: ds_plan.storage @scaled panel_halves of @wte : memref<3x33x48x2xf16>
ds_plan.storage @scaled panel_halves of @wte : memref<3x33x48x2xf16>
/// Of each panel a row of scales for every two groups of 32, and a row of codes for every eight k.
// CHECK: ds_plan.storage @codes panel_codes of @codes_of offset 16384 : memref<2x9x48xi32>
ds_plan.storage @codes panel_codes of @codes_of offset 16384 : memref<2x9x48xi32>
// CHECK: ds_plan.storage @codes_32 panel_codes of @codes_of : memref<2x9x32xi32>
ds_plan.storage @codes_32 panel_codes of @codes_of : memref<2x9x32xi32>
ds_plan.storage @table rows of @wte offset 16384 : memref<128x64xbf16>
ds_plan.storage @vector vector of @gain : memref<64xf32>
// CHECK: ds_plan.storage @angles rope rope {base = 1.000000e+04 : f64, positions = 64 : i64, rotary = 16 : i64} : memref<64x2x8xf32>
ds_plan.storage @angles rope rope {base = 1.0e4, positions = 64, rotary = 16} : memref<64x2x8xf32>

ds_plan.kernel @gelu "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %y = ds.gelu erf %x : tensor<?x?x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

ds_plan.kernel @gemm "gemm" schedule {rows = 16} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

ds_plan.kernel @rotate "rope" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %p: tensor<?x?xi32>):
  %y = ds.rope half %x, %p heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: ds_plan.kernel @store_keys
ds_plan.kernel @store_keys "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>, %p: tensor<?xi32>):
  // CHECK: ds_plan.store_cache keys heads 2 %{{.*}} past %{{.*}} : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
  %k = ds_plan.store_cache keys heads 2 %x past %p : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
  ds_plan.return %k : tensor<?x64x32xf32>
}

// CHECK-LABEL: ds_plan.kernel @store_codes
ds_plan.kernel @store_codes "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>, %p: tensor<?xi32>):
  // CHECK: ds_plan.store_cache keys heads 2 %{{.*}} past %{{.*}} -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  %c = ds_plan.store_cache keys heads 2 %x past %p
        : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  ds_plan.return %c : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
}

ds_plan.kernel @store_step "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>):
  %v = ds_plan.store_cache values heads 2 %x : tensor<?x?x32xf32> -> tensor<?x?x32xf32>
  ds_plan.return %v : tensor<?x?x32xf32>
}

ds_plan.kernel @head "gemm" schedule {} {
^bb0(%x: tensor<?x64xf32>, %w: tensor<49152x64xf32>):
  %y = ds.linear %x, %w : tensor<?x64xf32>, tensor<49152x64xf32>
  ds_plan.return %y : tensor<?x49152xf32>
}

// CHECK-LABEL: ds_plan.program @decode max_batch 16 max_rows 16 arena 0 kv_bytes 0
ds_plan.program @decode max_batch 16 max_rows 16 arena 0 kv_bytes 0 {
}

// CHECK-LABEL: ds_plan.program @prefill max_batch 16 max_rows 512 arena 1048576 kv_bytes 16384
ds_plan.program @prefill max_batch 16 max_rows 512 arena 1048576 kv_bytes 16384 {
  // CHECK: ds_plan.input "input_ids" 0 tokens : memref<?xi32>
  %ids = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
  %past = ds_plan.input "past" 1 batch : memref<?xi32>
  // CHECK: ds_plan.output "logits" 1 selected : memref<?x49152xf32>
  %logits = ds_plan.output "logits" 1 selected : memref<?x49152xf32>
  // CHECK: ds_plan.buffer tokens offset 0 : memref<?x64xf32>
  %x = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
  // CHECK: ds_plan.buffer tokens grouped offset 393216 : memref<?x64xf32>
  %g = ds_plan.buffer tokens grouped offset 393216 : memref<?x64xf32>
  // CHECK: ds_plan.buffer tokens grouped : memref<?x48xf32>
  %h = ds_plan.buffer tokens grouped : memref<?x48xf32>
  // CHECK: ds_plan.buffer packed : memref<?x32xf32>
  %p = ds_plan.buffer packed : memref<?x32xf32>
  %y = ds_plan.buffer tokens offset 131072 : memref<?x64xf32>
  %z = ds_plan.buffer tokens offset 262144 : memref<?x32xf32>
  // CHECK: ds_plan.weight @wq : memref<2x64x32xf32>
  %w = ds_plan.weight @wq : memref<2x64x32xf32>
  %t = ds_plan.weight @angles : memref<64x2x8xf32>
  // CHECK: ds_plan.cache @k0 keys heads 2 offset 0 : memref<64x32xf32>
  %k = ds_plan.cache @k0 keys heads 2 offset 0 : memref<64x32xf32>
  // CHECK: ds_plan.cache @c0 keys heads 2 offset 8192 : memref<64x32xi8>
  %c = ds_plan.cache @c0 keys heads 2 offset 8192 : memref<64x32xi8>
  // CHECK: ds_plan.launch @gelu ins(%{{.*}} : memref<?x64xf32>) outs(%{{.*}} : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  // CHECK: ds_plan.barrier
  ds_plan.barrier
  ds_plan.launch @gemm ins(%y, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%x : memref<?x64xf32>)
  // CHECK: ds_plan.launch @store_keys ins(%{{.*}}) aux(%{{.*}} : memref<64x2x8xf32>) outs(%{{.*}} : memref<64x32xf32>)
  ds_plan.launch @store_keys ins(%z, %past : memref<?x32xf32>, memref<?xi32>) aux(%t : memref<64x2x8xf32>) outs(%k : memref<64x32xf32>)
  // CHECK: ds_plan.launch @store_codes ins(%{{.*}}) outs(%{{.*}} : memref<64x32xi8>)
  ds_plan.launch @store_codes ins(%z, %past : memref<?x32xf32>, memref<?xi32>) outs(%c : memref<64x32xi8>)
  ds_plan.launch @store_step ins(%z : memref<?x32xf32>) outs(%p : memref<?x32xf32>)
  // CHECK: ds_plan.launch @gemm chain 0 ins(%{{.*}}, %{{.*}} : memref<?x64xf32>, memref<2x64x32xf32>) outs(%{{.*}} : memref<?x64xf32>)
  ds_plan.launch @gemm chain 0 ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%g : memref<?x64xf32>)
  ds_plan.barrier
  /// Barriers and places may stand inside a chain, launches may not.
  // CHECK: ds_plan.launch @gemm chain 0 ins
  %again = ds_plan.weight @wq : memref<2x64x32xf32>
  ds_plan.launch @gemm chain 0 ins(%g, %again : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
  /// Aux weights are the same for all rows, and inputs of the chain's rows may be read.
  // CHECK: ds_plan.launch @rotate chain 1 ins({{.*}}) aux({{.*}}) outs
  ds_plan.launch @rotate chain 1 ins(%y, %ids : memref<?x64xf32>, memref<?xi32>) aux(%t : memref<64x2x8xf32>) outs(%x : memref<?x64xf32>)
}
