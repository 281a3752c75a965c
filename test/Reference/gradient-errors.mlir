// RUN: not ds-reference %s --function embedding 2>&1 | FileCheck %s --check-prefix=EMBEDDING
// RUN: not ds-reference %s --function gather 2>&1 | FileCheck %s --check-prefix=GATHER
// RUN: not ds-reference %s --function labels 2>&1 | FileCheck %s --check-prefix=LABELS
// RUN: not ds-reference %s --function norms 2>&1 | FileCheck %s --check-prefix=NORMS
// RUN: not ds-reference %s --function update 2>&1 | FileCheck %s --check-prefix=UPDATE
// RUN: not ds-reference %s --function sizes --input 0=2x3xf32=0 --input 1=1x3xf32=0 2>&1 | FileCheck %s --check-prefix=SIZES
// RUN: not ds-reference %s --function switched --input 0=2x3xf32=0 --input 1=1x3xf32=0 2>&1 | FileCheck %s --check-prefix=SWITCHED
// RUN: not ds-reference %s --function weight --input 0=2x3xf32=0 --input 1=1x3xf32=0 2>&1 | FileCheck %s --check-prefix=WEIGHT
// RUN: not ds-reference %s --function attention --input 0=1x2x4xf32=0 --input 1=1x3x4xf32=0 --input 2=1x4xi32=0 2>&1 | FileCheck %s --check-prefix=MASK
// RUN: not ds-reference %s --function pool --input 0=1x0x2xf32=0 --input 1=1x2xf32=0 2>&1 | FileCheck %s --check-prefix=POOL

ds.parameter @w value dense<1.0> : tensor<1xf32> : tensor<1xf32>

func.func @embedding() {
  %ids = ds.constant dense<[0, 2]> : tensor<2xi32>
  %dx = ds.constant dense<0.0> : tensor<2x2xf32>
  // EMBEDDING: gradient-errors.mlir:[[#@LINE+1]]:{{.*}} error: 'ds.embedding_grad' op expects indices of 0 to 1, got 2 at element 1
  %dw = ds.embedding_grad %ids, %dx : tensor<2xi32>, tensor<2x2xf32> -> tensor<2x2xf32>
  return
}

func.func @gather() {
  %x = ds.constant dense<0.0> : tensor<2x3x1xf32>
  %rows = ds.constant dense<[-1, 0]> : tensor<2xi32>
  %dy = ds.constant dense<0.0> : tensor<2x1xf32>
  // GATHER: 'ds.gather_rows_grad' op expects rows of 0 to 5, got -1 at element 0
  %dx = ds.gather_rows_grad %x, %rows, %dy : tensor<2x3x1xf32>, tensor<2xi32>, tensor<2x1xf32>
  return
}

func.func @labels() {
  %x = ds.constant dense<0.0> : tensor<2x3xf32>
  %l = ds.constant dense<[-1, 3]> : tensor<2xi32>
  // LABELS: 'ds.cross_entropy' op expects labels less than 3, got 3 at element 1
  %y = ds.cross_entropy %x, %l smoothing 0.0 : tensor<2x3xf32>, tensor<2xi32> -> tensor<2x1xf32>
  return
}

func.func @norms() {
  // NORMS: 'ds.gradient_norms' op expects a result for each of 1 parameters that are trained, got 2
  %n = ds.gradient_norms : tensor<1x2xf32>
  return
}

func.func @update() {
  %c = ds.constant dense<0.0> : tensor<1x10xf32>
  %h = ds.constant dense<0.0> : tensor<1x8xf32>
  // UPDATE: 'ds.optimizer_update' op expects a result for each of 1 parameters that are trained, got 2
  %n = ds.optimizer_update sgd %c, %h : tensor<1x10xf32>, tensor<1x8xf32> -> tensor<1x2xf32>
  return
}

func.func @trains(%g: tensor<1xf32>) {
  ds.accumulate_gradient @w, %g : tensor<1xf32>
  return
}

// SIZES: 'ds.relu_grad' op expects grad of shape [2, 3], got [1, 3]
func.func @sizes(%x: tensor<?x?xf32>, %dy: tensor<?x?xf32>) {
  %dx = ds.relu_grad %x, %dy : tensor<?x?xf32>
  return
}

// SWITCHED: 'ds.switch' op expects off of shape [2, 3], got [1, 3]
func.func @switched(%x: tensor<?x?xf32>, %y: tensor<?x?xf32>) {
  %gates = ds.constant dense<1> : tensor<1xi32>
  %z = ds.switch %gates at 0, %x, %y : tensor<1xi32>, tensor<?x?xf32>
  return
}

// WEIGHT: 'ds.linear_weight_grad' op expects grad of shape [2, 3], got [1, 3]
func.func @weight(%x: tensor<?x3xf32>, %dy: tensor<?x3xf32>) {
  %dw = ds.linear_weight_grad %x, %dy : tensor<?x3xf32>, tensor<?x3xf32> -> tensor<3x3xf32>
  return
}

// MASK: 'ds.attention_grad' op expects mask of shape [1, 3], got [1, 4]
func.func @attention(%q: tensor<?x?x4xf32>, %k: tensor<?x?x4xf32>, %m: tensor<?x?xi32>) {
  %dq, %dk, %dv = ds.attention_grad %q, %k, %k, %q mask %m : tensor<?x?xi32> heads 1 kv_heads 1 scale 1.0 : tensor<?x?x4xf32>, tensor<?x?x4xf32>
  return
}

// POOL: 'ds.pool_grad' op expects at least one token
func.func @pool(%x: tensor<?x?x2xf32>, %dy: tensor<?x2xf32>) {
  %dx = ds.pool_grad cls %x, %dy : tensor<?x?x2xf32>, tensor<?x2xf32>
  return
}
