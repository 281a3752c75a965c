// RUN: ds-reference %s

ds.parameter @w value dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32> : tensor<2x2xf32>
ds.parameter @half value dense<[1.0, 0.333251953125]> : tensor<2xf16> : tensor<2xf16>

/// No rounding between ops: 1e8 + 1 is no f32, yet the difference is 1.
func.func @values_are_f64() {
  %a = ds.constant dense<1.0e8> : tensor<1xf32>
  %b = ds.constant dense<1.0> : tensor<1xf32>
  %c = ds.constant dense<-1.0e8> : tensor<1xf32>
  %s = ds.add %a, %b : tensor<1xf32>
  %d = ds.add %s, %c : tensor<1xf32>
  ds_check.expect_equal %d, %b : tensor<1xf32>, tensor<1xf32>
  return
}

/// A decimal becomes the nearest value of its type: f16 0.1 is 0.0999755859375.
func.func @constants_have_their_type() {
  %x = ds.constant dense<0.1> : tensor<1xf16>
  %y = ds.constant dense<0.0999755859375> : tensor<1xf16>
  ds_check.expect_equal %x, %y : tensor<1xf16>, tensor<1xf16>
  %b = ds.constant dense<0.1> : tensor<1xbf16>
  %c = ds.constant dense<0.10009765625> : tensor<1xbf16>
  ds_check.expect_equal %b, %c : tensor<1xbf16>, tensor<1xbf16>
  return
}

func.func @weights() {
  %w = ds.weight @w : tensor<2x2xf32>
  %x = ds.constant dense<[10.0, 1.0]> : tensor<2xf32>
  %y = ds.linear %x, %w : tensor<2xf32>, tensor<2x2xf32>
  %e = ds.constant dense<[12.0, 34.0]> : tensor<2xf32>
  ds_check.expect_equal %y, %e : tensor<2xf32>, tensor<2xf32>
  %h = ds.weight @half : tensor<2xf16>
  %g = ds.constant dense<[1.0, 0.333251953125]> : tensor<2xf16>
  ds_check.expect_equal %h, %g : tensor<2xf16>, tensor<2xf16>
  return
}

/// A layer reads its arguments, a value from outside, and the results of a layer within.
func.func @layers() {
  %x = ds.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %k = ds.constant dense<[10.0, 20.0]> : tensor<2xf32>
  %w = ds.weight @w : tensor<2x2xf32>
  %r:2 = ds.layer "outer"(%x, %k) : (tensor<2xf32>, tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>) {
  ^bb0(%a: tensor<2xf32>, %b: tensor<2xf32>):
    %s = ds.add %a, %k : tensor<2xf32>
    %t = ds.layer "inner"(%s) : (tensor<2xf32>) -> tensor<2xf32> {
    ^bb0(%c: tensor<2xf32>):
      %u = ds.linear %c, %w : tensor<2xf32>, tensor<2x2xf32>
      ds.yield %u : tensor<2xf32>
    }
    ds.yield %b, %t : tensor<2xf32>, tensor<2xf32>
  }
  ds_check.expect_equal %r#0, %k : tensor<2xf32>, tensor<2xf32>
  %e = ds.constant dense<[55.0, 121.0]> : tensor<2xf32>
  ds_check.expect_equal %r#1, %e : tensor<2xf32>, tensor<2xf32>
  return
}

func.func private @twice(%x: tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>) {
  %y = ds.add %x, %x : tensor<2xf32>
  return %y, %x : tensor<2xf32>, tensor<2xf32>
}

func.func @calls() {
  %x = ds.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %y:2 = func.call @twice(%x) : (tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>)
  %z:2 = func.call @twice(%y#0) : (tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>)
  %e = ds.constant dense<[4.0, 8.0]> : tensor<2xf32>
  ds_check.expect_equal %z#0, %e : tensor<2xf32>, tensor<2xf32>
  ds_check.expect_equal %z#1, %y#0 : tensor<2xf32>, tensor<2xf32>
  return
}
