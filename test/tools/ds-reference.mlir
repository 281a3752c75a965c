// RUN: ds-reference %s --function f --input ids=2x3xi32=iota --input 1=3xf32=1,0.5,-2 | FileCheck %s --check-prefix=PRINT
// RUN: ds-reference %s --function f --input ids=2x3xi32=iota --input 1=3xf32=1,0.5,-2 --output sum=@%t.sum.npy --output 1=@%t.ids.npy
// RUN: %python -c "import numpy as n; s = n.load(r'%t.sum.npy'); i = n.load(r'%t.ids.npy'); print(s.dtype, s.tolist(), i.dtype, i.tolist())" | FileCheck %s --check-prefix=NPY
// RUN: ds-reference %s --function f --input ids=@%t.ids.npy --input 1=3xf32=1,0.5,-2 --compare sum=@%t.sum.npy --atol 0 --rtol 0 | FileCheck %s --check-prefix=EQUAL
// RUN: not ds-reference %s --function f --input ids=@%t.ids.npy --input 1=3xf32=1,0.75,-2 --compare sum=@%t.sum.npy | FileCheck %s --check-prefix=DIFFER
// RUN: ds-reference %s --function f --input ids=@%t.ids.npy --input 1=3xf32=1,0.75,-2 --compare sum=@%t.sum.npy --atol 0.5
// RUN: %python -c "import numpy as n; n.save(r'%t.half.npy', n.array([1, 0.5, -2], 'f2')); n.save(r'%t.long.npy', n.array([[0, 1, 2]], 'i8')); n.save(r'%t.fortran.npy', n.zeros((2, 3), 'i4', 'F')); n.save(r'%t.wide.npy', n.array([[2**40]], 'i8')); open(r'%t.short.npy', 'wb').write(open(r'%t.long.npy', 'rb').read()[:-1])"
// RUN: ds-reference %s --function f --input ids=@%t.long.npy --input 1=@%t.half.npy | FileCheck %s --check-prefix=TYPES

// PRINT: @f sum: tensor<3xf32> = 2 1 -4
// PRINT: @f 1: tensor<2x3xi32> = 0 1 2 0 1 2
// NPY: float64 [2.0, 1.0, -4.0] int32 {{\[\[}}0, 1, 2], [0, 1, 2]]
// EQUAL: sum: largest difference 0
// DIFFER: sum: largest difference 0.5; expects element [1] to be 1, got 1.5
// TYPES: @f sum: tensor<3xf32> = 2 1 -4
// TYPES: @f 1: tensor<1x3xi32> = 0 1 2

// RUN: not ds-reference 2>&1 | FileCheck %s --check-prefix=NOTHING
// RUN: not ds-reference %t.none.mlir 2>&1 | FileCheck %s --check-prefix=MISSING
// RUN: not ds-reference %s --function g 2>&1 | FileCheck %s --check-prefix=FUNCTION
// RUN: not ds-reference %s --function f --input ids=1xi32=0 2>&1 | FileCheck %s --check-prefix=ABSENT
// RUN: not ds-reference %s --function f --input id=1xi32=0 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: not ds-reference %s --function f --input 0=1xi32=0 --input ids=1xi32=0 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not ds-reference %s --function f --input ids=2xi32=0,1,2 2>&1 | FileCheck %s --check-prefix=COUNT
// RUN: not ds-reference %s --function f --input ids=2xf32=0 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not ds-reference %s --function f --input ids=2xi32=0.5 2>&1 | FileCheck %s --check-prefix=ELEMENT
// RUN: not ds-reference %s --function f --input ids=-2xi32=0 2>&1 | FileCheck %s --check-prefix=SIZE
// RUN: not ds-reference %s --function f --input ids=@%t.none.npy 2>&1 | FileCheck %s --check-prefix=NOFILE
// RUN: not ds-reference %s --function f --input ids=@%s 2>&1 | FileCheck %s --check-prefix=NOTNPY
// RUN: not ds-reference %s --function f --input ids=@%t.fortran.npy 2>&1 | FileCheck %s --check-prefix=NOTNPY
// RUN: not ds-reference %s --function f --input ids=@%t.half.npy 2>&1 | FileCheck %s --check-prefix=INTEGERS
// RUN: not ds-reference %s --function f --input ids=@%t.wide.npy 2>&1 | FileCheck %s --check-prefix=WIDE
// RUN: not ds-reference %s --function f --input ids=@%t.short.npy 2>&1 | FileCheck %s --check-prefix=SHORT
// RUN: not ds-reference %s --function f --input ids=1x1xi32=0 --input 1=3xf32=0 --output none=@%t.npy 2>&1 | FileCheck %s --check-prefix=RESULT
// RUN: not ds-reference %s --function f --input ids=1x1xi32=0 --input 1=3xf32=0 --output sum=%t.npy 2>&1 | FileCheck %s --check-prefix=AT
// RUN: not ds-reference %s --function f --input ids=1x1xi32=0 --input 1=3xf32=0 --output sum=@%t.none/y.npy 2>&1 | FileCheck %s --check-prefix=WRITE
// RUN: not ds-reference %s --function f --input ids=1x1xi32=0 --input 1=3xf32=0 --compare sum=2xf32=0 2>&1 | FileCheck %s --check-prefix=SHAPE

// NOTHING: ds-reference: expects a module or --model
// MISSING: ds-reference: cannot open input file '{{.*}}none.mlir'
// FUNCTION: ds-reference: no function @g
// ABSENT: ds-reference: argument '1' of @f is not given; see --input
// NAME: ds-reference: no argument 'id'; there are: ids, 1
// TWICE: ds-reference: argument 'ids' is given twice
// COUNT: ds-reference: value '2xi32=0,1,2': expects 1 or 2 values, found 3
// TYPE: ds-reference: value '2xf32=0': expects SIZESxi32=VALUES or @file.npy
// ELEMENT: ds-reference: value '2xi32=0.5': expects i32, found '0.5'
// SIZE: expects sizes of at least 0 and at most 2^32 elements
// NOFILE: none.npy: No such file or directory
// NOTNPY: expects a C-ordered .npy file
// INTEGERS: expects integers, found '<f2'
// WIDE: expects integers of 32 bits
// SHORT: expects 3 elements, found 23 bytes
// RESULT: ds-reference: no result 'none'; there are: sum, 1
// AT: ds-reference: output 'sum={{.*}}': expects NAME=@file.npy
// WRITE: ds-reference: {{.*}}y.npy: No such file or directory
// SHAPE: ds-reference: result 'sum': expects shape [2], found [3]

func.func @f(%ids: tensor<?x?xi32> {ds.name = "ids"}, %x: tensor<3xf32>) -> (tensor<3xf32> {ds.name = "sum"}, tensor<?x?xi32>) {
  %y = ds.add %x, %x : tensor<3xf32>
  return %y, %ids : tensor<3xf32>, tensor<?x?xi32>
}
