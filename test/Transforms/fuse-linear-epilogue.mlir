// RUN: ds-opt --ds-fuse-linear-epilogue --split-input-file %s | FileCheck %s
// RUN: ds-opt --ds-fuse-linear-epilogue --split-input-file --remarks-filter-missed='ds-fuse.*|ds-form.*' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: ds-opt --ds-fuse-linear-epilogue='target=cuda' --split-input-file %s | FileCheck %s --check-prefix=CUDA
// RUN: ds-opt --ds-fuse-linear-epilogue='target=cuda' --split-input-file --remarks-filter-missed='ds-fuse.*' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=CUDA-REMARK
// RUN: not ds-opt --ds-fuse-linear-epilogue='target=rocm' %s --split-input-file 2>&1 | FileCheck %s --check-prefix=TARGET
// TARGET: expects target to be cpu or cuda, got 'rocm'

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

// -----

ds.parameter @gate from "gate" : tensor<32x64x!ds.quantized<8 symmetric group 32 scale f16>>
ds.parameter @up from "up" : tensor<32x64x!ds.quantized<4 symmetric group 32 scale f16>>

/// Two products of different codes share rows on CUDA, but no tile of sums.
// CHECK-LABEL: func.func @negative_codes_of_two_kinds_meet
// CHECK:       %[[F:.*]] = ds.fusion -> tensor<?x?x32xf32> {
// CHECK:         ds.mul
// CHECK:       return %[[F]]
// CUDA-LABEL:  func.func @negative_codes_of_two_kinds_meet
// CUDA:        %[[F:.*]]:2 = ds.fusion -> tensor<?x?x32xf32>, tensor<?x?x32xf32> {
// CUDA:          ds.silu
// CUDA-NOT:      ds.mul
// CUDA:        }
// CUDA:        ds.mul
// CUDA-REMARK: Reason="expects products that meet to have weights of one type"{{.*}} Refused=kernel
func.func @negative_codes_of_two_kinds_meet(%x: tensor<?x?x64xf32>) -> tensor<?x?x32xf32> {
  %wg = ds.weight @gate : tensor<32x64x!ds.quantized<8 symmetric group 32 scale f16>>
  %wu = ds.weight @up : tensor<32x64x!ds.quantized<4 symmetric group 32 scale f16>>
  %f:2 = ds.fusion -> tensor<?x?x32xf32>, tensor<?x?x32xf32> {
    %g = ds.linear %x, %wg : tensor<?x?x64xf32>, tensor<32x64x!ds.quantized<8 symmetric group 32 scale f16>>
    %u = ds.linear %x, %wu : tensor<?x?x64xf32>, tensor<32x64x!ds.quantized<4 symmetric group 32 scale f16>>
    ds.yield %g, %u : tensor<?x?x32xf32>, tensor<?x?x32xf32>
  }
  %s = ds.silu %f#0 : tensor<?x?x32xf32>
  %m = ds.mul %s, %f#1 : tensor<?x?x32xf32>
  return %m : tensor<?x?x32xf32>
}

// -----

ds.parameter @a from "a" : tensor<32x64xf32>
ds.parameter @b from "b" : tensor<32x64xf32>
ds.parameter @c from "c" : tensor<32x64xf32>

/// A tile of sums has two factors at most on CUDA.
// CHECK-LABEL: func.func @negative_three_products_meet
// CHECK:         ds.add
// CHECK:         ds.add
// CHECK:         ds.yield
// CUDA-LABEL:  func.func @negative_three_products_meet
// CUDA:          ds.add
// CUDA:          ds.yield
// CUDA:        }
// CUDA:        ds.add
// CUDA-REMARK: Reason="expects one or two products that meet, found 3"{{.*}} Refused=kernel
func.func @negative_three_products_meet(%x: tensor<?x?x64xf32>) -> tensor<?x?x32xf32> {
  %wa = ds.weight @a : tensor<32x64xf32>
  %wb = ds.weight @b : tensor<32x64xf32>
  %wc = ds.weight @c : tensor<32x64xf32>
  %f:3 = ds.fusion -> tensor<?x?x32xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32> {
    %a = ds.linear %x, %wa : tensor<?x?x64xf32>, tensor<32x64xf32>
    %b = ds.linear %x, %wb : tensor<?x?x64xf32>, tensor<32x64xf32>
    %c = ds.linear %x, %wc : tensor<?x?x64xf32>, tensor<32x64xf32>
    ds.yield %a, %b, %c : tensor<?x?x32xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>
  }
  %s = ds.add %f#0, %f#1 : tensor<?x?x32xf32>
  %m = ds.add %s, %f#2 : tensor<?x?x32xf32>
  return %m : tensor<?x?x32xf32>
}
