// RUN: ds-opt --verify-diagnostics --split-input-file %s

func.func @expect_close_c1_atol(%x: tensor<2xf32>) {
  // expected-error @+1 {{'ds_check.expect_close' op expects atol and rtol of at least 0, got -1.000000e+00 and 0.000000e+00}}
  ds_check.expect_close %x, %x atol -1.0 rtol 0.0 : tensor<2xf32>, tensor<2xf32>
  return
}

// -----

func.func @expect_close_c1_rtol(%x: tensor<2xf32>) {
  // expected-error @+1 {{expects atol and rtol of at least 0}}
  ds_check.expect_close %x, %x atol 0.0 rtol 0x7FF0000000000000 : tensor<2xf32>, tensor<2xf32>
  return
}

// -----

func.func @expect_close_c2_type(%x: tensor<2xf32>, %y: tensor<2xf16>) {
  // expected-error @+1 {{expects value and expected of one element type and compatible shapes, got 'tensor<2xf32>' and 'tensor<2xf16>'}}
  ds_check.expect_close %x, %y atol 0.0 rtol 0.0 : tensor<2xf32>, tensor<2xf16>
  return
}

// -----

func.func @expect_equal_c1_shape(%x: tensor<2xi32>, %y: tensor<3xi32>) {
  // expected-error @+1 {{expects value and expected of one element type and compatible shapes, got 'tensor<2xi32>' and 'tensor<3xi32>'}}
  ds_check.expect_equal %x, %y : tensor<2xi32>, tensor<3xi32>
  return
}
