// RUN: ds-opt --verify-diagnostics --split-input-file %s

// expected-error@+1 {{expects a parameter, or a rope table for layout rope}}
ds_plan.storage @storage_c1 panels : memref<2x64x32xf32>

// -----

ds.parameter @p from "p" : tensor<64xf32>
// expected-error@+1 {{expects a parameter, or a rope table for layout rope}}
ds_plan.storage @storage_c1_rope rope of @p : memref<16x2x8xf32>

// -----

// expected-error@+1 {{expects a static type, got 'memref<?x64xf32>'}}
ds_plan.storage @storage_c2 rows of @p : memref<?x64xf32>

// -----

// expected-error@+1 {{expects an offset that is a multiple of 64, got 32}}
ds_plan.storage @storage_c3 rows of @p offset 32 : memref<64x64xf32>

// -----

// expected-error@+1 {{expects the shape of layout panels, got 'memref<64x64xf32>'}}
ds_plan.storage @storage_c4 panels of @p : memref<64x64xf32>

// -----

/// bf16 lies in pairs, and nothing else does.
// expected-error@+1 {{expects the shape of layout panels, got 'memref<2x64x32xbf16>'}}
ds_plan.storage @storage_c4_panels_bf16 panels of @p : memref<2x64x32xbf16>

// -----

// expected-error@+1 {{expects the shape of layout panel_pairs, got 'memref<2x32x32x2xf16>'}}
ds_plan.storage @storage_c4_pairs_f16 panel_pairs of @p : memref<2x32x32x2xf16>

// -----

// expected-error@+1 {{expects the shape of layout panel_pairs, got 'memref<2x64x32xbf16>'}}
ds_plan.storage @storage_c4_pairs panel_pairs of @p : memref<2x64x32xbf16>

// -----

// expected-error@+1 {{expects the shape of layout panel_halves, got 'memref<2x33x32x2xbf16>'}}
ds_plan.storage @storage_c4_halves_bf16 panel_halves of @p : memref<2x33x32x2xbf16>

// -----

// expected-error@+1 {{expects the shape of layout tiles, got 'memref<16x2x8x32xf32>'}}
ds_plan.storage @storage_c4_tiles_f32 tiles of @p : memref<16x2x8x32xf32>

// -----

// expected-error@+1 {{expects the shape of layout panel_pairs, got 'memref<2x32x2x32xbf16>'}}
ds_plan.storage @storage_c4_pairs_order panel_pairs of @p : memref<2x32x2x32xbf16>

// -----

// expected-error@+1 {{expects the shape of layout panels, got 'memref<2x64x40xf32>'}}
ds_plan.storage @storage_c4_panels_40 panels of @p : memref<2x64x40xf32>

// -----

// expected-error@+1 {{expects the shape of layout panel_pairs, got 'memref<2x32x40x2xbf16>'}}
ds_plan.storage @storage_c4_pairs_40 panel_pairs of @p : memref<2x32x40x2xbf16>

// -----

// expected-error@+1 {{expects the shape of layout panel_codes, got 'memref<2x64x40xi32>'}}
ds_plan.storage @storage_c4_codes_40 panel_codes of @p : memref<2x64x40xi32>

// -----

// expected-error@+1 {{expects the shape of layout panel_codes, got 'memref<2x64x32x2xi32>'}}
ds_plan.storage @storage_c4_codes_rank panel_codes of @p : memref<2x64x32x2xi32>

// -----

/// Codes are words of i32, and nothing else in panels is.
// expected-error@+1 {{expects the shape of layout panel_codes, got 'memref<2x64x32xf32>'}}
ds_plan.storage @storage_c4_codes_f32 panel_codes of @p : memref<2x64x32xf32>

// -----

// expected-error@+1 {{expects the shape of layout panels, got 'memref<2x64x32xi32>'}}
ds_plan.storage @storage_c4_panels_i32 panels of @p : memref<2x64x32xi32>

// -----

// expected-error@+1 {{expects the shape of layout vector, got 'memref<60xf32>'}}
ds_plan.storage @storage_c4_vector vector of @p : memref<60xf32>

// -----

// expected-error@+1 {{expects 1 <= max_batch <= max_rows, got 16 and 8}}
ds_plan.program @program_c1 max_batch 16 max_rows 8 arena 0 kv_bytes 0 {
}

// -----

// expected-error@+1 {{expects arena and kv_bytes of at least 0, got -1 and 0}}
ds_plan.program @program_c1_arena max_batch 1 max_rows 8 arena -1 kv_bytes 0 {
}

// -----

