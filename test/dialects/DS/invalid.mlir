// RUN: ds-opt --verify-diagnostics --split-input-file %s

// expected-error @+1 {{'ds.parameter' op expects either a source or a value, got both}}
ds.parameter @parameter_c1_both from "w" value dense<0.0> : tensor<2xf32> : tensor<2xf32>

// -----

// expected-error @+1 {{expects either a source or a value, got neither}}
ds.parameter @parameter_c1_neither : tensor<2xf32>

// -----

// expected-error @+1 {{expects a static tensor of rank 1 or 2, got 'tensor<?x2xf32>'}}
ds.parameter @parameter_c2_dynamic from "w" : tensor<?x2xf32>

// -----

// expected-error @+1 {{expects a static tensor of rank 1 or 2, got 'tensor<2x2x2xf32>'}}
ds.parameter @parameter_c2_rank from "w" : tensor<2x2x2xf32>

// -----

// expected-error @+1 {{expects value of type 'tensor<2xf32>', got 'tensor<3xf32>'}}
ds.parameter @parameter_c2_value value dense<0.0> : tensor<3xf32> : tensor<2xf32>

// -----

// expected-error @+1 {{expects a source to take the view of}}
ds.parameter @parameter_c3_source view <0, [2], [1]> value dense<0.0> : tensor<2xf32> : tensor<2xf32>

// -----

// expected-error @+1 {{expects a view of 2 elements, got 6}}
ds.parameter @parameter_c3_elements from "w" view <0, [2, 3], [3, 1]> : tensor<2xf32>

// -----

// expected-error @+1 {{expects a view of fewer than 2^63 elements}}
ds.parameter @parameter_c3_overflow from "w" view <0, [4294967296, 4294967296], [0, 0]> : tensor<2xf32>

// -----

// expected-error @+1 {{expects a quantized matrix of rank 2 with a source, got 'tensor<64x!ds.quantized<4 symmetric group 16 scale f16>>'}}
ds.parameter @parameter_c4_rank from "w" : tensor<64x!ds.quantized<4 symmetric group 16 scale f16>>

// -----

/// Codes have no value of their own type.
// expected-error @+1 {{expects value of type 'tensor<32x64x!ds.quantized<8 symmetric group 0 scale f32>>', got 'tensor<32x64xf32>'}}
ds.parameter @parameter_c4_source value dense<0.0> : tensor<32x64xf32> : tensor<32x64x!ds.quantized<8 symmetric group 0 scale f32>>

// -----

// expected-error @+1 {{expects groups that divide the columns, both multiples of 16, got groups of 64 and 96 columns}}
ds.parameter @parameter_c4_group from "w" : tensor<32x96x!ds.quantized<4 symmetric group 64 scale f16>>

// -----

// expected-error @+1 {{expects groups that divide the columns, both multiples of 16, got groups of 64 and 32 columns}}
ds.parameter @parameter_c4_narrow from "w" : tensor<32x32x!ds.quantized<4 symmetric group 64 scale f16>>

// -----

// expected-error @+1 {{expects groups that divide the columns, both multiples of 16, got groups of 24 and 24 columns}}
ds.parameter @parameter_c4_columns from "w" : tensor<32x24x!ds.quantized<8 symmetric group 0 scale f32>>

// -----

// expected-error @+1 {{expects 2 to 8 bits, got 1}}
ds.parameter @quantized_bits from "w" : tensor<32x64x!ds.quantized<1 symmetric group 32 scale f16>>

// -----

// expected-error @+1 {{expects 2 to 8 bits, got 9}}
ds.parameter @quantized_bits_above from "w" : tensor<32x64x!ds.quantized<9 symmetric group 32 scale f16>>

// -----

// expected-error @+1 {{expects groups that divide the columns, both multiples of 16, got groups of 24 and 48 columns}}
ds.parameter @parameter_c4_group from "w" : tensor<32x48x!ds.quantized<4 symmetric group 24 scale f16>>

// -----

// expected-error @+1 {{expects groups of at least 1, or 0 for whole rows, got -16}}
ds.parameter @quantized_negative_group from "w" : tensor<32x64x!ds.quantized<4 symmetric group -16 scale f16>>

