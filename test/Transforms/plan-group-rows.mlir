// RUN: ds-opt --ds-plan-group-rows %s | FileCheck %s
// RUN: ds-opt --ds-plan-group-rows --remarks-filter-analyse='ds-plan-group-rows' %s 2>&1 >/dev/null | FileCheck --check-prefix=REMARK %s

// REMARK: Function=between_products |{{.*}}buffers=1
// REMARK: Function=negative_added |{{.*}}buffers=0

ds.parameter @w from "w" : tensor<64x64xf32>
ds.parameter @narrow from "narrow" : tensor<40x64xf32>
ds.parameter @widen from "widen" : tensor<64x40xf32>
ds.parameter @codes from "codes" : tensor<64x64x!ds.quantized<8 symmetric group 64 scale f16>>
ds.parameter @g from "g" : tensor<64xf32>
ds.cache @k0 : tensor<?x64x64xf32>
ds_plan.storage @w.panels panels of @w : memref<2x64x32xf32>
ds_plan.storage @narrow.panels panels of @narrow : memref<2x64x32xf32>
ds_plan.storage @widen.panels panels of @widen : memref<2x40x32xf32>
ds_plan.storage @codes.panels panel_codes of @codes : memref<2x17x32xi32>
ds_plan.storage @g.vector vector of @g : memref<64xf32>
ds_plan.storage @angles rope rope {base = 1.0e4, positions = 64, rotary = 16} : memref<64x2x8xf32>

ds_plan.kernel @product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.kernel @up "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %z = ds.gelu erf %y : tensor<?x?x64xf32>
  ds_plan.return %z : tensor<?x?x64xf32>
}
ds_plan.kernel @down "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>, %r: tensor<?x?x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %z = ds.add %r, %y : tensor<?x?x64xf32>
  ds_plan.return %z : tensor<?x?x64xf32>
}
ds_plan.kernel @rounding_product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64x!ds.quantized<8 symmetric group 64 scale f16>>):
  %y = ds.linear %x, %w {activation_bits = 8 : i64} : tensor<?x?x64xf32>, tensor<64x64x!ds.quantized<8 symmetric group 64 scale f16>>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.kernel @two_products "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %z = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  ds_plan.return %y, %z : tensor<?x?x64xf32>, tensor<?x?x64xf32>
}
ds_plan.kernel @product_and_sum "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %z = ds.add %x, %y : tensor<?x?x64xf32>
  ds_plan.return %z : tensor<?x?x64xf32>
}
ds_plan.kernel @norm_and_product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %g: tensor<64xf32>, %w: tensor<64x64xf32>):
  %n = ds.rms_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  %y = ds.linear %n, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  ds_plan.return %n, %y : tensor<?x?x64xf32>, tensor<?x?x64xf32>
}
ds_plan.kernel @narrow_product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<40x64xf32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<40x64xf32>
  ds_plan.return %y : tensor<?x?x40xf32>
}
ds_plan.kernel @widening_product "gemm" schedule {} {
^bb0(%x: tensor<?x?x40xf32>, %w: tensor<64x40xf32>):
  %y = ds.linear %x, %w : tensor<?x?x40xf32>, tensor<64x40xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}
ds_plan.kernel @rotated_product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>, %p: tensor<?x?xi32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %z = ds.rope half %y, %p heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
  ds_plan.return %z : tensor<?x?x64xf32>
}
ds_plan.kernel @stored_product "gemm" schedule {} {
^bb0(%x: tensor<?x?x64xf32>, %w: tensor<64x64xf32>, %p: tensor<?xi32>):
  %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
  %k = ds_plan.store_cache keys heads 4 %y past %p : tensor<?x?x64xf32>, tensor<?xi32> -> tensor<?x64x64xf32>
  ds_plan.return %y, %k : tensor<?x?x64xf32>, tensor<?x64x64xf32>
}
ds_plan.kernel @gelu "row" schedule {} {
^bb0(%x: tensor<?x?x64xf32>):
  %y = ds.gelu erf %x : tensor<?x?x64xf32>
  ds_plan.return %y : tensor<?x?x64xf32>
}

