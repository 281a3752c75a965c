// RUN: ds-opt --split-input-file --verify-diagnostics %s

ds_plan.kernel @gelu "row" schedule {} {
^bb0(%x: tensor<?x64xf32>):
  %y = ds.gelu erf %x : tensor<?x64xf32>
  ds_plan.return %y : tensor<?x64xf32>
}
ds_plan.program @step max_batch 4 max_rows 600 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer selected : memref<?x64xf32>
  // expected-error@+1 {{expects dense rows of a slab that launches of that slab alone touch}}
  %y = ds_plan.buffer selected slab 264 : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

// -----

ds_plan.kernel @gelu "row" schedule {} {
^bb0(%x: tensor<?x64xf32>):
  %y = ds.gelu erf %x : tensor<?x64xf32>
  ds_plan.return %y : tensor<?x64xf32>
}
ds_plan.program @step max_batch 4 max_rows 600 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer selected : memref<?x64xf32>
  %y = ds_plan.buffer selected : memref<?x64xf32>
  // expected-error@+1 {{expects a slab of 1 row or more, no chain and no gate}}
  ds_plan.launch @gelu gate 1 slab 264 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

// -----

ds_plan.kernel @gelu "row" schedule {} {
^bb0(%x: tensor<?x64xf32>):
  %y = ds.gelu erf %x : tensor<?x64xf32>
  ds_plan.return %y : tensor<?x64xf32>
}
ds_plan.program @step max_batch 4 max_rows 600 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer selected : memref<?x64xf32>
  // expected-error@+1 {{expects a slab to work on weights, single rows, and dense rows of one kind}}
  ds_plan.launch @gelu slab 264 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

// -----

ds_plan.kernel @gelu "pool" schedule {} {
^bb0(%x: tensor<?x64xf32>):
  %y = ds.gelu erf %x : tensor<?x64xf32>
  ds_plan.return %y : tensor<?x64xf32>
}
ds_plan.program @step max_batch 4 max_rows 600 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer selected : memref<?x64xf32>
  %y = ds_plan.buffer selected : memref<?x64xf32>
  // expected-error@+1 {{expects a slab of kernels that work row by row or sum rows, got family "pool"}}
  ds_plan.launch @gelu slab 264 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}