// -----

// expected-error @+1 {{expects scales of f16 or f32, or of si8 or ui6 in blocks, got 'bf16'}}
ds.parameter @quantized_scale from "w" : tensor<32x64x!ds.quantized<8 asymmetric group 16 scale bf16>>

// -----

// expected-error @+1 {{expects integer scales of si8 with symmetric codes or of ui6 with asymmetric ones, got 'si8' with asymmetric}}
ds.parameter @quantized_scale_kind from "w" : tensor<32x256x!ds.quantized<4 asymmetric group 32 scale si8>>

// -----

// expected-error @+1 {{expects integer scales of si8 with symmetric codes or of ui6 with asymmetric ones, got 'i8' with symmetric}}
ds.parameter @quantized_scale_sign from "w" : tensor<32x256x!ds.quantized<6 symmetric group 16 scale i8>>

// -----

// expected-error @+1 {{expects integer scales of si8 with symmetric codes or of ui6 with asymmetric ones, got 'ui6' with e4m3}}
ds.parameter @quantized_scale_e4m3 from "w" : tensor<32x256x!ds.quantized<8 e4m3 group 32 scale ui6>>

// -----

// expected-error @+1 {{expects groups of 16 or 32 with scales of 'ui6', got 64}}
ds.parameter @quantized_scale_group from "w" : tensor<32x256x!ds.quantized<4 asymmetric group 64 scale ui6>>

// -----

// expected-error @+1 {{expects columns that blocks of 256 divide, as scales are integers, got 128}}
ds.parameter @parameter_c4_block from "w" : tensor<32x128x!ds.quantized<6 symmetric group 16 scale si8>>

// -----

// expected-error @+1 {{expects 8 bits for e4m3, got 4}}
ds.parameter @quantized_e4m3 from "w" : tensor<32x64x!ds.quantized<4 e4m3 group 16 scale f16>>

// -----

// expected-error @+1 {{expects a quantized type of 4 bits, symmetric, with scales of f32 for its grid, got 'tensor<32x64xf32>'}}
ds.parameter @parameter_c5_float from "w" grid <4 symmetric groups 1> : tensor<32x64xf32>

// -----

// expected-error @+1 {{expects a quantized type of 5 bits, symmetric, with scales of f32 for its grid, got}}
ds.parameter @parameter_c5_bits from "w" grid <5 symmetric groups 1> : tensor<32x64x!ds.quantized<4 symmetric group 0 scale f32>>

// -----

// expected-error @+1 {{expects a quantized type of 3 bits, asymmetric, with scales of f32 for its grid, got}}
ds.parameter @parameter_c5_kind from "w" grid <3 asymmetric groups 1> : tensor<32x64x!ds.quantized<3 symmetric group 0 scale f32>>

// -----

// expected-error @+1 {{expects a quantized type of 2 bits, symmetric, with scales of f32 for its grid, got}}
ds.parameter @parameter_c5_scale from "w" grid <1 symmetric groups 64> : tensor<32x64x!ds.quantized<2 symmetric group 32 scale f16>>

// -----

// expected-error @+1 {{expects 1 to 8 bits, got 9}}
ds.parameter @moq_bits from "w" grid <9 symmetric groups 1> : tensor<32x64x!ds.quantized<8 symmetric group 0 scale f32>>

// -----

// expected-error @+1 {{expects symmetric or asymmetric codes, got e4m3}}
ds.parameter @moq_kind from "w" grid <8 e4m3 groups 1> : tensor<32x64x!ds.quantized<8 e4m3 group 0 scale f32>>

// -----

// expected-error @+1 {{expects 3 bits or more for asymmetric codes, got 2}}
ds.parameter @moq_asymmetric from "w" grid <2 asymmetric groups 1> : tensor<32x64x!ds.quantized<4 asymmetric group 0 scale f32>>

// -----

// expected-error @+1 {{expects symmetric codes of 3 bits or more for the formula of inference, got asymmetric ones of 8}}
ds.parameter @moq_inference from "w" grid <8 asymmetric groups 1 formula inference> : tensor<32x64x!ds.quantized<8 asymmetric group 0 scale f32>>

// -----

