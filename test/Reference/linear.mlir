// RUN: ds-reference %s

func.func @embedding() {
  %ids = ds.constant dense<[[2, 0, 2], [1, 1, 0]]> : tensor<2x3xi32>
  %w = ds.constant dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]> : tensor<3x2xf64>
  %y = ds.embedding %ids, %w : tensor<2x3xi32>, tensor<3x2xf64>
  %e_y = ds.constant dense<[[[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]], [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]]> : tensor<2x3x2xf64>
  ds_check.expect_equal %y, %e_y : tensor<2x3x2xf64>, tensor<2x3x2xf64>
  return
}

/// 7 outputs are a block of 4 and 3 alone, 6 rows a block of 4 and 2 alone.
func.func @linear() {
  %x = ds.constant dense<[[[0.0, 0.3, -0.27, -0.89, -0.45], [-0.99, 0.06, 1.34, -0.49, -0.62], [0.49, 0.36, 0.11, -0.93, -0.03]], [[0.7, -1.34, -0.46, -1.9, -1.29], [-1.84, -0.24, -1.27, 0.27, 0.16], [-0.19, -2.52, -0.54, -0.05, 0.11]]]> : tensor<2x3x5xf64>
  %w = ds.constant dense<[[-1.53, -0.48, -0.98, -0.81, 1.06], [-0.81, -0.03, 0.88, -0.58, -0.11], [0.11, 0.06, -1.23, 0.08, 1.36], [-1.55, 0.86, 0.12, -0.64, 2.0], [0.76, -1.2, 0.07, 0.58, -0.19], [0.68, -0.07, 0.67, 1.44, -0.68], [0.2, -0.46, 0.13, -1.19, -0.58]]> : tensor<7x5xf64>
  %b = ds.constant dense<[-0.2, 0.9, 1.15, -1.32, -0.79, 0.65, -1.99]> : tensor<7xf64>
  %y = ds.linear %x, %w bias %b : tensor<2x3x5xf64>, tensor<7x5xf64>, tensor<7xf64>
  %e_y = ds.constant dense<[[[0.1645000000000001, 1.2191, 0.8168999999999998, -1.4248, -1.5996000000000001, -0.5275, -0.8430000000000002], [-0.28760000000000013, 3.2317, -1.4859, -0.49949999999999983, -1.6869999999999998, 0.5864000000000003, -1.0987], [-0.5087999999999999, 1.1318, 0.9749999999999999, -1.2215, -1.3756, -0.2871, -0.9191999999999998]], [[-0.005400000000000127, 1.2123, -0.19400000000000017, -4.9766, 0.4609000000000003, -0.9471999999999995, 1.7158], [3.9259000000000004, 1.1058000000000003, 2.7345, 1.3204, -1.8631, -1.1553, -2.8268], [1.9866, 0.6712, 1.7877, -3.0054999999999996, 2.0019, 0.1886, -0.9433]]]> : tensor<2x3x7xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<2x3x7xf64>, tensor<2x3x7xf64>
  %z = ds.linear %x, %w : tensor<2x3x5xf64>, tensor<7x5xf64>
  %e_z = ds.constant dense<[[[0.3645000000000001, 0.31909999999999994, -0.33310000000000006, -0.1048, -0.8096, -1.1775, 1.1469999999999998], [-0.08760000000000012, 2.3317, -2.6359, 0.8205000000000002, -0.8969999999999999, -0.06359999999999982, 0.8913], [-0.3087999999999999, 0.23179999999999992, -0.17500000000000002, 0.09850000000000009, -0.5855999999999999, -0.9371, 1.0708000000000002]], [[0.19459999999999988, 0.3122999999999999, -1.344, -3.6566, 1.2509000000000003, -1.5971999999999995, 3.7058], [4.125900000000001, 0.20580000000000026, 1.5845000000000002, 2.6404, -1.0731, -1.8053000000000001, -0.8368000000000001], [2.1866, -0.2288, 0.6377, -1.6854999999999998, 2.7919, -0.46140000000000003, 1.0467]]]> : tensor<2x3x7xf64>
  ds_check.expect_close %z, %e_z atol 1.0e-12 rtol 1.0e-12 : tensor<2x3x7xf64>, tensor<2x3x7xf64>
  return
}

func.func @linear_of_a_vector() {
  %x = ds.constant dense<[-0.46, -0.1, 1.26]> : tensor<3xf64>
  %w = ds.constant dense<[[0.69, -0.33, -0.37], [-0.25, 1.52, -0.43]]> : tensor<2x3xf64>
  %y = ds.linear %x, %w : tensor<3xf64>, tensor<2x3xf64>
  %e_y = ds.constant dense<[-0.7505999999999999, -0.5788]> : tensor<2xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<2xf64>, tensor<2xf64>
  return
}

func.func @gather_rows() {
  %x = ds.constant dense<[[[-0.3, 0.35], [-0.12, -0.2], [-1.11, -0.01]], [[-0.44, 1.17], [0.65, -0.02], [0.67, -0.34]]]> : tensor<2x3x2xf64>
  %rows = ds.constant dense<[5, 0, 2, 2]> : tensor<4xi32>
  %y = ds.gather_rows %x, %rows : tensor<2x3x2xf64>, tensor<4xi32>
  %e_y = ds.constant dense<[[0.67, -0.34], [-0.3, 0.35], [-1.11, -0.01], [-1.11, -0.01]]> : tensor<4x2xf64>
  ds_check.expect_equal %y, %e_y : tensor<4x2xf64>, tensor<4x2xf64>
  return
}

/// The weight is rounded, the input and the sum are not.
func.func @linear_rounded() {
  %x = ds.constant dense<[[1.00390625, 2.0]]> : tensor<1x2xf64>
  %w = ds.constant dense<[[1.00390625, 1.01171875], [3.0, 1.0e39]]> : tensor<2x2xf64>
  %y = ds.linear %x, %w rounded bf16 : tensor<1x2xf64>, tensor<2x2xf64>
  %e_y = ds.constant dense<[[3.03515625, 0x7FF0000000000000]]> : tensor<1x2xf64>
  ds_check.expect_equal %y, %e_y : tensor<1x2xf64>, tensor<1x2xf64>
  %t = ds.linear %x, %w transposed rounded f16 : tensor<1x2xf64>, tensor<2x2xf64>
  %e_t = ds.constant dense<[[7.0078277587890625, 0x7FF0000000000000]]> : tensor<1x2xf64>
  ds_check.expect_equal %t, %e_t : tensor<1x2xf64>, tensor<1x2xf64>
  return
}
