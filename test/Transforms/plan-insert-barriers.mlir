// RUN: ds-opt --pass-pipeline='builtin.module(ds_plan.program(ds-plan-insert-barriers))' --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: ds-opt --pass-pipeline='builtin.module(ds_plan.program(ds-plan-insert-barriers,ds-plan-insert-barriers))' --split-input-file --verify-diagnostics %s | FileCheck %s

ds.parameter @g from "g" : tensor<64xf32>
ds.cache @k0 : tensor<?x64x64xf32>
ds_plan.storage @g.vector vector of @g : memref<64xf32>
ds_plan.kernel @copy_64 "copy" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  ds_plan.return %x : tensor<?x?x64xf32>
}
ds_plan.kernel @add_64 "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %y: tensor<?x?x64xf32>):
  %z = ds.add %x, %y : tensor<?x?x64xf32>
  ds_plan.return %z : tensor<?x?x64xf32>
}
ds_plan.kernel @rms_norm_64 "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %g: tensor<64xf32>):
  %y = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.kernel @store_keys "store_cache" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %k = ds_plan.store_cache keys heads 4 %x : tensor<?x?x64xf32> -> tensor<?x64x64xf32>
  ds_plan.return %k : tensor<?x64x64xf32>
}
ds_plan.kernel @attend "attention" schedule {} {
^bb0(%q: tensor<?x?x64xf32>, %k: tensor<?x64x64xf32>, %p: tensor<?xi32>):
  %y = ds.attention %q, %k, %k past %p : tensor<?xi32> heads 4 kv_heads 4 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x64x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

/// Readers of one buffer run together; the reader of what they write waits, and the barrier stands once.
// CHECK-LABEL: ds_plan.program @read_after_write
// CHECK:         ds_plan.launch @rms_norm_64
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64
// CHECK-NEXT:    ds_plan.launch @copy_64
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @add_64
// CHECK-NEXT:  }
ds_plan.program @read_after_write max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %gain = ds_plan.weight @g.vector : memref<64xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.barrier
  ds_plan.launch @rms_norm_64 ins(%x, %gain : memref<?x64xf32>, memref<64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%y : memref<?x64xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%y : memref<?x64xf32>) outs(%b : memref<?x64xf32>)
  ds_plan.launch @add_64 ins(%a, %b : memref<?x64xf32>, memref<?x64xf32>) outs(%c : memref<?x64xf32>)
}

// CHECK-LABEL: ds_plan.program @write_after_read
// CHECK:         ds_plan.launch @copy_64
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64
ds_plan.program @write_after_read max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%z : memref<?x64xf32>) outs(%x : memref<?x64xf32>)
}

// CHECK-LABEL: ds_plan.program @write_after_write
// CHECK:         ds_plan.launch @copy_64
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64
ds_plan.program @write_after_write max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.output "hidden" 0 tokens : memref<?x64xf32>
  %again = ds_plan.output "hidden" 0 tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%x : memref<?x64xf32>) outs(%again : memref<?x64xf32>)
}

/// Two ops that name one cache are one place.
// CHECK-LABEL: ds_plan.program @cache
// CHECK:         ds_plan.launch @store_keys
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @attend
ds_plan.program @cache max_batch 1 max_rows 8 arena 0 kv_bytes 16384 {
  %past = ds_plan.input "past" 0 batch : memref<?xi32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %k = ds_plan.cache @k0 keys heads 4 offset 0 : memref<64x64xf32>
  %again = ds_plan.cache @k0 keys heads 4 offset 0 : memref<64x64xf32>
  ds_plan.launch @store_keys ins(%x : memref<?x64xf32>) outs(%k : memref<64x64xf32>)
  ds_plan.launch @attend ins(%x, %again, %past : memref<?x64xf32>, memref<64x64xf32>, memref<?xi32>) outs(%y : memref<?x64xf32>)
}

/// What a chain has inside does not help who stands behind it: in a step of many rows no thread waits there.
// CHECK-LABEL: ds_plan.program @behind_chain
// CHECK:         ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 ins
// CHECK-NEXT:  }
ds_plan.program @behind_chain max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  %w = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 chain 0 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%y : memref<?x64xf32>) outs(%w : memref<?x64xf32>)
}

/// What the chain's second launch needs has to be there before its first one begins.
// CHECK-LABEL: ds_plan.program @before_chain
// CHECK:         ds_plan.launch @copy_64 ins
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @add_64 chain 0
// CHECK-NEXT:  }
ds_plan.program @before_chain max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %r = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%x : memref<?x64xf32>) outs(%r : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @add_64 chain 0 ins(%y, %r : memref<?x64xf32>, memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

/// A chain writes what was read before it.
// CHECK-LABEL: ds_plan.program @chain_writes_after_read
// CHECK:         ds_plan.launch @copy_64 ins
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:  }
ds_plan.program @chain_writes_after_read max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %r = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%z : memref<?x64xf32>) outs(%r : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

/// Launches that need nothing of a chain run at once with it, before and behind it.
// CHECK-LABEL: ds_plan.program @beside_chain
// CHECK:         ds_plan.launch @copy_64 ins
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.launch @copy_64 ins
// CHECK-NEXT:  }
ds_plan.program @beside_chain max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %r = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  %s = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%x : memref<?x64xf32>) outs(%r : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%x : memref<?x64xf32>) outs(%s : memref<?x64xf32>)
}

/// The barrier inside the chain does not part the launches around it either.
// CHECK-LABEL: ds_plan.program @across_chain
// CHECK:         ds_plan.launch @copy_64 ins
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 ins
// CHECK-NEXT:  }
ds_plan.program @across_chain max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %r = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  %s = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 ins(%x : memref<?x64xf32>) outs(%r : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  ds_plan.launch @copy_64 ins(%r : memref<?x64xf32>) outs(%s : memref<?x64xf32>)
}

/// Two chains meet as two launches do.
// CHECK-LABEL: ds_plan.program @chain_behind_chain
// CHECK:         ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 0
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @copy_64 chain 1
// CHECK-NEXT:    ds_plan.barrier
// CHECK-NEXT:    ds_plan.launch @add_64 chain 1
// CHECK-NEXT:  }
ds_plan.program @chain_behind_chain max_batch 1 max_rows 8 arena 0 kv_bytes 0 {
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @copy_64 chain 0 ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 0 ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  ds_plan.launch @copy_64 chain 1 ins(%x : memref<?x64xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @add_64 chain 1 ins(%a, %y : memref<?x64xf32>, memref<?x64xf32>) outs(%b : memref<?x64xf32>)
}

// -----

/// Places may overlap, so values no longer say what depends on what.
ds_plan.program @negative_placed max_batch 1 max_rows 8 arena 2048 kv_bytes 0 {
  // expected-error@+1 {{expects a buffer without an offset: barriers come before places}}
  %x = ds_plan.buffer tokens offset 0 : memref<?x64xf32>
}
