// RUN: not ds-reference %s --function embedding 2>&1 | FileCheck %s --check-prefix=EMBEDDING
// RUN: not ds-reference %s --function negative_index 2>&1 | FileCheck %s --check-prefix=NEGATIVE
// RUN: not ds-reference %s --function gather 2>&1 | FileCheck %s --check-prefix=GATHER
// RUN: not ds-reference %s --function no_weights 2>&1 | FileCheck %s --check-prefix=WEIGHTS
// RUN: not ds-reference %s --function read_before_append 2>&1 | FileCheck %s --check-prefix=READ
// RUN: not ds-reference %s --function other_batch 2>&1 | FileCheck %s --check-prefix=BATCH
// RUN: not ds-reference %s --function negative_past 2>&1 | FileCheck %s --check-prefix=PAST
// RUN: not ds-reference %s --function endless 2>&1 | FileCheck %s --check-prefix=ENDLESS
// RUN: not ds-reference %s --function elsewhere 2>&1 | FileCheck %s --check-prefix=ELSEWHERE
// RUN: not ds-reference %s --function other_dialect 2>&1 | FileCheck %s --check-prefix=DIALECT
// RUN: not ds-reference %s --function branches 2>&1 | FileCheck %s --check-prefix=BRANCH
// RUN: not ds-reference %s --function sizes --input 0=2x3xf32=0 --input 1=2x4xf32=0 2>&1 | FileCheck %s --check-prefix=SIZES
// RUN: not ds-reference %s --function sizes --input 0=2x3xf32=0 --input 1=2x3x1xf32=0 2>&1 | FileCheck %s --check-prefix=RANK
// RUN: not ds-reference %s --function attention --input 0=2x3x4xf32=0 --input 1=1x3x4xf32=0 --input 2=2x3xi32=0 2>&1 | FileCheck %s --check-prefix=KEY
// RUN: not ds-reference %s --function attention --input 0=2x3x4xf32=0 --input 1=2x3x4xf32=0 --input 2=2x2xi32=0 2>&1 | FileCheck %s --check-prefix=MASK
// RUN: not ds-reference %s --function pool --input 0=1x0x2xf32=0 2>&1 | FileCheck %s --check-prefix=POOL

ds.parameter @w from "w" : tensor<2x2xf32>
ds.cache @k : tensor<?x4x1xf32>

func.func @embedding() {
  %ids = ds.constant dense<[0, 2]> : tensor<2xi32>
  %w = ds.constant dense<0.0> : tensor<2x2xf32>
  // EMBEDDING: errors.mlir:[[#@LINE+1]]:{{.*}} error: 'ds.embedding' op expects indices of 0 to 1, got 2 at element 1
  %x = ds.embedding %ids, %w : tensor<2xi32>, tensor<2x2xf32>
  return
}

func.func @negative_index() {
  %ids = ds.constant dense<-1> : tensor<1xi32>
  %w = ds.constant dense<0.0> : tensor<2x2xf32>
  // NEGATIVE: expects indices of 0 to 1, got -1 at element 0
  %x = ds.embedding %ids, %w : tensor<1xi32>, tensor<2x2xf32>
  return
}

func.func @gather() {
  %x = ds.constant dense<0.0> : tensor<2x3x1xf32>
  %rows = ds.constant dense<[5, 6]> : tensor<2xi32>
  // GATHER: 'ds.gather_rows' op expects rows of 0 to 5, got 6 at element 1
  %y = ds.gather_rows %x, %rows : tensor<2x3x1xf32>, tensor<2xi32>
  return
}

func.func @no_weights() {
  // WEIGHTS: 'ds.weight' op expects the weights of the model: parameter @w has no value in the module
  %w = ds.weight @w : tensor<2x2xf32>
  %y = ds.relu %w : tensor<2x2xf32>
  return
}

func.func @read_before_append() {
  // READ: 'ds.cache_read' op expects something appended to @k before
  %k = ds.cache_read @k : tensor<?x4x1xf32>
  return
}

func.func @other_batch() {
  %x = ds.constant dense<0.0> : tensor<1x1x1xf32>
  %y = ds.constant dense<0.0> : tensor<2x1x1xf32>
  %p = ds.constant dense<0> : tensor<1xi32>
  %q = ds.constant dense<0> : tensor<2xi32>
  %a = ds.cache_append @k, %x past %p : tensor<1x1x1xf32>, tensor<1xi32> -> tensor<?x4x1xf32>
  // BATCH: 'ds.cache_append' op expects a batch of 1 sequences, as its cache has, got 2
  %b = ds.cache_append @k, %y past %q : tensor<2x1x1xf32>, tensor<2xi32> -> tensor<?x4x1xf32>
  return
}

func.func @negative_past() {
  %x = ds.constant dense<0.0> : tensor<1x1x1xf32>
  %p = ds.constant dense<-1> : tensor<1xi32>
  // PAST: expects past of at least 0, got -1 at element 0
  %a = ds.cache_append @k, %x past %p : tensor<1x1x1xf32>, tensor<1xi32> -> tensor<?x4x1xf32>
  return
}

func.func @endless() {
  // ENDLESS: expects calls at most 64 deep
  func.call @endless() : () -> ()
  return
}

func.func private @declared()
func.func @elsewhere() {
  // ELSEWHERE: expects a body of function @declared
  func.call @declared() : () -> ()
  return
}

func.func @other_dialect() {
  // DIALECT: 'arith.constant' op has no meaning to the reference interpreter
  %c = arith.constant 1 : i32
  return
}

func.func @branches() {
  // BRANCH: 'llvm.br' op has no meaning to the reference interpreter
  llvm.br ^bb1
^bb1:
  return
}

// SIZES: 'ds.add' op expects rhs of shape [2, 3], got [2, 4]
// RANK: error: expects argument 1 of type 'tensor<?x?xf32>', got tensor<2x3x1xf32>
func.func @sizes(%x: tensor<?x?xf32>, %y: tensor<?x?xf32>) {
  %z = ds.add %x, %y : tensor<?x?xf32>
  return
}

// KEY: 'ds.attention' op expects key of shape [2, ?, 4], got [1, 3, 4]
// MASK: 'ds.attention' op expects mask of at least 3 keys, got 2
func.func @attention(%q: tensor<?x?x4xf32>, %k: tensor<?x?x4xf32>, %m: tensor<?x?xi32>) {
  %y = ds.attention %q, %k, %k mask %m : tensor<?x?xi32> heads 1 kv_heads 1 scale 1.0 : tensor<?x?x4xf32>, tensor<?x?x4xf32>
  return
}

// POOL: 'ds.pool' op expects at least one token
func.func @pool(%x: tensor<?x?x2xf32>) {
  %y = ds.pool cls %x : tensor<?x?x2xf32>
  return
}
