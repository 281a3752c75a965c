// RUN: ds-opt --ds-plan-reuse-buffers %s | FileCheck %s
// RUN: ds-opt --ds-plan-reuse-buffers='report=1 report-batch=3' %s 2>&1 >/dev/null | FileCheck --check-prefix=REPORT %s
// RUN: ds-opt --ds-plan-reuse-buffers=report=1 %s 2>&1 >/dev/null | FileCheck --check-prefix=BATCH %s
// RUN: ds-opt --ds-plan-reuse-buffers --remarks-filter-analyse='ds-plan-.*' %s 2>&1 >/dev/null | FileCheck --check-prefix=REMARK %s

// REPORT:      program chain: at most 2 sequences and 8 tokens a step, 3 launches, 2 barriers
// REPORT-NEXT:   arena: peak 4096 bytes (0.0 MiB), without reuse 6144 bytes (0.0 MiB)
// REPORT:      kernels: 3
// REPORT:      caches: 16384 bytes (0.0 MiB) a sequence of 64 tokens, 49152 bytes (0.0 MiB) for 3 sequences
// BATCH:       32768 bytes (0.0 MiB) for 2 sequences
// REMARK:      peak bytes=4096

ds.cache @k0 : tensor<?x64x64xf32>
ds_plan.kernel @copy_64 "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.kernel @add_64 "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %y: tensor<?x?x64xf32>):
  %z = ds.add %x, %y : tensor<?x?x64xf32>
  ds_plan.return %z : tensor<?x?x64xf32>
}
ds_plan.kernel @store_keys "store_cache" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %k = ds_plan.store_cache keys heads 4 %x : tensor<?x?x64xf32> -> tensor<?x?x64xf32>
  ds_plan.return %k : tensor<?x?x64xf32>
}

