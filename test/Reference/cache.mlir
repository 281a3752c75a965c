// RUN: ds-reference %s

ds.cache @k : tensor<?x4x1xf32>
ds.cache @v : tensor<?x4x1xbf16>
ds.cache @c : tensor<?x4x4x!ds.quantized<8 symmetric group 2 scale f32>>

/// Two tokens, then one: sequence 1 began with one slot taken, sequence 0 with none.
func.func @append_over_steps() {
  %x = ds.constant dense<[[[1.0], [2.0]], [[3.0], [4.0]]]> : tensor<2x2x1xf32>
  %p = ds.constant dense<[0, 1]> : tensor<2xi32>
  %a = ds.cache_append @k, %x past %p : tensor<2x2x1xf32>, tensor<2xi32> -> tensor<?x4x1xf32>
  %e = ds.constant dense<[[[1.0], [2.0], [0.0], [0.0]], [[0.0], [3.0], [4.0], [0.0]]]> : tensor<2x4x1xf32>
  ds_check.expect_equal %a, %e : tensor<?x4x1xf32>, tensor<2x4x1xf32>
  %y = ds.constant dense<[[[5.0]], [[6.0]]]> : tensor<2x1x1xf32>
  %q = ds.constant dense<[2, 3]> : tensor<2xi32>
  %b = ds.cache_append @k, %y past %q : tensor<2x1x1xf32>, tensor<2xi32> -> tensor<?x4x1xf32>
  %r = ds.cache_read @k : tensor<?x4x1xf32>
  %f = ds.constant dense<[[[1.0], [2.0], [5.0], [0.0]], [[0.0], [3.0], [4.0], [6.0]]]> : tensor<2x4x1xf32>
  ds_check.expect_equal %b, %f : tensor<?x4x1xf32>, tensor<2x4x1xf32>
  ds_check.expect_equal %r, %f : tensor<?x4x1xf32>, tensor<2x4x1xf32>
  /// A value is what it was: the first append has not changed.
  ds_check.expect_equal %a, %e : tensor<?x4x1xf32>, tensor<2x4x1xf32>
  return
}

/// Slots at or beyond the context are not written.
func.func @append_beyond_the_context() {
  %x = ds.constant dense<[[[1.0], [2.0]]]> : tensor<1x2x1xf32>
  %p = ds.constant dense<[3]> : tensor<1xi32>
  %a = ds.cache_append @k, %x past %p : tensor<1x2x1xf32>, tensor<1xi32> -> tensor<?x4x1xf32>
  %q = ds.constant dense<[9]> : tensor<1xi32>
  %b = ds.cache_append @k, %x past %q : tensor<1x2x1xf32>, tensor<1xi32> -> tensor<?x4x1xf32>
  %e = ds.constant dense<[[[0.0], [0.0], [0.0], [1.0]]]> : tensor<1x4x1xf32>
  ds_check.expect_equal %b, %e : tensor<?x4x1xf32>, tensor<1x4x1xf32>
  return
}

/// 1 + 1/256 and 1 + 3/256 lie halfway between two bf16: ties go to the even one.
func.func @append_rounds_to_the_cache() {
  %x = ds.constant dense<[[[1.00390625], [1.01171875], [0.1]]]> : tensor<1x3x1xf32>
  %p = ds.constant dense<0> : tensor<1xi32>
  %a = ds.cache_append @v, %x past %p : tensor<1x3x1xf32>, tensor<1xi32> -> tensor<?x4x1xbf16>
  %e = ds.constant dense<[[[1.0], [1.015625], [0.10009765625], [0.0]]]> : tensor<1x4x1xbf16>
  ds_check.expect_equal %a, %e : tensor<?x4x1xbf16>, tensor<1x4x1xbf16>
  return
}

