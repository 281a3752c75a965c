// RUN: ds-opt --ds-form-fusion-regions --split-input-file %s | FileCheck %s
// RUN: ds-opt --ds-form-fusion-regions --split-input-file --remarks-filter-missed='ds-fuse.*|ds-form.*' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK

ds.parameter @t from "t" : tensor<128x64xf32>
ds.parameter @p from "p" : tensor<16x64xf32>
ds.parameter @g from "g" : tensor<64xf32>

// CHECK-LABEL: func.func @embeddings_and_norm
// CHECK:       ds.fusion -> tensor<?x?x64xf32> {
// CHECK:         ds.embedding
// CHECK:         ds.embedding
// CHECK:         ds.add
// CHECK:         ds.rms_norm
// CHECK-NEXT:    ds.yield
func.func @embeddings_and_norm(%ids: tensor<?x?xi32>, %pos: tensor<?x?xi32>) -> tensor<?x?x64xf32> {
  %t = ds.weight @t : tensor<128x64xf32>
  %a = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
  %p = ds.weight @p : tensor<16x64xf32>
  %b = ds.embedding %pos, %p : tensor<?x?xi32>, tensor<16x64xf32>
  %s = ds.add %a, %b : tensor<?x?x64xf32>
  %g = ds.weight @g : tensor<64xf32>
  %n = ds.rms_norm %s, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  return %n : tensor<?x?x64xf32>
}

// -----

/// A row goes through one norm while it is in the cache.
// CHECK-LABEL: func.func @negative_two_norms
// CHECK-NOT:     ds.fusion
// REMARK: two norms in one region
func.func @negative_two_norms(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %s = ds.softmax %x : tensor<?x64xf32>
  %n = ds.l2_normalize %s eps 1.0e-12 : tensor<?x64xf32>
  return %n : tensor<?x64xf32>
}

// -----

// CHECK-LABEL: func.func @negative_no_rows
// CHECK-NOT:     ds.fusion
// REMARK: no rows of f32
func.func @negative_no_rows(%x: tensor<f32>) -> tensor<f32> {
  %a = ds.add %x, %x : tensor<f32>
  %t = ds.tanh %a : tensor<f32>
  return %t : tensor<f32>
}
