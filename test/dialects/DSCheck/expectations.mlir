// RUN: ds-reference %s --function close
// RUN: not ds-reference %s --function far 2>&1 | FileCheck %s --check-prefix=FAR
// RUN: not ds-reference %s --function nan 2>&1 | FileCheck %s --check-prefix=NAN
// RUN: not ds-reference %s --function infinity 2>&1 | FileCheck %s --check-prefix=INFINITY
// RUN: not ds-reference %s --function unequal 2>&1 | FileCheck %s --check-prefix=UNEQUAL
// RUN: not ds-reference %s --function zeros 2>&1 | FileCheck %s --check-prefix=ZEROS
// RUN: not ds-reference %s --function shapes --input 0=2x1xf32=0 2>&1 | FileCheck %s --check-prefix=SHAPES

/// At the edge of the tolerance, and what equals itself.
func.func @close() {
  %x = ds.constant dense<[2.25, -2.25, 0x7FF0000000000000, 0xFFF8000000000000, 0.125]> : tensor<5xf64>
  %y = ds.constant dense<[2.0, -2.0, 0x7FF0000000000000, 0x7FF8000000000000, 0.0]> : tensor<5xf64>
  ds_check.expect_close %x, %y atol 0.125 rtol 0.0625 : tensor<5xf64>, tensor<5xf64>
  ds_check.expect_equal %x, %x : tensor<5xf64>, tensor<5xf64>
  return
}

func.func @far() {
  %x = ds.constant dense<[[1.0, 2.0], [3.0, 4.5]]> : tensor<2x2xf32>
  %y = ds.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  // FAR: expectations.mlir:[[#@LINE+1]]:3: error: 'ds_check.expect_close' op expects element [1, 1] to be 4, got 4.5
  ds_check.expect_close %x, %y atol 0.05 rtol 0.1 : tensor<2x2xf32>, tensor<2x2xf32>
  return
}

func.func @nan() {
  %x = ds.constant dense<[0.0, 0x7FC00000]> : tensor<2xf32>
  %y = ds.constant dense<0.0> : tensor<2xf32>
  // NAN: expects element [1] to be 0, got nan
  ds_check.expect_close %x, %y atol 1.0e9 rtol 0.0 : tensor<2xf32>, tensor<2xf32>
  return
}

/// An infinity is far from every number, and every number from it.
func.func @infinity() {
  %x = ds.constant dense<1.0> : tensor<1xf32>
  %y = ds.constant dense<0x7F800000> : tensor<1xf32>
  // INFINITY: expects element [0] to be inf, got 1
  ds_check.expect_close %x, %y atol 0.0 rtol 1.0 : tensor<1xf32>, tensor<1xf32>
  return
}

func.func @unequal() {
  %x = ds.constant dense<[1, 2, 3]> : tensor<3xi32>
  %y = ds.constant dense<[1, -2, 3]> : tensor<3xi32>
  // UNEQUAL: 'ds_check.expect_equal' op expects element [1] to be -2, got 2
  ds_check.expect_equal %x, %y : tensor<3xi32>, tensor<3xi32>
  return
}

func.func @zeros() {
  %x = ds.constant dense<-0.0> : tensor<1xf32>
  %y = ds.constant dense<0.0> : tensor<1xf32>
  // ZEROS: expects element [0] to be 0, got -0
  ds_check.expect_equal %x, %y : tensor<1xf32>, tensor<1xf32>
  return
}

// SHAPES: 'ds_check.expect_close' op expects value of shape [1, 2], got [2, 1]
func.func @shapes(%x: tensor<?x?xf32>) {
  %y = ds.constant dense<0.0> : tensor<1x2xf32>
  ds_check.expect_close %x, %y atol 0.0 rtol 0.0 : tensor<?x?xf32>, tensor<1x2xf32>
  return
}