/// The third takes the place of the first, whose last reader is a barrier before. The dead one is gone.
// CHECK-LABEL: ds_plan.program @chain max_batch 2 max_rows 8 arena 4096 kv_bytes 16384
// CHECK:         ds_plan.cache
// CHECK-NEXT:    ds_plan.buffer tokens offset 0
// CHECK-NEXT:    ds_plan.buffer tokens offset 2048
// CHECK-NEXT:    ds_plan.buffer tokens offset 0
// CHECK-NOT:     ds_plan.buffer
ds_plan.program @chain max_batch 2 max_rows 8 arena 0 kv_bytes 16384 {
  %k = ds_plan.cache @k0 keys heads 4 offset 0 : memref<64x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  %dead = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @copy_64 ins(%b : memref<?x64xf32>) outs(%c : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @copy_64 ins(%c : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
}

/// Launches of one span run at once: all four live together though no launch reads all.
// CHECK-LABEL: ds_plan.program @one_span max_batch 2 max_rows 8 arena 8192
ds_plan.program @one_span max_batch 2 max_rows 8 arena 0 kv_bytes 0 {
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  %d = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%c : memref<?x64xf32>) outs(%d : memref<?x64xf32>)
}

/// Bounds: 8 tokens, 8 selected, 2 sequences, and 8 + 2 * 16 packed rows of 256 bytes.
// CHECK-LABEL: ds_plan.program @bounds max_batch 2 max_rows 8 arena 14848
// CHECK:         ds_plan.buffer tokens offset 10240
// CHECK:         ds_plan.buffer packed offset 0
// CHECK:         ds_plan.buffer selected offset 12288
// CHECK:         ds_plan.buffer batch offset 14336
ds_plan.program @bounds max_batch 2 max_rows 8 arena 0 kv_bytes 0 {
  %tokens = ds_plan.buffer tokens : memref<?x64xf32>
  %packed = ds_plan.buffer packed : memref<?x64xf32>
  %selected = ds_plan.buffer selected : memref<?x64xf32>
  %batch = ds_plan.buffer batch : memref<?x64xf32>
  ds_plan.launch @store_keys ins(%tokens : memref<?x64xf32>) outs(%packed : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%tokens : memref<?x64xf32>) outs(%selected : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%tokens : memref<?x64xf32>) outs(%batch : memref<?x64xf32>)
}

/// The last one takes the place of the first.
// CHECK-LABEL: ds_plan.program @without_chain max_batch 2 max_rows 8 arena 6144
// CHECK-NEXT:    %[[A:.*]] = ds_plan.buffer tokens offset 0
// CHECK-NEXT:    ds_plan.buffer tokens offset 2048
// CHECK-NEXT:    ds_plan.buffer tokens offset 4096
// CHECK-NEXT:    %[[D:.*]] = ds_plan.buffer tokens offset 0
// CHECK-NEXT:    ds_plan.launch @copy_64 ins(%[[A]] : memref<?x64xf32>)
// CHECK:         ds_plan.launch @copy_64 ins({{.*}}) outs(%[[D]] : memref<?x64xf32>)
ds_plan.program @without_chain max_batch 2 max_rows 8 arena 0 kv_bytes 0 {
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  %d = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @add_64 ins(%a, %b : memref<?x64xf32>, memref<?x64xf32>) outs(%c : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @copy_64 ins(%c : memref<?x64xf32>) outs(%d : memref<?x64xf32>)
}

/// In a chain one thread may be done with its rows before another begins, so all that the chain touches live together.
// CHECK-LABEL: ds_plan.program @with_chain max_batch 2 max_rows 8 arena 8192
// CHECK-NEXT:    ds_plan.buffer tokens offset 0
// CHECK-NEXT:    ds_plan.buffer tokens offset 2048
// CHECK-NEXT:    ds_plan.buffer tokens offset 4096
// CHECK-NEXT:    ds_plan.buffer tokens offset 6144
ds_plan.program @with_chain max_batch 2 max_rows 8 arena 0 kv_bytes 0 {
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  %d = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 chain 0 ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @add_64 chain 0 ins(%a, %b : memref<?x64xf32>, memref<?x64xf32>) outs(%c : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @copy_64 chain 0 ins(%c : memref<?x64xf32>) outs(%d : memref<?x64xf32>)
}

/// A chain that is over keeps nothing: what the next one writes last takes the place of what this one read first.
// CHECK-LABEL: ds_plan.program @two_chains max_batch 2 max_rows 8 arena 6144
// CHECK-NEXT:    ds_plan.buffer tokens offset 0
// CHECK-NEXT:    ds_plan.buffer tokens offset 2048
// CHECK-NEXT:    ds_plan.buffer tokens offset 4096
// CHECK-NEXT:    ds_plan.buffer tokens offset 0
// CHECK-NEXT:    ds_plan.buffer tokens offset 2048
ds_plan.program @two_chains max_batch 2 max_rows 8 arena 0 kv_bytes 0 {
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  %d = ds_plan.buffer tokens : memref<?x64xf32>
  %e = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 chain 0 ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @copy_64 chain 0 ins(%b : memref<?x64xf32>) outs(%c : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @copy_64 chain 1 ins(%c : memref<?x64xf32>) outs(%d : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @copy_64 chain 1 ins(%d : memref<?x64xf32>) outs(%e : memref<?x64xf32>)
}

/// Barriers inside a chain may not be met, so what a launch before the chain reads and what one behind it writes lie apart.
// CHECK-LABEL: ds_plan.program @beside_chain max_batch 2 max_rows 8 arena 10240
// CHECK-NEXT:    ds_plan.buffer tokens offset 0
// CHECK-NEXT:    ds_plan.buffer tokens offset 2048
// CHECK-NEXT:    ds_plan.buffer tokens offset 4096
// CHECK-NEXT:    ds_plan.buffer tokens offset 6144
// CHECK-NEXT:    ds_plan.buffer tokens offset 8192
ds_plan.program @beside_chain max_batch 2 max_rows 8 arena 0 kv_bytes 0 {
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  %r = ds_plan.buffer tokens : memref<?x64xf32>
  %hidden = ds_plan.output "hidden" 0 tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%a : memref<?x64xf32>) outs(%hidden : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.barrier
  ds_plan.launch @copy_64 chain 0 ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%x : memref<?x64xf32>) outs(%r : memref<?x64xf32>)
}

/// Grouped rows have room for a last group of eight that holds one row: 15 rows of 256 bytes instead of 8.
// CHECK-LABEL: ds_plan.program @grouped_rows max_batch 2 max_rows 8 arena 5888
// CHECK-NEXT:    ds_plan.buffer tokens offset 3840
// CHECK-NEXT:    ds_plan.buffer tokens grouped offset 0
ds_plan.program @grouped_rows max_batch 2 max_rows 8 arena 0 kv_bytes 0 {
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens grouped : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%a : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
}
