// RUN: ds-opt --ds-fuse-qkv --split-input-file %s | FileCheck %s

ds.parameter @q from "q" : tensor<32x64xf32>
ds.parameter @k from "k" : tensor<16x64xf32>

// CHECK-LABEL: func.func @two_linears_of_one_value
// CHECK:       %[[F:.*]]:2 = ds.fusion -> tensor<?x?x32xf32>, tensor<?x?x16xf32> {
// CHECK-NEXT:    %[[Q:.*]] = ds.linear
// CHECK-NEXT:    %[[K:.*]] = ds.linear
// CHECK-NEXT:    ds.yield %[[Q]], %[[K]]
// CHECK:       return %[[F]]#0, %[[F]]#1
func.func @two_linears_of_one_value(%x: tensor<?x?x64xf32>) -> (tensor<?x?x32xf32>, tensor<?x?x16xf32>) {
  %wq = ds.weight @q : tensor<32x64xf32>
  %q = ds.linear %x, %wq : tensor<?x?x64xf32>, tensor<32x64xf32>
  %wk = ds.weight @k : tensor<16x64xf32>
  %k = ds.linear %x, %wk : tensor<?x?x64xf32>, tensor<16x64xf32>
  return %q, %k : tensor<?x?x32xf32>, tensor<?x?x16xf32>
}

// -----

ds.parameter @w from "w" : tensor<64x64xf32>

/// The second linear reads the first.
// CHECK-LABEL: func.func @negative_chain
// CHECK-NOT:     ds.fusion
func.func @negative_chain(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  %w = ds.weight @w : tensor<64x64xf32>
  %a = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %b = ds.linear %a, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  return %b : tensor<?x?x64xf32>
}

// -----

ds.parameter @w from "w" : tensor<64x64xf16>

/// No kernel multiplies activations of f16.
// CHECK-LABEL: func.func @negative_f16
// CHECK-NOT:     ds.fusion
func.func @negative_f16(%x: tensor<?x?x64xf16>) -> (tensor<?x?x64xf16>, tensor<?x?x64xf16>) {
  %w = ds.weight @w : tensor<64x64xf16>
  %a = ds.linear %x, %w : tensor<?x?x64xf16>, tensor<64x64xf16>
  %b = ds.linear %x, %w : tensor<?x?x64xf16>, tensor<64x64xf16>
  return %a, %b : tensor<?x?x64xf16>, tensor<?x?x64xf16>
}
