// RUN: ds-opt --ds-form-fusion-regions --split-input-file %s | FileCheck %s
// RUN: ds-opt --ds-form-fusion-regions --split-input-file --remarks-filter-missed='ds-fuse.*|ds-form.*' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: ds-opt --ds-form-fusion-regions='pools=false' --split-input-file %s | FileCheck %s --check-prefix=APART

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

// -----

/// A sentence encoder's last two ops. The mean is a result as well, which changes nothing.
// CHECK-LABEL: func.func @pool_and_norm
// CHECK:       %[[F:.*]]:2 = ds.fusion -> tensor<?x64xf32>, tensor<?x64xf32> {
// CHECK-NEXT:    %[[P:.*]] = ds.pool mean
// CHECK-NEXT:    %[[N:.*]] = ds.l2_normalize %[[P]]
// CHECK-NEXT:    ds.yield %[[P]], %[[N]]
// CHECK:       return %[[F]]#1, %[[F]]#0
// APART-LABEL: func.func @pool_and_norm
// APART-NEXT:    ds.pool
// APART-NEXT:    ds.l2_normalize
func.func @pool_and_norm(%x: tensor<?x?x64xf32>, %m: tensor<?x?xi32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %p = ds.pool mean %x mask %m : tensor<?x?x64xf32>, tensor<?x?xi32>
  %n = ds.l2_normalize %p eps 1.0e-12 : tensor<?x64xf32>
  return %n, %p : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

/// The norm reads what an activation made of the pooled rows: those two are a kernel of rows.
// CHECK-LABEL: func.func @negative_not_the_pool
// CHECK:         ds.pool cls
// CHECK-NEXT:    ds.fusion -> tensor<?x64xf32> {
// CHECK-NEXT:      ds.tanh
// CHECK-NEXT:      ds.l2_normalize
func.func @negative_not_the_pool(%x: tensor<?x?x64xf32>) -> tensor<?x64xf32> {
  %p = ds.pool cls %x : tensor<?x?x64xf32>
  %t = ds.tanh %p : tensor<?x64xf32>
  %n = ds.l2_normalize %t eps 1.0e-12 : tensor<?x64xf32>
  return %n : tensor<?x64xf32>
}

// -----

/// Another norm than that of the length stays by itself.
// CHECK-LABEL: func.func @negative_pool_and_softmax
// CHECK-NOT:     ds.fusion
func.func @negative_pool_and_softmax(%x: tensor<?x?x64xf32>) -> tensor<?x64xf32> {
  %p = ds.pool cls %x : tensor<?x?x64xf32>
  %n = ds.softmax %p : tensor<?x64xf32>
  return %n : tensor<?x64xf32>
}

// -----

/// What reads the first part, and what reads that, comes right behind both, so that nothing lives longer than before.
// CHECK-LABEL: func.func @readers_between_parts
// CHECK:       %[[F:.*]]:2 = ds.fusion -> tensor<?x64xf32>, tensor<?x64xf32> {
// CHECK:       }
// CHECK-NEXT:  %[[S:.*]] = ds.column_sum %[[F]]#0
// CHECK-NEXT:  ds.accumulate_gradient @bias, %[[S]]
// CHECK-NEXT:  ds.pool cls
// CHECK-NEXT:  return %[[F]]#1
ds.parameter @bias from "bias" : tensor<64xf32>
func.func @readers_between_parts(%x: tensor<?x64xf32>, %t: tensor<?x?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %a = ds.relu %x : tensor<?x64xf32>
  %s = ds.column_sum %a : tensor<?x64xf32> -> tensor<64xf32>
  ds.accumulate_gradient @bias, %s : tensor<64xf32>
  %b = ds.gelu erf %a : tensor<?x64xf32>
  %p = ds.pool cls %t : tensor<?x?x64xf32>
  return %b, %p : tensor<?x64xf32>, tensor<?x64xf32>
}
