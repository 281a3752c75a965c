// RUN: ds-opt --verify-roundtrip %s
// RUN: ds-opt --canonicalize %s | FileCheck %s

// CHECK-LABEL: func.func @expectations
func.func @expectations(%x: tensor<?x2xf32>, %y: tensor<2x2xf32>, %i: tensor<?xi32>, %j: tensor<3xi32>) {
  // CHECK: ds_check.expect_close %{{.*}}, %{{.*}} atol {{.*}} rtol {{.*}} : tensor<?x2xf32>, tensor<2x2xf32>
  ds_check.expect_close %x, %y atol 1.0e-6 rtol 1.0e-5 : tensor<?x2xf32>, tensor<2x2xf32>
  // CHECK: ds_check.expect_equal %{{.*}}, %{{.*}} : tensor<?xi32>, tensor<3xi32>
  ds_check.expect_equal %i, %j : tensor<?xi32>, tensor<3xi32>
  return
}
