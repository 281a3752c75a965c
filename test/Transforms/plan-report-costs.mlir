// RUN: ds-opt --ds-plan-report-costs --remarks-filter-analyse='ds-plan-report-costs' %s 2>&1 >/dev/null | FileCheck %s
// RUN: ds-opt --ds-plan-report-costs='batch=4 tokens=4' --remarks-filter-analyse='ds-plan-report-costs' %s 2>&1 >/dev/null | FileCheck --check-prefix=BATCH %s
// RUN: ds-opt --ds-plan-report-costs='threads=2' --remarks-filter-analyse='ds-plan-report-costs' %s 2>&1 >/dev/null | FileCheck --check-prefix=THREADS %s
// RUN: ds-opt --ds-plan-report-costs='past=48' --remarks-filter-analyse='ds-plan-report-costs' %s 2>&1 >/dev/null | FileCheck --check-prefix=PAST %s
// RUN: ds-opt --ds-plan-report-costs='machine=%S/Inputs/machine.json' --remarks-filter-analyse='ds-plan-report-costs' %s 2>&1 >/dev/null | FileCheck --check-prefix=MACHINE %s
// RUN: not ds-opt --ds-plan-report-costs='machine=%S/Inputs/none.json' %s 2>&1 | FileCheck --check-prefix=MISSING %s
// RUN: not ds-opt --ds-plan-report-costs='tokens=0' %s 2>&1 | FileCheck --check-prefix=BAD %s

/// 16 rows of 64, as max_rows has it: 16 KiB of weights, 4 KiB in, 4 KiB out; two FLOP for each of 16 * 64 * 64 products.
// CHECK:      Function=step |{{.*}}bytes=24576, flop=131072, kernel=product, predicted ns={{[0-9]+}}
// CHECK:      bytes=16448, flop=38560, kernel=attend
// CHECK:      barriers=1, launches=2, machine="built-in: {{.*}}", predicted ns={{[0-9]+}}
/// The same rows, but each token sees four keys at most.
// BATCH:      bytes=24576, flop=131072, kernel=product
// BATCH:      flop=12064, kernel=attend
/// Two threads halve what takes one 1.7 us.
// THREADS:    kernel=product, predicted ns={{[0-9][0-9][0-9]$}}
// THREADS:    launches=2
/// 48 tokens of the past: 64 keys and values.
// PAST:       bytes=41024, {{.*}}kernel=attend
// MACHINE:    warning: {{.*}}machine.json describes 'slow machine', this machine is '
// MACHINE:    kernel=product, predicted ns={{[0-9][0-9][0-9][0-9][0-9][0-9][0-9]$}}
// MISSING:    error: missing: {{.*}}none.json: No such file or directory
// BAD:        error: expects batch, tokens and threads of at least 1

ds.parameter @w from "w" : tensor<64x64xf32>
ds.cache @k0 : tensor<?x64x64xf32>
ds_plan.storage @w.panels panels of @w offset 0 : memref<2x64x32xf32>
ds_plan.kernel @product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.kernel @attend "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x64x64xf32>, %v: tensor<?x64x64xf32>, %p: tensor<?xi32>):
  %y = ds.attention %q, %k, %v past %p : tensor<?xi32> heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x64x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.program @step max_batch 4 max_rows 16 arena 8192 kv_bytes 32768 {
  %past = ds_plan.input "past" 1 batch : memref<?xi32>
  %k = ds_plan.cache @k0 keys heads 4 offset 0 : memref<64x64xf32>
  %v = ds_plan.cache @k0 values heads 4 offset 16384 : memref<64x64xf32>
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
  %y = ds_plan.buffer tokens offset 4096 : memref<?x64xf32>
  ds_plan.launch @product ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @attend ins(%y, %k, %v, %past : memref<?x64xf32>, memref<64x64xf32>, memref<64x64xf32>, memref<?xi32>) outs(%x : memref<?x64xf32>)
}