/// Two heads of two values. Scales are 1, 2, 0.5 and 0.25, so that ties are exact: they go to the even code.
func.func @append_rounds_to_codes() {
  %x = ds.constant dense<[[[127.0, 2.5, -254.0, 5.0], [63.5, -0.75, 31.75, 0.126]]]> : tensor<1x2x4xf32>
  %p = ds.constant dense<1> : tensor<1xi32>
  %a = ds.cache_append @c, %x past %p : tensor<1x2x4xf32>, tensor<1xi32> -> tensor<?x4x4x!ds.quantized<8 symmetric group 2 scale f32>>
  // Attention reads one slot with all the weight: its value.
  %e = ds.constant dense<[[[127.0, 2.0, -254.0, 4.0]]]> : tensor<1x1x4xf32>
  %one = ds.constant dense<0.0> : tensor<1x1x4xf32>
  %y = ds.attention %one, %a, %a past %p : tensor<1xi32> heads 2 kv_heads 2 scale 1.0 causal window 1
    : tensor<1x1x4xf32>, tensor<?x4x4x!ds.quantized<8 symmetric group 2 scale f32>>
  ds_check.expect_close %y, %e atol 0.0 rtol 0.0 : tensor<1x1x4xf32>, tensor<1x1x4xf32>
  %q = ds.constant dense<2> : tensor<1xi32>
  %z = ds.attention %one, %a, %a past %q : tensor<1xi32> heads 2 kv_heads 2 scale 1.0 causal window 1
    : tensor<1x1x4xf32>, tensor<?x4x4x!ds.quantized<8 symmetric group 2 scale f32>>
  %f = ds.constant dense<[[[63.5, -1.0, 31.75, 0.25]]]> : tensor<1x1x4xf32>
  ds_check.expect_close %z, %f atol 0.0 rtol 0.0 : tensor<1x1x4xf32>, tensor<1x1x4xf32>
  return
}

/// A NaN or an infinity takes its head with it and no other; what no scale can say is 0.
func.func @append_of_no_number() {
  %x = ds.constant dense<[[[0x7FC00000, 1.0, 127.0, 3.0], [1.0, 0xFF800000, 1.0e-38, -1.0e-38]]]> : tensor<1x2x4xf32>
  %p = ds.constant dense<0> : tensor<1xi32>
  %a = ds.cache_append @c, %x past %p : tensor<1x2x4xf32>, tensor<1xi32> -> tensor<?x4x4x!ds.quantized<8 symmetric group 2 scale f32>>
  %none = ds.constant dense<0.0> : tensor<1x2x4xf32>
  %y = ds.attention %none, %a, %a past %p : tensor<1xi32> heads 2 kv_heads 2 scale 1.0 causal window 1
    : tensor<1x2x4xf32>, tensor<?x4x4x!ds.quantized<8 symmetric group 2 scale f32>>
  %e = ds.constant dense<[[[0x7FC00000, 0x7FC00000, 127.0, 3.0], [0x7FC00000, 0x7FC00000, 0.0, 0.0]]]> : tensor<1x2x4xf32>
  ds_check.expect_close %y, %e atol 0.0 rtol 0.0 : tensor<1x2x4xf32>, tensor<1x2x4xf32>
  return
}

/// One token at a time gives what all at once give: here without a past, below by the cache.
func.func private @step(%q: tensor<1x1x1xf32>, %past: tensor<1xi32>) -> tensor<1x1x1xf32> {
  %k = ds.cache_append @k, %q past %past : tensor<1x1x1xf32>, tensor<1xi32> -> tensor<?x4x1xf32>
  %y = ds.attention %q, %k, %k past %past : tensor<1xi32> heads 1 kv_heads 1 scale 1.0 causal : tensor<1x1x1xf32>, tensor<?x4x1xf32>
  return %y : tensor<1x1x1xf32>
}

func.func @decode_by_steps() {
  %x0 = ds.constant dense<1.0> : tensor<1x1x1xf32>
  %x1 = ds.constant dense<2.0> : tensor<1x1x1xf32>
  %p0 = ds.constant dense<0> : tensor<1xi32>
  %p1 = ds.constant dense<1> : tensor<1xi32>
  %y0 = func.call @step(%x0, %p0) : (tensor<1x1x1xf32>, tensor<1xi32>) -> tensor<1x1x1xf32>
  %y1 = func.call @step(%x1, %p1) : (tensor<1x1x1xf32>, tensor<1xi32>) -> tensor<1x1x1xf32>
  %e0 = ds.constant dense<1.0> : tensor<1x1x1xf32>
  // (1 * exp(2) + 2 * exp(4)) / (exp(2) + exp(4))
  %e1 = ds.constant dense<1.88079708> : tensor<1x1x1xf32>
  ds_check.expect_close %y0, %e0 atol 1.0e-7 rtol 0.0 : tensor<1x1x1xf32>, tensor<1x1x1xf32>
  ds_check.expect_close %y1, %e1 atol 1.0e-7 rtol 0.0 : tensor<1x1x1xf32>, tensor<1x1x1xf32>
  return
}