// expected-error @+1 {{expects symmetric codes of 3 bits or more for the formula of inference, got symmetric ones of 2}}
ds.parameter @moq_inference_bits from "w" grid <2 symmetric groups 1 formula inference> : tensor<32x64x!ds.quantized<2 symmetric group 0 scale f32>>

// -----

// expected-error @+1 {{expects 1 group or more, got 0}}
ds.parameter @moq_groups from "w" grid <4 symmetric groups 0> : tensor<32x64x!ds.quantized<4 symmetric group 0 scale f32>>

// -----

/// Weights alone are quantized.
func.func @linear_quantized_input(%x: tensor<?x64x!ds.quantized<8 symmetric group 0 scale f32>>, %w: tensor<32x64xf32>) {
  // expected-error @+1 {{'ds.linear' op operand #0 must be ranked tensor of}}
  %y = ds.linear %x, %w : tensor<?x64x!ds.quantized<8 symmetric group 0 scale f32>>, tensor<32x64xf32>
  return
}

// -----

// expected-error @+1 {{expects offset of at least 0, got -1}}
ds.parameter @view_offset from "w" view <-1, [2], [1]> : tensor<2xf32>

// -----

// expected-error @+1 {{expects as many strides as sizes, got 2 for 1}}
ds.parameter @view_strides from "w" view <0, [2], [1, 1]> : tensor<2xf32>

// -----

// expected-error @+1 {{expects positive sizes and strides of at least 0, got size 2 and stride -1}}
ds.parameter @view_negative_stride from "w" view <0, [2], [-1]> : tensor<2xf32>

// -----

// expected-error @+1 {{expects positive sizes and strides of at least 0, got size 0 and stride 1}}
ds.parameter @view_empty from "w" view <0, [0], [1]> : tensor<2xf32>

// -----

func.func @weight_c1_unknown() {
  // expected-error @+1 {{'ds.weight' op expects a ds.parameter named @none}}
  %w = ds.weight @none : tensor<2xf32>
  return
}

// -----

ds.parameter @w from "w" : tensor<2xf32>
func.func @weight_c1_type() {
  // expected-error @+1 {{expects type 'tensor<2xf32>' of @w, got 'tensor<3xf32>'}}
  %w = ds.weight @w : tensor<3xf32>
  return
}

// -----

// expected-error @+1 {{'ds.cache' op expects a type [?, context, width], got 'tensor<?x?x32xf32>'}}
ds.cache @cache_c1_context : tensor<?x?x32xf32>

// -----

// expected-error @+1 {{expects a type [?, context, width], got 'tensor<2x64x32xf32>'}}
ds.cache @cache_c1_batch : tensor<2x64x32xf32>

// -----

// expected-error @+1 {{expects symmetric codes of 8 bits with f32 scales of groups that divide the width, got 'tensor<?x64x32x!ds.quantized<4 symmetric group 16 scale f32>>'}}
ds.cache @cache_c2_bits : tensor<?x64x32x!ds.quantized<4 symmetric group 16 scale f32>>

// -----

// expected-error @+1 {{expects symmetric codes of 8 bits with f32 scales}}
ds.cache @cache_c2_offsets : tensor<?x64x32x!ds.quantized<8 asymmetric group 16 scale f32>>

// -----

// expected-error @+1 {{expects symmetric codes of 8 bits with f32 scales}}
ds.cache @cache_c2_scale : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f16>>

// -----

// expected-error @+1 {{expects symmetric codes of 8 bits with f32 scales}}
ds.cache @cache_c2_group : tensor<?x64x32x!ds.quantized<8 symmetric group 12 scale f32>>

// -----

// expected-error @+1 {{expects symmetric codes of 8 bits with f32 scales}}
ds.cache @cache_c2_no_group : tensor<?x64x32x!ds.quantized<8 symmetric group 0 scale f32>>

// -----

func.func @layer_c1_arguments(%x: tensor<2xf32>) {
  // expected-error @+1 {{'ds.layer' op expects block arguments of the types of its inputs}}
  %y = ds.layer "h.0"(%x) : (tensor<2xf32>) -> tensor<2xf32> {
  ^bb0(%h: tensor<3xf32>):
    ds.yield %x : tensor<2xf32>
  }
  return
}