ds_plan.program @input_c1 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects type memref<?xi32>, got 'memref<?xf32>'}}
  %0 = ds_plan.input "input_ids" 0 tokens : memref<?xf32>
}

// -----

ds_plan.program @output_c1 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects f32 rows of a static width, got 'memref<?x?xf32>'}}
  %0 = ds_plan.output "hidden" 0 tokens : memref<?x?xf32>
}

// -----

ds_plan.program @buffer_c1 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects rows of a static width, got 'memref<8x64xf32>'}}
  %0 = ds_plan.buffer tokens : memref<8x64xf32>
}

// -----

ds_plan.program @buffer_c2 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects an offset that is a multiple of 64, got 4}}
  %0 = ds_plan.buffer tokens offset 4 : memref<?x64xf32>
}

// -----

ds_plan.program @buffer_c3 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects grouped rows of f32 and a width that is a multiple of 16, got 'memref<?x24xf32>'}}
  %0 = ds_plan.buffer tokens grouped : memref<?x24xf32>
}

// -----

ds_plan.program @buffer_c3_i32 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects grouped rows of f32 and a width that is a multiple of 16, got 'memref<?x64xi32>'}}
  %0 = ds_plan.buffer tokens grouped : memref<?x64xi32>
}

// -----

ds_plan.program @buffer_c3_bf16 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects grouped rows of f32 and a width that is a multiple of 16, got 'memref<?x64xbf16>'}}
  %0 = ds_plan.buffer tokens grouped : memref<?x64xbf16>
}

// -----

ds.cache @k : tensor<?x24x32xf32>
ds_plan.program @cache_c1 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects a type [C, 2 * D] with C a multiple of 16, got 'memref<24x32xf32>'}}
  %0 = ds_plan.cache @k keys heads 2 offset 0 : memref<24x32xf32>
}

// -----

ds.cache @k : tensor<?x16x32xf32>
ds_plan.program @cache_c2 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects an offset that is a multiple of 64, got 2}}
  %0 = ds_plan.cache @k keys heads 2 offset 2 : memref<16x32xf32>
}

// -----

ds.cache @k : tensor<?x16x32xf16>
ds_plan.program @cache_c3 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects f32, bf16, or i8 for codes, got 'memref<16x32xf16>'}}
  %0 = ds_plan.cache @k keys heads 2 offset 0 : memref<16x32xf16>
}

// -----

ds_plan.program @weight_c1 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects a ds_plan.storage named @missing}}
  %0 = ds_plan.weight @missing : memref<64xf32>
}

// -----

ds.parameter @p from "p" : tensor<64xf32>
ds_plan.storage @s vector of @p : memref<64xf32>
ds_plan.program @weight_c1_type max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  // expected-error@+1 {{expects type 'memref<64xf32>' of @s, got 'memref<32xf32>'}}
  %0 = ds_plan.weight @s : memref<32xf32>
}

// -----

// expected-error@+1 {{expects tensors as block arguments, got 'memref<?x64xf32>'}}
ds_plan.kernel @kernel_c1 "row" schedule {} {
^bb0(%x: memref<?x64xf32>):
  ds_plan.return
}

// -----

ds.parameter @p from "p" : tensor<64xf32>
ds_plan.kernel @kernel_c1_op "row" schedule {} {
  // expected-error@+1 {{expects an op that computes a value of the kernel}}
  %0 = ds.weight @p : tensor<64xf32>
  ds_plan.return %0 : tensor<64xf32>
}

// -----

ds_plan.kernel @store_cache_c1 "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>):
  // expected-error@+1 {{expects input of shape [B, T, 3 * D], got 'tensor<?x?x32xf32>'}}
  %0 = ds_plan.store_cache keys heads 3 %x : tensor<?x?x32xf32> -> tensor<?x?x32xf32>
  ds_plan.return %0 : tensor<?x?x32xf32>
}

// -----

ds_plan.kernel @store_cache_c1_width "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>):
  // expected-error@+1 {{expects a result of width 32, got 'tensor<?x?x64xf32>'}}
  %0 = ds_plan.store_cache keys heads 2 %x : tensor<?x?x32xf32> -> tensor<?x?x64xf32>
  ds_plan.return %0 : tensor<?x?x64xf32>
}

// -----

ds_plan.kernel @store_cache_c1_past "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>, %p: tensor<?x?xi32>):
  // expected-error@+1 {{expects past of shape [B], got 'tensor<?x?xi32>'}}
  %0 = ds_plan.store_cache keys heads 2 %x past %p : tensor<?x?x32xf32>, tensor<?x?xi32> -> tensor<?x16x32xf32>
  ds_plan.return %0 : tensor<?x16x32xf32>
}

