// RUN: ds-reference %s

/// Sequence 2 is padding alone: its mean is zero, its last token is token 0.
func.func @pool() {
  %x = ds.constant dense<[[[-0.91, -0.85], [0.2, -0.7], [0.68, 0.26]], [[-0.92, 0.07], [-0.35, 0.92], [-0.63, -0.44]], [[1.21, 2.24], [2.0, 0.06], [0.22, 1.53]]]> : tensor<3x3x2xf64>
  %m = ds.constant dense<[[1, 1, 0], [0, 1, 2], [0, 0, 0]]> : tensor<3x3xi32>
  %c = ds.pool cls %x : tensor<3x3x2xf64>
  %e_c = ds.constant dense<[[-0.91, -0.85], [-0.92, 0.07], [1.21, 2.24]]> : tensor<3x2xf64>
  ds_check.expect_equal %c, %e_c : tensor<3x2xf64>, tensor<3x2xf64>
  %a = ds.pool mean %x mask %m : tensor<3x3x2xf64>, tensor<3x3xi32>
  %e_a = ds.constant dense<[[-0.355, -0.7749999999999999], [-0.49, 0.24000000000000002], [0.0, 0.0]]> : tensor<3x2xf64>
  ds_check.expect_close %a, %e_a atol 1.0e-12 rtol 1.0e-12 : tensor<3x2xf64>, tensor<3x2xf64>
  %l = ds.pool last %x mask %m : tensor<3x3x2xf64>, tensor<3x3xi32>
  %e_l = ds.constant dense<[[0.2, -0.7], [-0.63, -0.44], [1.21, 2.24]]> : tensor<3x2xf64>
  ds_check.expect_equal %l, %e_l : tensor<3x2xf64>, tensor<3x2xf64>
  return
}