// -----

func.func @layer_c1_results(%x: tensor<2xf32>) {
  // expected-error @+1 {{expects yielded values of the types of its results}}
  %y = ds.layer "h.0"(%x) : (tensor<2xf32>) -> tensor<2xf32> {
  ^bb0(%h: tensor<2xf32>):
    ds.yield
  }
  return
}

// -----

func.func @layer_c2(%x: tensor<2xf32>) {
  // expected-error @+1 {{expects inputs and results of equal types}}
  %y:2 = ds.layer "h.0"(%x) : (tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>) {
  ^bb0(%h: tensor<2xf32>):
    ds.yield %h, %h : tensor<2xf32>, tensor<2xf32>
  }
  return
}

// -----

func.func @yield_parent(%x: tensor<2xf32>) {
  // expected-error @+1 {{'ds.yield' op expects parent op to be one of 'ds.layer, ds.fusion'}}
  ds.yield %x : tensor<2xf32>
}

// -----

func.func @fusion_c1(%x: tensor<2xf32>) {
  // expected-error @+1 {{'ds.fusion' op expects no block arguments, and yielded values of the types of its results}}
  %y = ds.fusion -> tensor<3xf32> {
    %r = ds.relu %x : tensor<2xf32>
    ds.yield %r : tensor<2xf32>
  }
  return
}

// -----

func.func @fusion_c2(%x: tensor<2xf32>) {
  // expected-error @+1 {{'ds.fusion' op expects to yield values that its body computes, each once}}
  %y = ds.fusion -> tensor<2xf32> {
    ds.yield %x : tensor<2xf32>
  }
  return
}

// -----

func.func @embedding_c1(%ids: tensor<?x?xi32>, %w: tensor<128xf32>) {
  // expected-error @+1 {{'ds.embedding' op expects table of rank 2, got 'tensor<128xf32>'}}
  %x = ds.embedding %ids, %w : tensor<?x?xi32>, tensor<128xf32>
  return
}

// -----

func.func @linear_c1(%x: tensor<?x64xf32>, %w: tensor<64x32xf32>) {
  // expected-error @+1 {{'ds.linear' op expects weight of shape [N, K] with K the last size of input, got 'tensor<64x32xf32>' for 'tensor<?x64xf32>'}}
  %y = ds.linear %x, %w : tensor<?x64xf32>, tensor<64x32xf32>
  return
}

// -----

func.func @linear_c2(%x: tensor<?x64xf32>, %w: tensor<32x64xf32>, %b: tensor<64xf32>) {
  // expected-error @+1 {{'ds.linear' op expects bias of shape [32], got 'tensor<64xf32>'}}
  %y = ds.linear %x, %w bias %b : tensor<?x64xf32>, tensor<32x64xf32>, tensor<64xf32>
  return
}

// -----