// -----

ds_plan.kernel @store_cache_c2_group "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>, %p: tensor<?xi32>):
  // expected-error@+1 {{expects codes with one f32 scale for a head, and past, got 'tensor<?x16x32x!ds.quantized<8 symmetric group 32 scale f32>>'}}
  %0 = ds_plan.store_cache keys heads 2 %x past %p : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x16x32x!ds.quantized<8 symmetric group 32 scale f32>>
  ds_plan.return %0 : tensor<?x16x32x!ds.quantized<8 symmetric group 32 scale f32>>
}

// -----

/// Packed rows of a step without a cache are f32.
ds_plan.kernel @store_cache_c2_past "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>):
  // expected-error@+1 {{expects codes with one f32 scale for a head, and past, got}}
  %0 = ds_plan.store_cache keys heads 2 %x : tensor<?x?x32xf32> -> tensor<?x?x32x!ds.quantized<8 symmetric group 16 scale f32>>
  ds_plan.return %0 : tensor<?x?x32x!ds.quantized<8 symmetric group 16 scale f32>>
}

// -----

/// Codes lie in a cache of i8.
ds.cache @k : tensor<?x16x32x!ds.quantized<8 symmetric group 16 scale f32>>
ds_plan.kernel @store "store_cache" schedule {} {
^bb0(%x: tensor<?x?x32xf32>, %p: tensor<?xi32>):
  %0 = ds_plan.store_cache keys heads 2 %x past %p : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x16x32x!ds.quantized<8 symmetric group 16 scale f32>>
  ds_plan.return %0 : tensor<?x16x32x!ds.quantized<8 symmetric group 16 scale f32>>
}
ds_plan.program @launch_c2_codes max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x32xf32>
  %p = ds_plan.input "past" 0 batch : memref<?xi32>
  %k = ds_plan.cache @k keys heads 2 offset 0 : memref<16x32xf32>
  // expected-error@+1 {{expects outs 0 to hold 'tensor<?x16x32x!ds.quantized<8 symmetric group 16 scale f32>>', got 'memref<16x32xf32>'}}
  ds_plan.launch @store ins(%x, %p : memref<?x32xf32>, memref<?xi32>) outs(%k : memref<16x32xf32>)
}

// -----

ds_plan.program @launch_c1 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  // expected-error@+1 {{expects a ds_plan.kernel named @missing}}
  ds_plan.launch @missing ins() outs(%0 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c1_count max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  // expected-error@+1 {{expects 1 ins and 1 outs for kernel @copy}}
  ds_plan.launch @copy ins() outs(%0 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c2 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x32xf32>
  %1 = ds_plan.buffer tokens : memref<?x64xf32>
  // expected-error@+1 {{expects ins 0 to hold 'tensor<?x?x64xf32>', got 'memref<?x32xf32>'}}
  ds_plan.launch @copy ins(%0 : memref<?x32xf32>) outs(%1 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c2_outs max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x32xf32>
  %1 = ds_plan.buffer tokens : memref<?x64xf32>
  // expected-error@+1 {{expects outs 0 to hold 'tensor<?x?x64xf32>', got 'memref<?x32xf32>'}}
  ds_plan.launch @copy ins(%1 : memref<?x64xf32>) outs(%0 : memref<?x32xf32>)
}

// -----

ds_plan.kernel @ids "copy" schedule {} {
^bb0(%x: tensor<?x?xi32>):
  ds_plan.return %x : tensor<?x?xi32>
}
ds_plan.program @launch_c3 max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %0 = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
  // expected-error@+1 {{expects outs 0 to be a buffer, an output, a cache or a place in the state of its own}}
  ds_plan.launch @ids ins(%0 : memref<?xi32>) outs(%0 : memref<?xi32>)
}

// -----

ds.cache @k : tensor<?x16x64xf32>
ds_plan.kernel @attend "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x16x64xf32>):
  %y = ds.attention %q, %k, %k heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x16x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.program @launch_c4_reads_cache max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %k = ds_plan.cache @k keys heads 4 offset 0 : memref<16x64xf32>
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  %1 = ds_plan.buffer tokens : memref<?x64xf32>
  // expected-error@+1 {{expects a chain to work on weights and on rows that all operands have, and to write buffers}}
  ds_plan.launch @attend chain 0 ins(%0, %k : memref<?x64xf32>, memref<16x64xf32>) outs(%1 : memref<?x64xf32>)
}

// -----