/// Only what lies between the products changes: no product writes %x and %r, and none reads %y.
// CHECK-LABEL: ds_plan.program @between_products
// CHECK:         ds_plan.buffer tokens : memref<?x64xf32>
// CHECK-NEXT:    ds_plan.buffer tokens : memref<?x64xf32>
// CHECK-NEXT:    %[[H:.*]] = ds_plan.buffer tokens grouped : memref<?x64xf32>
// CHECK-NEXT:    ds_plan.buffer tokens : memref<?x64xf32>
// CHECK-NEXT:    ds_plan.launch @up ins({{.*}}) outs(%[[H]] : memref<?x64xf32>)
// CHECK-NEXT:    ds_plan.launch @down ins(%[[H]], {{.*}})
ds_plan.program @between_products max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %r = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @down ins(%h, %w, %r : memref<?x64xf32>, memref<2x64x32xf32>, memref<?x64xf32>) outs(%y : memref<?x64xf32>)
}

/// A bare product writes groups too, and any number of products may read them.
// CHECK-LABEL: ds_plan.program @several_readers
// CHECK-COUNT-1: grouped
// CHECK-NOT:     grouped
ds_plan.program @several_readers max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %a = ds_plan.buffer tokens : memref<?x64xf32>
  %b = ds_plan.buffer tokens : memref<?x64xf32>
  %c = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @product ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%a : memref<?x64xf32>)
  ds_plan.launch @two_products ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%b, %c : memref<?x64xf32>, memref<?x64xf32>)
}

/// One row more than the few that are read where they lie.
// CHECK-LABEL: ds_plan.program @rows_17
// CHECK:         ds_plan.buffer tokens grouped
ds_plan.program @rows_17 max_batch 1 max_rows 17 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}

/// Rows that are rounded are read one by one; what another product reads as f32 as well is not grouped for it either.
// CHECK-LABEL: ds_plan.program @negative_rounded
// CHECK-NOT:     grouped
ds_plan.program @negative_rounded max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %codes = ds_plan.weight @codes.panels : memref<2x17x32xi32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %both = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @rounding_product ins(%h, %codes : memref<?x64xf32>, memref<2x17x32xi32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%both : memref<?x64xf32>)
  ds_plan.launch @product ins(%both, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @rounding_product ins(%both, %codes : memref<?x64xf32>, memref<2x17x32xi32>) outs(%y : memref<?x64xf32>)
}

/// Few rows are read where they lie.
// CHECK-LABEL: ds_plan.program @negative_rows_16
// CHECK-NOT:     grouped
ds_plan.program @negative_rows_16 max_batch 1 max_rows 16 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}

/// Rows of the batch are few in a program of many tokens.
// CHECK-LABEL: ds_plan.program @negative_batch_of_16
// CHECK-NOT:     grouped
ds_plan.program @negative_batch_of_16 max_batch 16 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer batch : memref<?x64xf32>
  %h = ds_plan.buffer batch : memref<?x64xf32>
  %y = ds_plan.buffer batch : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}

/// 40 columns are not whole groups of 16.
// CHECK-LABEL: ds_plan.program @negative_width
// CHECK-NOT:     grouped
ds_plan.program @negative_width max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %narrow = ds_plan.weight @narrow.panels : memref<2x64x32xf32>
  %widen = ds_plan.weight @widen.panels : memref<2x40x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x40xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @narrow_product ins(%x, %narrow : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x40xf32>)
  ds_plan.launch @widening_product ins(%h, %widen : memref<?x40xf32>, memref<2x40x32xf32>) outs(%y : memref<?x64xf32>)
}

/// The second reader adds it to its product, row by row.
// CHECK-LABEL: ds_plan.program @negative_added
// CHECK-NOT:     grouped
ds_plan.program @negative_added max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @down ins(%x, %w, %h : memref<?x64xf32>, memref<2x64x32xf32>, memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

/// One kernel multiplies it and adds it.
// CHECK-LABEL: ds_plan.program @negative_multiplied_and_added
// CHECK-NOT:     grouped
ds_plan.program @negative_multiplied_and_added max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product_and_sum ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}