func.func @gather_rows_c1(%x: tensor<?x64xf32>, %rows: tensor<?xi32>) {
  // expected-error @+1 {{'ds.gather_rows' op expects input of rank 3 and rows of rank 1, got 'tensor<?x64xf32>' and 'tensor<?xi32>'}}
  %y = ds.gather_rows %x, %rows : tensor<?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @layer_norm_c1_gain(%x: tensor<?x64xf32>, %g: tensor<32xf32>) {
  // expected-error @+1 {{'ds.layer_norm' op expects gain of shape [64] to match the last axis of input, got 'tensor<32xf32>'}}
  %y = ds.layer_norm %x, %g eps 1.0e-5 : tensor<?x64xf32>, tensor<32xf32>
  return
}

// -----

func.func @layer_norm_c1_bias(%x: tensor<?x64xf32>, %g: tensor<64xf32>, %b: tensor<1x64xf32>) {
  // expected-error @+1 {{expects bias of shape [64] to match the last axis of input, got 'tensor<1x64xf32>'}}
  %y = ds.layer_norm %x, %g bias %b eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>, tensor<1x64xf32>
  return
}

// -----

func.func @layer_norm_c2(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error @+1 {{expects a positive eps, got 0.000000e+00}}
  %y = ds.layer_norm %x, %g eps 0.0 : tensor<?x64xf32>, tensor<64xf32>
  return
}

// -----

func.func @rms_norm_c1(%x: tensor<?x64xf32>, %g: tensor<32xf32>) {
  // expected-error @+1 {{'ds.rms_norm' op expects gain of shape [64] to match the last axis of input, got 'tensor<32xf32>'}}
  %y = ds.rms_norm %x, %g eps 1.0e-6 : tensor<?x64xf32>, tensor<32xf32>
  return
}

// -----

func.func @rms_norm_c1_rank(%x: tensor<f32>, %g: tensor<32xf32>) {
  // expected-error @+1 {{'ds.rms_norm' op expects input of rank 1 or more, got 'tensor<f32>'}}
  %y = ds.rms_norm %x, %g eps 1.0e-6 : tensor<f32>, tensor<32xf32>
  return
}

// -----

func.func @rms_norm_c2(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error @+1 {{expects a positive eps, got -1.000000e-06}}
  %y = ds.rms_norm %x, %g eps -1.0e-6 : tensor<?x64xf32>, tensor<64xf32>
  return
}

// -----

func.func @l2_normalize_c1(%x: tensor<f32>) {
  // expected-error @+1 {{'ds.l2_normalize' op expects input of rank 1 or more, got 'tensor<f32>'}}
  %y = ds.l2_normalize %x eps 1.0e-12 : tensor<f32>
  return
}

// -----

func.func @l2_normalize_c2(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{expects a positive eps, got INF}}
  %y = ds.l2_normalize %x eps 0x7FF0000000000000 : tensor<?x64xf32>
  return
}

// -----

func.func @softmax_c1(%x: tensor<f32>) {
  // expected-error @+1 {{'ds.softmax' op expects input of rank 1 or more, got 'tensor<f32>'}}
  %y = ds.softmax %x : tensor<f32>
  return
}

// -----

func.func @add_types(%x: tensor<2xf32>, %y: tensor<2xi32>) {
  // expected-error @+1 {{'ds.add' op operand #0 must be ranked tensor of 16-bit float or bfloat16 type or 32-bit float or 64-bit float values}}
  %z = "ds.add"(%y, %y) : (tensor<2xi32>, tensor<2xi32>) -> tensor<2xi32>
  return
}

// -----

