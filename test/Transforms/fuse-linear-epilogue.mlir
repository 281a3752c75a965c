// RUN: ds-opt --ds-fuse-linear-epilogue --split-input-file %s | FileCheck %s
// RUN: ds-opt --ds-fuse-linear-epilogue --split-input-file --remarks-filter-missed='ds-fuse.*|ds-form.*' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK

ds.parameter @w from "w" : tensor<32x64xf32>

// CHECK-LABEL: func.func @activation_and_residual
// CHECK:       %[[F:.*]] = ds.fusion -> tensor<?x?x32xf32> {
// CHECK-NEXT:    %[[L:.*]] = ds.linear
// CHECK-NEXT:    %[[G:.*]] = ds.gelu erf %[[L]]
// CHECK-NEXT:    %[[S:.*]] = ds.add %[[G]], %{{.*}}
// CHECK-NEXT:    ds.yield %[[S]]
func.func @activation_and_residual(%x: tensor<?x?x64xf32>, %r: tensor<?x?x32xf32>) -> tensor<?x?x32xf32> {
  %w = ds.weight @w : tensor<32x64xf32>
  %l = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<32x64xf32>
  %g = ds.gelu erf %l : tensor<?x?x32xf32>
  %s = ds.add %g, %r : tensor<?x?x32xf32>
  return %s : tensor<?x?x32xf32>
}

// -----

ds.parameter @w from "w" : tensor<32x64xf32>

/// The seed is one for all elements.
// CHECK-LABEL: func.func @dropout_and_residual
// CHECK:       %[[F:.*]] = ds.fusion -> tensor<?x?x32xf32> {
// CHECK-NEXT:    %[[L:.*]] = ds.linear
// CHECK-NEXT:    %[[D:.*]] = ds.dropout %[[L]], %{{.*}} rate
// CHECK-NEXT:    %[[S:.*]] = ds.add %[[D]], %{{.*}}
// CHECK-NEXT:    ds.yield %[[S]]
func.func @dropout_and_residual(%x: tensor<?x?x64xf32>, %r: tensor<?x?x32xf32>, %seed: tensor<2xi32>) -> tensor<?x?x32xf32> {
  %w = ds.weight @w : tensor<32x64xf32>
  %l = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<32x64xf32>
  %d = ds.dropout %l, %seed rate 1.0e-1 site 7 : tensor<?x?x32xf32>, tensor<2xi32>
  %s = ds.add %d, %r : tensor<?x?x32xf32>
  return %s : tensor<?x?x32xf32>
}

// -----

ds.parameter @gate from "gate" : tensor<32x64xf32>
ds.parameter @up from "up" : tensor<32x64xf32>

// CHECK-LABEL: func.func @gated
// CHECK:       ds.fusion
// CHECK:         ds.linear
// CHECK:         ds.linear
// CHECK:         ds.silu
// CHECK:         ds.mul
func.func @gated(%x: tensor<?x?x64xf32>) -> tensor<?x?x32xf32> {
  %wg = ds.weight @gate : tensor<32x64xf32>
  %wu = ds.weight @up : tensor<32x64xf32>
  %f:2 = ds.fusion -> tensor<?x?x32xf32>, tensor<?x?x32xf32> {
    %g = ds.linear %x, %wg : tensor<?x?x64xf32>, tensor<32x64xf32>
    %u = ds.linear %x, %wu : tensor<?x?x64xf32>, tensor<32x64xf32>
    ds.yield %g, %u : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  }
  %s = ds.silu %f#0 : tensor<?x?x32xf32>
  %m = ds.mul %s, %f#1 : tensor<?x?x32xf32>
  return %m : tensor<?x?x32xf32>
}

// -----

ds.parameter @w from "w" : tensor<64x64xf32>
ds.parameter @g from "g" : tensor<64xf32>

/// The sum needs a norm of the product: its kernel cannot begin before the product's is done.
// CHECK-LABEL: func.func @negative_value_would_depend_on_itself
// CHECK-NOT:     ds.fusion
// REMARK: a value would depend on itself
func.func @negative_value_would_depend_on_itself(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  %w = ds.weight @w : tensor<64x64xf32>
  %l = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %g = ds.weight @g : tensor<64xf32>
  %n = ds.rms_norm %l, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  %s = ds.add %l, %n : tensor<?x?x64xf32>
  return %s : tensor<?x?x64xf32>
}
