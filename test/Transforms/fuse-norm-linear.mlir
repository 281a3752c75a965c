// RUN: ds-opt --ds-fuse-norm-linear --split-input-file %s | FileCheck %s
// RUN: ds-opt --ds-fuse-norm-linear --split-input-file --remarks-filter-missed='ds-fuse.*|ds-form.*' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: ds-opt --ds-fuse-norm-linear='machine=%S/Inputs/many-threads.json' --split-input-file --remarks-filter-missed='ds-fuse.*' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=MANY
// RUN: not ds-opt --ds-fuse-norm-linear='machine=%S/Inputs/none.json' --split-input-file %s 2>&1 | FileCheck %s --check-prefix=MISSING
// MISSING: error: missing: {{.*}}none.json: No such file or directory

ds.parameter @g from "g" : tensor<64xf32>
ds.parameter @w from "w" : tensor<32x64xf32>

/// The sum reads the norm as well, so the kernel writes it.
// CHECK-LABEL: func.func @norm_is_a_residual_too
// CHECK:       %[[F:.*]]:2 = ds.fusion -> tensor<?x?x64xf32>, tensor<?x?x32xf32> {
// CHECK-NEXT:    %[[N:.*]] = ds.rms_norm
// CHECK-NEXT:    %[[L:.*]] = ds.linear %[[N]]
// CHECK-NEXT:    ds.yield %[[N]], %[[L]]
// CHECK:       ds.add %[[F]]#0
func.func @norm_is_a_residual_too(%x: tensor<?x?x64xf32>) -> (tensor<?x?x32xf32>, tensor<?x?x64xf32>) {
  %g = ds.weight @g : tensor<64xf32>
  %n = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  %w = ds.weight @w : tensor<32x64xf32>
  %l = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<32x64xf32>
  %s = ds.add %n, %x : tensor<?x?x64xf32>
  return %l, %s : tensor<?x?x32xf32>, tensor<?x?x64xf32>
}

// -----

ds.parameter @g from "g" : tensor<64xf32>
ds.parameter @w from "w" : tensor<32x64xf32>
ds.parameter @v from "v" : tensor<32x64xf32>

/// Each of two kernels would compute the norm.
// CHECK-LABEL: func.func @negative_products_of_two_kernels
// CHECK-NOT:     ds.fusion
// REMARK: products of 2 kernels read the norm, and each would compute it", Refused=profit
func.func @negative_products_of_two_kernels(%x: tensor<?x?x64xf32>) -> (tensor<?x?x32xf32>, tensor<?x?x32xf32>) {
  %g = ds.weight @g : tensor<64xf32>
  %n = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  %w = ds.weight @w : tensor<32x64xf32>
  %l = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<32x64xf32>
  %v = ds.weight @v : tensor<32x64xf32>
  %m = ds.linear %n, %v : tensor<?x?x64xf32>, tensor<32x64xf32>
  return %l, %m : tensor<?x?x32xf32>, tensor<?x?x32xf32>
}

// -----

ds.parameter @g from "g" : tensor<9000xf32>
ds.parameter @w from "w" : tensor<32x9000xf32>

// CHECK-LABEL: func.func @negative_row_too_long
// CHECK-NOT:     ds.fusion
// REMARK: rows of 9000 values exceed 8192", Refused=kernel
func.func @negative_row_too_long(%x: tensor<?x?x9000xf32>) -> tensor<?x?x32xf32> {
  %g = ds.weight @g : tensor<9000xf32>
  %n = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x9000xf32>, tensor<9000xf32>
  %w = ds.weight @w : tensor<32x9000xf32>
  %l = ds.linear %n, %w : tensor<?x?x9000xf32>, tensor<32x9000xf32>
  return %l : tensor<?x?x32xf32>
}

// -----

ds.parameter @g from "g" : tensor<64xf32>
ds.parameter @w from "w" : tensor<3072x64xf32>

/// Two threads save a barrier and the way of the rows. 64 that share the columns of a few rows would each compute the norm of all of them,
/// and save nothing, as they meet for free.
// CHECK-LABEL: func.func @norm_by_profit
// CHECK:         ds.fusion
// CHECK-NEXT:      ds.rms_norm
// MANY: Reason="predicted to take {{[0-9.]+}} times as long in the mean of 6 steps: {{[0-9.]+}} us in place of {{[0-9.]+}} with 128 rows on 64 threads", Refused=profit
func.func @norm_by_profit(%x: tensor<?x?x64xf32>) -> tensor<?x?x3072xf32> {
  %g = ds.weight @g : tensor<64xf32>
  %n = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  %w = ds.weight @w : tensor<3072x64xf32>
  %l = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<3072x64xf32>
  return %l : tensor<?x?x3072xf32>
}