func.func @rope_c1_input(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) {
  // expected-error @+1 {{'ds.rope' op expects input of shape [B, T, 5 * D], got 'tensor<?x?x64xf32>'}}
  %y = ds.rope half %x, %pos heads 5 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @rope_c1_positions(%x: tensor<?x?x64xf32>, %pos: tensor<?xi32>) {
  // expected-error @+1 {{expects positions of shape [B, T] for input 'tensor<?x?x64xf32>', got 'tensor<?xi32>'}}
  %y = ds.rope half %x, %pos heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?xi32>
  return
}

// -----

func.func @rope_c1_tokens(%x: tensor<2x3x64xf32>, %pos: tensor<2x4xi32>) {
  // expected-error @+1 {{expects positions of shape [B, T] for input 'tensor<2x3x64xf32>', got 'tensor<2x4xi32>'}}
  %y = ds.rope half %x, %pos heads 4 rotary 16 base 1.0e4 : tensor<2x3x64xf32>, tensor<2x4xi32>
  return
}

// -----

func.func @rope_c2_odd(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) {
  // expected-error @+1 {{expects an even rotary of 2 to 16, got 5}}
  %y = ds.rope half %x, %pos heads 4 rotary 5 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @rope_c2_large(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) {
  // expected-error @+1 {{expects an even rotary of 2 to 16, got 18}}
  %y = ds.rope half %x, %pos heads 4 rotary 18 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @rope_c3(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) {
  // expected-error @+1 {{expects a positive base, got 0.000000e+00}}
  %y = ds.rope half %x, %pos heads 4 rotary 16 base 0.0 : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @rope_scaling_kind(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) {
  // expected-error @+1 {{expects kind 'linear' or 'llama3', got 'yarn'}}
  %y = ds.rope half %x, %pos heads 4 rotary 16 base 1.0e4 scaling <"yarn", 8.0 : f64, 1.0 : f64, 4.0 : f64, 8192.0 : f64> : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @rope_scaling_factor(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) {
  // expected-error @+1 {{expects a positive factor, got 0.000000e+00 : f64}}
  %y = ds.rope half %x, %pos heads 4 rotary 16 base 1.0e4 scaling <"linear", 0.0 : f64, 1.0 : f64, 1.0 : f64, 1.0 : f64> : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @rope_scaling_band(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) {
  // expected-error @+1 {{expects 0 < low < high and a positive original, got 4.000000e+00 : f64, 1.000000e+00 : f64, 8.192000e+03 : f64}}
  %y = ds.rope half %x, %pos heads 4 rotary 16 base 1.0e4 scaling <"llama3", 8.0 : f64, 4.0 : f64, 1.0 : f64, 8192.0 : f64> : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// -----

func.func @attention_c1_query(%q: tensor<?x?x62xf32>, %k: tensor<?x?x32xf32>) {
  // expected-error @+1 {{'ds.attention' op expects query of shape [B, T, 4 * D], got 'tensor<?x?x62xf32>'}}
  %y = ds.attention %q, %k, %k heads 4 kv_heads 2 scale 0.25 : tensor<?x?x62xf32>, tensor<?x?x32xf32>
  return
}

// -----

func.func @attention_c1_key(%q: tensor<?x?x64xf32>, %k: tensor<?x?x64xf32>) {
  // expected-error @+1 {{expects key and value of shape [B, S, 32] for query 'tensor<?x?x64xf32>', got 'tensor<?x?x64xf32>'}}
  %y = ds.attention %q, %k, %k heads 4 kv_heads 2 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_c1_batch(%q: tensor<2x?x64xf32>, %k: tensor<3x?x32xf32>) {
  // expected-error @+1 {{expects key and value of shape [B, S, 32] for query 'tensor<2x?x64xf32>', got 'tensor<3x?x32xf32>'}}
  %y = ds.attention %q, %k, %k heads 4 kv_heads 2 scale 0.25 : tensor<2x?x64xf32>, tensor<3x?x32xf32>
  return
}

// -----

func.func @attention_c1_value(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf16>) {
  // expected-error @+1 {{failed to verify that all of {key, value} have same type}}
  %y = "ds.attention"(%q, %k, %v) <{heads = 4 : i64, kv_heads = 2 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>, scale = 2.5e-01 : f64}> : (tensor<?x?x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf16>) -> tensor<?x?x64xf32>
  return
}

// -----

/// A scale for half a head is none for the head.
func.func @attention_c1_codes(%q: tensor<?x?x64xf32>, %k: tensor<?x64x32x!ds.quantized<8 symmetric group 8 scale f32>>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'ds.attention' op expects keys and values of codes with one f32 scale for the 16 values of a head, got}}
  %y = ds.attention %q, %k, %k past %p : tensor<?xi32> heads 4 kv_heads 2 scale 0.25 : tensor<?x?x64xf32>, tensor<?x64x32x!ds.quantized<8 symmetric group 8 scale f32>>
  return
}

// -----

func.func @attention_c2(%q: tensor<?x?x64xf32>, %k: tensor<?x?x48xf32>) {
  // expected-error @+1 {{expects heads to be a multiple of kv_heads, got 4 and 3}}
  %y = ds.attention %q, %k, %k heads 4 kv_heads 3 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x48xf32>
  return
}

// -----

func.func @attention_c3_mask(%q: tensor<?x?x64xf32>, %m: tensor<?xi32>) {
  // expected-error @+1 {{expects mask of shape [B, S] for key 'tensor<?x?x64xf32>', got 'tensor<?xi32>'}}
  %y = ds.attention %q, %q, %q mask %m : tensor<?xi32> heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_c3_short_mask(%q: tensor<2x4x64xf32>, %m: tensor<2x3xi32>) {
  // expected-error @+1 {{expects mask of shape [B, S] for key 'tensor<2x4x64xf32>', got 'tensor<2x3xi32>'}}
  %y = ds.attention %q, %q, %q mask %m : tensor<2x3xi32> heads 4 kv_heads 4 scale 0.25 : tensor<2x4x64xf32>, tensor<2x4x64xf32>
  return
}

// -----

func.func @attention_c3_past(%q: tensor<2x?x64xf32>, %p: tensor<3xi32>) {
  // expected-error @+1 {{expects past of shape [B] for query 'tensor<2x?x64xf32>', got 'tensor<3xi32>'}}
  %y = ds.attention %q, %q, %q past %p : tensor<3xi32> heads 4 kv_heads 4 scale 0.25 : tensor<2x?x64xf32>, tensor<2x?x64xf32>
  return
}

// -----

func.func @attention_c3_slopes(%q: tensor<?x?x64xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{expects slopes of shape [4], got 'tensor<2xf32>'}}
  %y = ds.attention %q, %q, %q slopes %s : tensor<2xf32> heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_c4_scale(%q: tensor<?x?x64xf32>) {
  // expected-error @+1 {{expects a positive scale, got 0.000000e+00}}
  %y = ds.attention %q, %q, %q heads 4 kv_heads 4 scale 0.0 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_c4_window(%q: tensor<?x?x64xf32>) {
  // expected-error @+1 {{expects a positive window together with causal, got 0}}
  %y = ds.attention %q, %q, %q heads 4 kv_heads 4 scale 0.25 causal window 0 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_c4_causal(%q: tensor<?x?x64xf32>) {
  // expected-error @+1 {{expects a positive window together with causal, got 8}}
  %y = ds.attention %q, %q, %q heads 4 kv_heads 4 scale 0.25 window 8 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @cache_append_c1_unknown(%x: tensor<?x?x32xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'ds.cache_append' op expects a ds.cache named @none}}
  %k = ds.cache_append @none, %x past %p : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
  return
}

// -----

ds.cache @k0 : tensor<?x64x32xf32>
func.func @cache_append_c1_type(%x: tensor<?x?x32xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expects type 'tensor<?x64x32xf32>' of @k0, got 'tensor<?x64x32xf16>'}}
  %k = ds.cache_append @k0, %x past %p : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf16>
  return
}

// -----

ds.cache @k0 : tensor<?x64x32xf32>
func.func @cache_append_c1_width(%x: tensor<?x?x16xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'ds.cache_append' op expects input of shape [B, T, 32], got 'tensor<?x?x16xf32>'}}
  %k = ds.cache_append @k0, %x past %p : tensor<?x?x16xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
  return
}

// -----

ds.cache @k0 : tensor<?x64x32xf32>
func.func @cache_append_c2_past(%x: tensor<?x?x32xf32>, %p: tensor<?x?xi32>) {
  // expected-error @+1 {{expects past of rank 1, got 'tensor<?x?xi32>'}}
  %k = ds.cache_append @k0, %x past %p : tensor<?x?x32xf32>, tensor<?x?xi32> -> tensor<?x64x32xf32>
  return
}

// -----

func.func @cache_read_c1_unknown() {
  // expected-error @+1 {{'ds.cache_read' op expects a ds.cache named @none}}
  %k = ds.cache_read @none : tensor<?x64x32xf32>
  return
}

// -----

ds.cache @k0 : tensor<?x64x32xf32>
func.func @cache_read_c1_type() {
  // expected-error @+1 {{expects type 'tensor<?x64x32xf32>' of @k0, got 'tensor<?x32x32xf32>'}}
  %k = ds.cache_read @k0 : tensor<?x32x32xf32>
  return
}

// -----

func.func @pool_c1_input(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'ds.pool' op expects input of shape [B, T, H], got 'tensor<?x64xf32>'}}
  %y = ds.pool cls %x : tensor<?x64xf32>
  return
}

// -----

func.func @pool_c1_no_mask(%x: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.pool' op expects a mask for kind mean}}
  %y = ds.pool mean %x : tensor<?x?x64xf32>
  return
}

// -----

func.func @pool_c1_mask(%x: tensor<2x3x64xf32>, %m: tensor<2x4xi32>) {
  // expected-error @+1 {{'ds.pool' op expects mask of shape [B, T] for input 'tensor<2x3x64xf32>', got 'tensor<2x4xi32>'}}
  %y = ds.pool mean %x mask %m : tensor<2x3x64xf32>, tensor<2x4xi32>
  return
}
