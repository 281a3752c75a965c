// RUN: ds-reference %s

func.func @gelu_erf() {
  %x = ds.constant dense<[-9.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 2.0, 6.0]> : tensor<10xf64>
  %y = ds.gelu erf %x : tensor<10xf64>
  %e_y = ds.constant dense<[-1.0157295653584566e-18, -0.0040496940948902835, -0.15865525393145705, -0.15426876936299344, 0.0, 0.0, 0.14967658142073093, 0.8413447460685429, 1.9544997361036416, 5.999999994080474]> : tensor<10xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-13 rtol 1.0e-12 : tensor<10xf64>, tensor<10xf64>
  return
}

func.func @gelu_tanh() {
  %x = ds.constant dense<[-9.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 2.0, 6.0]> : tensor<10xf64>
  %y = ds.gelu tanh %x : tensor<10xf64>
  %e_y = ds.constant dense<[-1.3364595947346586e-28, -0.003637392081773019, -0.1588080093917233, -0.15428599017485609, 0.0, 0.0, 0.149675350701685, 0.8411919906082767, 1.954597694087775, 5.9999999999156035]> : tensor<10xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-13 rtol 1.0e-12 : tensor<10xf64>, tensor<10xf64>
  return
}

func.func @silu() {
  %x = ds.constant dense<[-9.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 2.0, 6.0]> : tensor<10xf64>
  %y = ds.silu %x : tensor<10xf64>
  %e_y = ds.constant dense<[-0.0011105511838760856, -0.14227761953270035, -0.2689414213699951, -0.18877033439907273, 0.0, 0.0, 0.14054412522144952, 0.7310585786300049, 1.7615941559557649, 5.985164261060191]> : tensor<10xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-13 rtol 1.0e-12 : tensor<10xf64>, tensor<10xf64>
  return
}

func.func @quick_gelu() {
  %x = ds.constant dense<[-9.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 2.0, 6.0]> : tensor<10xf64>
  %y = ds.quick_gelu %x : tensor<10xf64>
  %e_y = ds.constant dense<[-2.003177986558509e-06, -0.018071309707785966, -0.1542042340671787, -0.1496115633936199, 0.0, 0.0, 0.1511996499001942, 0.8457957659328212, 1.9356586231442081, 5.999779646450213]> : tensor<10xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-13 rtol 1.0e-12 : tensor<10xf64>, tensor<10xf64>
  return
}

func.func @tanh() {
  %x = ds.constant dense<[-9.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 2.0, 6.0]> : tensor<10xf64>
  %y = ds.tanh %x : tensor<10xf64>
  %e_y = ds.constant dense<[-0.999999969540041, -0.9950547536867305, -0.7615941559557649, -0.46211715726000974, 0.0, 0.0, 0.24491866240370913, 0.7615941559557649, 0.9640275800758169, 0.9999877116507956]> : tensor<10xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-13 rtol 1.0e-12 : tensor<10xf64>, tensor<10xf64>
  return
}

/// A NaN stays a NaN.
func.func @relu() {
  %x = ds.constant dense<[-1.0, 0.0, 2.0, 0xFFF8000000000000, 0x7FF0000000000000, 0xFFF0000000000000]> : tensor<6xf64>
  %y = ds.relu %x : tensor<6xf64>
  %e_y = ds.constant dense<[0.0, 0.0, 2.0, 0xFFF8000000000000, 0x7FF0000000000000, 0.0]> : tensor<6xf64>
  ds_check.expect_equal %y, %e_y : tensor<6xf64>, tensor<6xf64>
  return
}

/// -0 + -0 is -0; -0 + 0 is 0.
func.func @add() {
  %x = ds.constant dense<[1.5, -0.0, -0.0, 0x7FF0000000000000, 1.0e+308]> : tensor<5xf64>
  %y = ds.constant dense<[-2.0, -0.0, 0.0, 0xFFF0000000000000, 1.0e+308]> : tensor<5xf64>
  %z = ds.add %x, %y : tensor<5xf64>
  %e_z = ds.constant dense<[-0.5, -0.0, 0.0, 0xFFF8000000000000, 0x7FF0000000000000]> : tensor<5xf64>
  ds_check.expect_equal %z, %e_z : tensor<5xf64>, tensor<5xf64>
  return
}

func.func @mul() {
  %x = ds.constant dense<[1.5, -0.0, -0.0, 0x7FF0000000000000, 1.0e+308]> : tensor<5xf64>
  %y = ds.constant dense<[-2.0, -0.0, 0.0, 0xFFF0000000000000, 1.0e+308]> : tensor<5xf64>
  %z = ds.mul %x, %y : tensor<5xf64>
  %e_z = ds.constant dense<[-3.0, 0.0, -0.0, 0xFFF0000000000000, 0x7FF0000000000000]> : tensor<5xf64>
  ds_check.expect_equal %z, %e_z : tensor<5xf64>, tensor<5xf64>
  return
}

/// Ties go to the even neighbour; in bf16 1 + 2^-8 lies between 1 and 1 + 2^-7, in f16 1 + 2^-11 between 1 and 1 + 2^-10.
func.func @round() {
  %x = ds.constant dense<[1.00390625, 1.01171875, -1.00390626, 65519.0, 65520.0, 1.0e39, 0xFFF0000000000000, -0.0, 3.0e-8, 2.9e-8]> : tensor<10xf64>
  %b = ds.round %x to bf16 : tensor<10xf64>
  %e_b = ds.constant dense<[1.0, 1.015625, -1.0078125, 65536.0, 65536.0, 0x7FF0000000000000, 0xFFF0000000000000, -0.0, 3.003515303134918e-08, 2.898741513490677e-08]> : tensor<10xf64>
  ds_check.expect_equal %b, %e_b : tensor<10xf64>, tensor<10xf64>
  %h = ds.round %x to f16 : tensor<10xf64>
  %e_h = ds.constant dense<[1.00390625, 1.01171875, -1.00390625, 65504.0, 0x7FF0000000000000, 0x7FF0000000000000, 0xFFF0000000000000, -0.0, 5.9604644775390625e-08, 0.0]> : tensor<10xf64>
  ds_check.expect_equal %h, %e_h : tensor<10xf64>, tensor<10xf64>
  return
}