/// A norm reads whole rows, and what it writes has to be copied anyway.
// CHECK-LABEL: ds_plan.program @negative_read_by_norm
// CHECK-NOT:     grouped
ds_plan.program @negative_read_by_norm max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %g = ds_plan.weight @g.vector : memref<64xf32>
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %n = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @norm_and_product ins(%h, %g, %w : memref<?x64xf32>, memref<64xf32>, memref<2x64x32xf32>)
    outs(%n, %y : memref<?x64xf32>, memref<?x64xf32>)
}

/// The kernel of products writes the norm's rows before it multiplies.
// CHECK-LABEL: ds_plan.program @negative_written_by_norm
// CHECK-NOT:     grouped
ds_plan.program @negative_written_by_norm max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %g = ds_plan.weight @g.vector : memref<64xf32>
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %n = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @norm_and_product ins(%x, %g, %w : memref<?x64xf32>, memref<64xf32>, memref<2x64x32xf32>)
    outs(%n, %y : memref<?x64xf32>, memref<?x64xf32>)
  ds_plan.launch @product ins(%n, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%z : memref<?x64xf32>)
}

/// Kernels of other families know dense rows alone.
// CHECK-LABEL: ds_plan.program @negative_read_by_row_kernel
// CHECK-NOT:     grouped
ds_plan.program @negative_read_by_row_kernel max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  %z = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @product ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
  ds_plan.launch @gelu ins(%h : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
}

// CHECK-LABEL: ds_plan.program @negative_written_by_row_kernel
// CHECK-NOT:     grouped
ds_plan.program @negative_written_by_row_kernel max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @gelu ins(%x : memref<?x64xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}

/// Rope turns whole heads, which do not come out in groups.
// CHECK-LABEL: ds_plan.program @negative_written_by_rope
// CHECK-NOT:     grouped
ds_plan.program @negative_written_by_rope max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %positions = ds_plan.input "positions" 0 tokens : memref<?xi32>
  %angles = ds_plan.weight @angles : memref<64x2x8xf32>
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @rotated_product ins(%x, %w, %positions : memref<?x64xf32>, memref<2x64x32xf32>, memref<?xi32>)
    aux(%angles : memref<64x2x8xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}

/// Nor do heads on their way to a cache.
// CHECK-LABEL: ds_plan.program @negative_stored
// CHECK-NOT:     grouped
ds_plan.program @negative_stored max_batch 1 max_rows 512 arena 0 kv_bytes 16384 {
  %past = ds_plan.input "past" 0 batch : memref<?xi32>
  %k = ds_plan.cache @k0 keys heads 4 offset 0 : memref<64x64xf32>
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @stored_product ins(%x, %w, %past : memref<?x64xf32>, memref<2x64x32xf32>, memref<?xi32>)
    outs(%h, %k : memref<?x64xf32>, memref<64x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}

// CHECK-LABEL: ds_plan.program @negative_two_writers
// CHECK-NOT:     grouped
ds_plan.program @negative_two_writers max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %h = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}

/// Outputs are the caller's, and the caller reads dense rows.
// CHECK-LABEL: ds_plan.program @negative_output
// CHECK-NOT:     grouped
ds_plan.program @negative_output max_batch 1 max_rows 512 arena 0 kv_bytes 0 {
  %w = ds_plan.weight @w.panels : memref<2x64x32xf32>
  %h = ds_plan.output "hidden" 0 tokens : memref<?x64xf32>
  %x = ds_plan.buffer tokens : memref<?x64xf32>
  %y = ds_plan.buffer tokens : memref<?x64xf32>
  ds_plan.launch @up ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%h : memref<?x64xf32>)
  ds_plan.launch @product ins(%h, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%y : memref<?x64xf32>)
}
