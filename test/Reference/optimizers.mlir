// RUN: ds-reference %s

// Three steps of each optimizer; the expected values are torch's in f64, those of lamb its formula's. A function updates its own
// parameter: the others have no gradient in its steps.

ds.parameter @w_sgd value dense<[0.5, -1.0, 0.25, 2.0]> : tensor<4xf64> : tensor<4xf64>
ds.parameter @w_adam value dense<[0.5, -1.0, 0.25, 2.0]> : tensor<4xf64> : tensor<4xf64>
ds.parameter @w_adamw value dense<[0.5, -1.0, 0.25, 2.0]> : tensor<4xf64> : tensor<4xf64>
ds.parameter @w_lamb value dense<[0.5, -1.0, 0.25, 2.0]> : tensor<4xf64> : tensor<4xf64>

func.func @sgd() {
  %h = ds.constant dense<[[1.0, 0.9, 0.99, 1.0e-06, 0.01, 10.0, 0.1, 0.01]]> : tensor<1x8xf64>
  %g1 = ds.constant dense<[0.3, -0.2, 0.9, 0.0]> : tensor<4xf64>
  %k1 = ds.constant dense<[[0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.09999999999999998, 0.0, 0.0, 0.0, 0.010000000000000009, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_sgd, %g1 : tensor<4xf64>
  %n = ds.gradient_norms : tensor<1x4xf64>
  %e_n = ds.constant dense<[[0.94, 0.0, 0.0, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_close %n, %e_n atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  %c1 = ds.optimizer_update sgd %k1, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %g2 = ds.constant dense<[-0.4, 0.1, 0.5, 1.0]> : tensor<4xf64>
  %k2 = ds.constant dense<[[0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.18999999999999995, 0.0, 0.0, 0.0, 0.01990000000000003, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_sgd, %g2 : tensor<4xf64>
  %c2 = ds.optimizer_update sgd %k2, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %g3 = ds.constant dense<[0.2, 0.7, -0.6, -0.8]> : tensor<4xf64>
  %k3 = ds.constant dense<[[0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.2709999999999999, 0.0, 0.0, 0.0, 0.029700999999999977, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_sgd, %g3 : tensor<4xf64>
  %c3 = ds.optimizer_update sgd %k3, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %e_c3 = ds.constant dense<[[1.0, 1.0, 1.0, 1.0]]> : tensor<1x4xf64>
  ds_check.expect_close %c3, %e_c3 atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  %p = ds.weight @w_sgd : tensor<4xf64>
  %e_p = ds.constant dense<[0.48936917199999996, -0.9957855760000001, 0.191576526, 1.955638384]> : tensor<4xf64>
  ds_check.expect_close %p, %e_p atol 1.0e-12 rtol 1.0e-12 : tensor<4xf64>, tensor<4xf64>
  %z = ds.gradient_norms : tensor<1x4xf64>
  %e_z = ds.constant dense<[[0.0, 0.0, 0.0, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_close %z, %e_z atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  return
}

func.func @adam() {
  %h = ds.constant dense<[[1.0, 0.9, 0.99, 1.0e-06, 0.01, 10.0, 0.1, 0.01]]> : tensor<1x8xf64>
  %g1 = ds.constant dense<[0.3, -0.2, 0.9, 0.0]> : tensor<4xf64>
  %k1 = ds.constant dense<[[0.0, 0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.09999999999999998, 0.0, 0.0, 0.0, 0.010000000000000009, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_adam, %g1 : tensor<4xf64>
  %n = ds.gradient_norms : tensor<1x4xf64>
  %e_n = ds.constant dense<[[0.0, 0.94, 0.0, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_close %n, %e_n atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  %c1 = ds.optimizer_update adam %k1, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %g2 = ds.constant dense<[-0.4, 0.1, 0.5, 1.0]> : tensor<4xf64>
  %k2 = ds.constant dense<[[0.0, 0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.18999999999999995, 0.0, 0.0, 0.0, 0.01990000000000003, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_adam, %g2 : tensor<4xf64>
  %c2 = ds.optimizer_update adam %k2, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %g3 = ds.constant dense<[0.2, 0.7, -0.6, -0.8]> : tensor<4xf64>
  %k3 = ds.constant dense<[[0.0, 0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.2709999999999999, 0.0, 0.0, 0.0, 0.029700999999999977, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_adam, %g3 : tensor<4xf64>
  %c3 = ds.optimizer_update adam %k3, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %e_c3 = ds.constant dense<[[1.0, 1.0, 1.0, 1.0]]> : tensor<1x4xf64>
  ds_check.expect_close %c3, %e_c3 atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  %p = ds.weight @w_adam : tensor<4xf64>
  %e_p = ds.constant dense<[0.47615673809907116, -0.9735174690765509, 0.20420203719408042, 1.9571571572291582]> : tensor<4xf64>
  ds_check.expect_close %p, %e_p atol 1.0e-12 rtol 1.0e-12 : tensor<4xf64>, tensor<4xf64>
  %z = ds.gradient_norms : tensor<1x4xf64>
  %e_z = ds.constant dense<[[0.0, 0.0, 0.0, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_close %z, %e_z atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  return
}

func.func @adamw() {
  %h = ds.constant dense<[[1.0, 0.9, 0.99, 1.0e-06, 0.01, 10.0, 0.1, 0.01]]> : tensor<1x8xf64>
  %g1 = ds.constant dense<[0.3, -0.2, 0.9, 0.0]> : tensor<4xf64>
  %k1 = ds.constant dense<[[0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.09999999999999998, 0.0, 0.0, 0.0, 0.010000000000000009, 0.0, 0.0, 0.0, 1.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_adamw, %g1 : tensor<4xf64>
  %n = ds.gradient_norms : tensor<1x4xf64>
  %e_n = ds.constant dense<[[0.0, 0.0, 0.94, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_close %n, %e_n atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  %c1 = ds.optimizer_update adamw %k1, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %g2 = ds.constant dense<[-0.4, 0.1, 0.5, 1.0]> : tensor<4xf64>
  %k2 = ds.constant dense<[[0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.18999999999999995, 0.0, 0.0, 0.0, 0.01990000000000003, 0.0, 0.0, 0.0, 1.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_adamw, %g2 : tensor<4xf64>
  %c2 = ds.optimizer_update adamw %k2, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %g3 = ds.constant dense<[0.2, 0.7, -0.6, -0.8]> : tensor<4xf64>
  %k3 = ds.constant dense<[[0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.2709999999999999, 0.0, 0.0, 0.0, 0.029700999999999977, 0.0, 0.0, 0.0, 1.0, 0.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_adamw, %g3 : tensor<4xf64>
  %c3 = ds.optimizer_update adamw %k3, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %e_c3 = ds.constant dense<[[1.0, 1.0, 1.0, 1.0]]> : tensor<1x4xf64>
  ds_check.expect_close %c3, %e_c3 atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  %p = ds.weight @w_adamw : tensor<4xf64>
  %e_p = ds.constant dense<[0.47897412628006375, -0.9796472139898832, 0.20343361020653375, 1.9722082953374662]> : tensor<4xf64>
  ds_check.expect_close %p, %e_p atol 1.0e-12 rtol 1.0e-12 : tensor<4xf64>, tensor<4xf64>
  %z = ds.gradient_norms : tensor<1x4xf64>
  %e_z = ds.constant dense<[[0.0, 0.0, 0.0, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_close %z, %e_z atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  return
}

func.func @lamb() {
  %h = ds.constant dense<[[1.0, 0.9, 0.99, 1.0e-06, 0.01, 10.0, 0.1, 0.01]]> : tensor<1x8xf64>
  %g1 = ds.constant dense<[0.3, -0.2, 0.9, 0.0]> : tensor<4xf64>
  %k1 = ds.constant dense<[[0.0, 0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.09999999999999998, 0.0, 0.0, 0.0, 0.010000000000000009, 0.0, 0.0, 0.0, 1.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_lamb, %g1 : tensor<4xf64>
  %n = ds.gradient_norms : tensor<1x4xf64>
  %e_n = ds.constant dense<[[0.0, 0.0, 0.0, 0.94]]> : tensor<1x4xf64>
  ds_check.expect_close %n, %e_n atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  %c1 = ds.optimizer_update lamb %k1, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %g2 = ds.constant dense<[-0.4, 0.1, 0.5, 1.0]> : tensor<4xf64>
  %k2 = ds.constant dense<[[0.0, 0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.18999999999999995, 0.0, 0.0, 0.0, 0.01990000000000003, 0.0, 0.0, 0.0, 1.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_lamb, %g2 : tensor<4xf64>
  %c2 = ds.optimizer_update lamb %k2, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %g3 = ds.constant dense<[0.2, 0.7, -0.6, -0.8]> : tensor<4xf64>
  %k3 = ds.constant dense<[[0.0, 0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.2709999999999999, 0.0, 0.0, 0.0, 0.029700999999999977, 0.0, 0.0, 0.0, 1.0]]> : tensor<1x20xf64>
  ds.accumulate_gradient @w_lamb, %g3 : tensor<4xf64>
  %c3 = ds.optimizer_update lamb %k3, %h : tensor<1x20xf64>, tensor<1x8xf64> -> tensor<1x4xf64>
  %e_c3 = ds.constant dense<[[1.0, 1.0, 1.0, 2.272023656181128]]> : tensor<1x4xf64>
  ds_check.expect_close %c3, %e_c3 atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  %p = ds.weight @w_lamb : tensor<4xf64>
  %e_p = ds.constant dense<[0.4739040017822407, -0.9903382840403963, 0.18370269752303778, 1.9762425962378865]> : tensor<4xf64>
  ds_check.expect_close %p, %e_p atol 1.0e-12 rtol 1.0e-12 : tensor<4xf64>, tensor<4xf64>
  %z = ds.gradient_norms : tensor<1x4xf64>
  %e_z = ds.constant dense<[[0.0, 0.0, 0.0, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_close %z, %e_z atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  return
}

/// A gradient whose gate is 0 is not added.
func.func @gate() {
  %g = ds.constant dense<[3.0, 4.0, 0.0, 0.0]> : tensor<4xf64>
  %gates = ds.constant dense<[0, 1]> : tensor<2xi32>
  ds.accumulate_gradient @w_sgd, %g gate 0 of %gates : tensor<4xf64>, tensor<2xi32>
  ds.accumulate_gradient @w_adam, %g gate 1 of %gates : tensor<4xf64>, tensor<2xi32>
  ds.accumulate_gradient @w_adam, %g gate 1 of %gates : tensor<4xf64>, tensor<2xi32>
  %n = ds.gradient_norms : tensor<1x4xf64>
  %e_n = ds.constant dense<[[0.0, 100.0, 0.0, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_equal %n, %e_n : tensor<1x4xf64>, tensor<1x4xf64>
  return
}
