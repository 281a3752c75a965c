// RUN: ds-reference %s

// Numbers with many digits are torch's, in f64.

/// The second row does not count.
func.func @cross_entropy() {
  %x = ds.constant dense<[[0.79, -0.86, -0.67, 0.22, -0.88], [1.31, -1.26, -0.06, -0.02, -2.47], [-0.18, -0.01, 0.8, -0.28, -0.33]]> : tensor<3x5xf64>
  %l = ds.constant dense<[4, -1, 0]> : tensor<3xi32>
  %s = ds.constant dense<[2.5]> : tensor<1xf64>
  %y0 = ds.cross_entropy %x, %l smoothing 0.0 : tensor<3x5xf64>, tensor<3xi32> -> tensor<3x1xf64>
  %e_y0 = ds.constant dense<[[2.4484339698267106], [0.0], [1.8893861287250275]]> : tensor<3x1xf64>
  ds_check.expect_close %y0, %e_y0 atol 1.0e-12 rtol 1.0e-12 : tensor<3x1xf64>, tensor<3x1xf64>
  %d0 = ds.cross_entropy_grad %x, %l, %s smoothing 0.0 : tensor<3x5xf64>, tensor<3xi32>, tensor<1xf64>
  %e_d0 = ds.constant dense<[[1.147811128382782, 0.220437022319798, 0.26656338054897827, 0.6491163919228836, -2.2839279231744425], [0.0, 0.0, 0.0, 0.0, 0.0], [-2.1220885601227653, 0.4479402630559509, 1.0069284948774315, 0.3419484115047688, 0.32527139068461447]]> : tensor<3x5xf64>
  ds_check.expect_close %d0, %e_d0 atol 1.0e-12 rtol 1.0e-12 : tensor<3x5xf64>, tensor<3x5xf64>
  %y1 = ds.cross_entropy %x, %l smoothing 0.1 : tensor<3x5xf64>, tensor<3xi32> -> tensor<3x1xf64>
  %e_y1 = ds.constant dense<[[2.3884339698267105], [0.0], [1.8713861287250275]]> : tensor<3x1xf64>
  ds_check.expect_close %y1, %e_y1 atol 1.0e-12 rtol 1.0e-12 : tensor<3x1xf64>, tensor<3x1xf64>
  %d1 = ds.cross_entropy_grad %x, %l, %s smoothing 0.1 : tensor<3x5xf64>, tensor<3xi32>, tensor<1xf64>
  %e_d1 = ds.constant dense<[[1.097811128382782, 0.17043702231979801, 0.21656338054897828, 0.5991163919228836, -2.0839279231744423], [0.0, 0.0, 0.0, 0.0, 0.0], [-1.9220885601227653, 0.39794026305595076, 0.9569284948774311, 0.29194841150476863, 0.27527139068461437]]> : tensor<3x5xf64>
  ds_check.expect_close %d1, %e_d1 atol 1.0e-12 rtol 1.0e-12 : tensor<3x5xf64>, tensor<3x5xf64>
  return
}

func.func @cross_entropy_of_large_logits() {
  %x = ds.constant dense<[[1000.0, -1000.0], [0.0, 0.0]]> : tensor<2x2xf64>
  %l = ds.constant dense<[1, 0]> : tensor<2xi32>
  %y = ds.cross_entropy %x, %l smoothing 0.0 : tensor<2x2xf64>, tensor<2xi32> -> tensor<2x1xf64>
  %e_y = ds.constant dense<[[2000.0], [0.6931471805599453]]> : tensor<2x1xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<2x1xf64>, tensor<2x1xf64>
  return
}

func.func @scale() {
  %x = ds.constant dense<[[1.0, -2.0]]> : tensor<1x2xf64>
  %s = ds.constant dense<[3.0, 0.5]> : tensor<2xf64>
  %y = ds.scale %x by %s at 1 : tensor<1x2xf64>, tensor<2xf64>
  %e_y = ds.constant dense<[[0.5, -1.0]]> : tensor<1x2xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<1x2xf64>, tensor<1x2xf64>
  return
}

func.func @optimization_barrier() {
  %a = ds.constant dense<[[1.0, 2.0]]> : tensor<1x2xf64>
  %b = ds.constant dense<[[3.0]]> : tensor<1x1xf64>
  %y = ds.optimization_barrier %a after %b : tensor<1x2xf64>, tensor<1x1xf64>
  ds_check.expect_close %y, %a atol 0.0 rtol 0.0 : tensor<1x2xf64>, tensor<1x2xf64>
  return
}

func.func @switch() {
  %g = ds.constant dense<[0, 7]> : tensor<2xi32>
  %a = ds.constant dense<[[1.0, 2.0]]> : tensor<1x2xf64>
  %b = ds.constant dense<[[3.0, 4.0]]> : tensor<1x2xf64>
  %off = ds.switch %g at 0, %a, %b : tensor<2xi32>, tensor<1x2xf64>
  %e_off = ds.constant dense<[[3.0, 4.0]]> : tensor<1x2xf64>
  ds_check.expect_close %off, %e_off atol 1.0e-12 rtol 1.0e-12 : tensor<1x2xf64>, tensor<1x2xf64>
  %on = ds.switch %g at 1, %a, %b : tensor<2xi32>, tensor<1x2xf64>
  %e_on = ds.constant dense<[[1.0, 2.0]]> : tensor<1x2xf64>
  ds_check.expect_close %on, %e_on atol 1.0e-12 rtol 1.0e-12 : tensor<1x2xf64>, tensor<1x2xf64>
  return
}
