// RUN: ds-opt --ds-drop-unused-parameters %s | FileCheck %s
// RUN: ds-opt --ds-drop-unused-parameters --remarks-filter-passed='ds-drop-unused-parameters' %s 2>&1 >/dev/null | FileCheck --check-prefix=REMARK %s

// REMARK: ds-drop-unused-parameters
// REMARK-SAME: symbol=pooler

// CHECK-NOT: @pooler
// CHECK-NOT: @k1
// CHECK:     ds.parameter @gain
// CHECK:     ds.cache @k0
ds.parameter @pooler from "pooler.dense.weight" : tensor<64x64xf32>
ds.parameter @gain from "norm.weight" : tensor<32xf32>
ds.cache @k0 : tensor<?x64x32xf32>
ds.cache @k1 : tensor<?x64x32xf32>

func.func @read() -> (tensor<32xf32>, tensor<?x64x32xf32>) {
  %0 = ds.weight @gain : tensor<32xf32>
  %1 = ds.cache_read @k0 : tensor<?x64x32xf32>
  return %0, %1 : tensor<32xf32>, tensor<?x64x32xf32>
}