ds.cache @k : tensor<?x16x64xf32>
ds_plan.kernel @store "store_cache" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %k = ds_plan.store_cache keys heads 4 %x : tensor<?x?x64xf32> -> tensor<?x16x64xf32>
  ds_plan.return %k : tensor<?x16x64xf32>
}
ds_plan.program @launch_c4_writes_cache max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %k = ds_plan.cache @k keys heads 4 offset 0 : memref<16x64xf32>
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  // expected-error@+1 {{expects a chain to work on weights and on rows that all operands have, and to write buffers}}
  ds_plan.launch @store chain 0 ins(%0 : memref<?x64xf32>) outs(%k : memref<16x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c4_rows max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  %1 = ds_plan.buffer selected : memref<?x64xf32>
  // expected-error@+1 {{expects a chain to work on weights and on rows that all operands have, and to write buffers}}
  ds_plan.launch @copy chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @rotate "rope" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %p: tensor<?x?xi32>):
  %y = ds.rope half %x, %p heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.program @launch_c4_rows_of_input max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %p = ds_plan.input "positions" 0 batch : memref<?xi32>
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  %1 = ds_plan.buffer tokens : memref<?x64xf32>
  // expected-error@+1 {{expects a chain to work on weights and on rows that all operands have, and to write buffers}}
  ds_plan.launch @rotate chain 0 ins(%0, %p : memref<?x64xf32>, memref<?xi32>) outs(%1 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c4_rows_of_aux max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  %1 = ds_plan.buffer tokens : memref<?x64xf32>
  %2 = ds_plan.buffer batch : memref<?x64xf32>
  // expected-error@+1 {{expects a chain to work on weights and on rows that all operands have, and to write buffers}}
  ds_plan.launch @copy chain 0 ins(%0 : memref<?x64xf32>) aux(%2 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c4_output max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %y = ds_plan.output "hidden" 0 tokens : memref<?x64xf32>
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  // expected-error@+1 {{expects a chain to work on weights and on rows that all operands have, and to write buffers}}
  ds_plan.launch @copy chain 0 ins(%0 : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c4_between max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  %1 = ds_plan.buffer tokens : memref<?x64xf32>
  %2 = ds_plan.buffer tokens : memref<?x64xf32>
  %3 = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
  ds_plan.launch @copy ins(%0 : memref<?x64xf32>) outs(%2 : memref<?x64xf32>)
  // expected-error@+1 {{expects the launches of chain 0 to follow each other}}
  ds_plan.launch @copy chain 0 ins(%1 : memref<?x64xf32>) outs(%3 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c4_chain_between max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  %1 = ds_plan.buffer tokens : memref<?x64xf32>
  %2 = ds_plan.buffer tokens : memref<?x64xf32>
  %3 = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
  ds_plan.launch @copy chain 1 ins(%0 : memref<?x64xf32>) outs(%2 : memref<?x64xf32>)
  ds_plan.barrier
  // expected-error@+1 {{expects the launches of chain 0 to follow each other}}
  ds_plan.launch @copy chain 0 ins(%1 : memref<?x64xf32>) outs(%3 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.program @launch_c4_chain_rows max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %0 = ds_plan.buffer tokens : memref<?x64xf32>
  %1 = ds_plan.buffer tokens : memref<?x64xf32>
  %2 = ds_plan.buffer batch : memref<?x64xf32>
  %3 = ds_plan.buffer batch : memref<?x64xf32>
  ds_plan.launch @copy chain 0 ins(%0 : memref<?x64xf32>) outs(%1 : memref<?x64xf32>)
  // expected-error@+1 {{expects the launches of chain 0 to have the same rows}}
  ds_plan.launch @copy chain 0 ins(%2 : memref<?x64xf32>) outs(%3 : memref<?x64xf32>)
}

// -----

ds_plan.kernel @gather "gather" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %r: tensor<?xi32>):
  %y = ds.gather_rows %x, %r : tensor<?x?x64xf32>, tensor<?xi32>
  ds_plan.return %y : tensor<?x64xf32>
}
ds_plan.program @launch_c4_chain_family max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %r = ds_plan.input "rows" 0 selected : memref<?xi32>
  %0 = ds_plan.buffer selected : memref<?x64xf32>
  %1 = ds_plan.buffer selected : memref<?x64xf32>
  // expected-error@+1 {{expects a chain of kernels that work row by row, got family "gather"}}
  ds_plan.launch @gather chain 0 ins(%0, %r : memref<?x64xf32>, memref<?xi32>) outs(%1 : memref<?x64xf32>)
}
