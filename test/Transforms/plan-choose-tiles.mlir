// RUN: ds-opt --ds-plan-choose-tiles='machine=%S/Inputs/slow-memory.json' %s | FileCheck %s
// RUN: ds-opt --ds-plan-choose-tiles='machine=%S/Inputs/slow-memory.json' --ds-plan-choose-tiles='machine=%S/Inputs/machine.json' %s | FileCheck %s --check-prefix=ONE
// RUN: ds-opt --ds-plan-choose-tiles='machine=%S/Inputs/slow-memory.json' --remarks-filter-analyse='ds-plan-choose-tiles' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: not ds-opt --ds-plan-choose-tiles='machine=%S/Inputs/none.json' %s 2>&1 | FileCheck %s --check-prefix=MISSING
// MISSING: error: missing: {{.*}}none.json: No such file or directory

// REMARK: Function=many_rows | predicted ns by columns={{[0-9]+}}, predicted ns by rows={{[0-9]+}}, rows=96, threads=2
// REMARK-NOT: Function=negative_few_rows

ds.parameter @w from "w" : tensor<1024x1024xf32>
ds_plan.storage @w.panels panels of @w : memref<22x1024x48xf32>

/// Choices of others stay. One thread has nobody to share with.
// CHECK: ds_plan.kernel @product "gemm" schedule {other = 3 : i64, rows_of_thread = 96 : i64}
// ONE:   ds_plan.kernel @product "gemm" schedule {other = 3 : i64}
ds_plan.kernel @product "gemm" schedule {other = 3 : i64} {
^bb0(%x: tensor<?x?x1024xf32>, %w: tensor<1024x1024xf32>):
  %y = ds.linear %x, %w : tensor<?x?x1024xf32>, tensor<1024x1024xf32>
  ds_plan.return %y : tensor<?x?x1024xf32>
}

/// Threads share the rows of these always.
// CHECK: ds_plan.kernel @gelu "row" schedule {}
ds_plan.kernel @gelu "row" schedule {} {
^bb0(%x: tensor<?x?x1024xf32>):
  %y = ds.gelu erf %x : tensor<?x?x1024xf32>
  ds_plan.return %y : tensor<?x?x1024xf32>
}

ds_plan.program @many_rows max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<22x1024x48xf32>
  %x = ds_plan.buffer tokens : memref<?x1024xf32>
  %a = ds_plan.buffer tokens : memref<?x1024xf32>
  %y = ds_plan.buffer tokens : memref<?x1024xf32>
  ds_plan.launch @product ins(%x, %w : memref<?x1024xf32>, memref<22x1024x48xf32>) outs(%a : memref<?x1024xf32>)
  ds_plan.launch @gelu ins(%a : memref<?x1024xf32>) outs(%y : memref<?x1024xf32>)
}

ds_plan.program @negative_few_rows max_batch 8 max_rows 8 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<22x1024x48xf32>
  %x = ds_plan.buffer tokens : memref<?x1024xf32>
  %y = ds_plan.buffer tokens : memref<?x1024xf32>
  ds_plan.launch @product ins(%x, %w : memref<?x1024xf32>, memref<22x1024x48xf32>) outs(%y : memref<?x1024xf32>)
}
