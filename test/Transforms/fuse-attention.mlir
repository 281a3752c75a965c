// RUN: ds-opt --ds-fuse-attention --split-input-file %s | FileCheck %s
// RUN: ds-opt --ds-fuse-attention --split-input-file --remarks-filter-missed='ds-fuse.*|ds-form.*' %s -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK

ds.cache @k0 : tensor<?x32x32xf32>
ds.parameter @w from "w" : tensor<32x64xf32>

// CHECK-LABEL: func.func @rope_and_cache
// CHECK:       ds.fusion -> tensor<?x32x32xf32> {
// CHECK-NEXT:    %[[L:.*]] = ds.linear
// CHECK-NEXT:    %[[R:.*]] = ds.rope half %[[L]]
// CHECK-NEXT:    %[[K:.*]] = ds.cache_append @k0, %[[R]]
// CHECK-NEXT:    ds.yield %[[K]]
func.func @rope_and_cache(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>, %past: tensor<?xi32>) -> tensor<?x32x32xf32> {
  %w = ds.weight @w : tensor<32x64xf32>
  %l = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<32x64xf32>
  %r = ds.rope half %l, %pos heads 2 rotary 16 base 1.0e4 : tensor<?x?x32xf32>, tensor<?x?xi32>
  %k = ds.cache_append @k0, %r past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x32x32xf32>
  return %k : tensor<?x32x32xf32>
}

// -----

ds.parameter @w from "w" : tensor<32x64xf32>

/// The kernel turns heads where the product left them, so it has no other value to write.
// CHECK-LABEL: func.func @negative_product_is_read_too
// CHECK-NOT:     ds.fusion
// REMARK: a product is read with and without rope
func.func @negative_product_is_read_too(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) -> (tensor<?x?x32xf32>, tensor<?x?x32xf32>) {
  %w = ds.weight @w : tensor<32x64xf32>
  %l = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<32x64xf32>
  %r = ds.rope half %l, %pos heads 2 rotary 16 base 1.0e4 : tensor<?x?x32xf32>, tensor<?x?xi32>
  return %l, %r : tensor<?x?x32xf32>, tensor<?x?x32xf32>
}

// -----

ds.cache @v0 : tensor<?x32x128x!ds.quantized<8 symmetric group 64 scale f32>>
ds.parameter @w from "w" : tensor<128x64xf32>

/// Heads of a cache of codes are computed whole, wider than a panel.
// CHECK-LABEL: func.func @cache_of_codes
// CHECK:       ds.fusion
// CHECK-NEXT:    %[[L:.*]] = ds.linear
// CHECK-NEXT:    ds_plan.store_cache values heads 2 %[[L]]
func.func @cache_of_codes(%x: tensor<?x?x64xf32>, %past: tensor<?xi32>) -> tensor<?x32x128x!ds.quantized<8 symmetric group 64 scale f32>> {
  %w = ds.weight @w : tensor<128x64xf32>
  %l = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<128x64xf32>
  %v = ds_plan.store_cache values heads 2 %l past %past : tensor<?x?x128xf32>, tensor<?xi32> -> tensor<?x32x128x!ds.quantized<8 symmetric group 64 scale f32>>
  return %v : tensor<?x32x128x!ds.quantized<8 symmetric group 64 scale f32>>
}

// -----

ds.cache @v0 : tensor<?x32x200x!ds.quantized<8 symmetric group 100 scale f32>>
ds.parameter @w from "w" : tensor<200x64xf32>

/// Eight heads would have to be computed at once; of f32 a kernel refuses them as well.
// CHECK-LABEL: func.func @negative_heads_end_in_no_panel
// CHECK-NOT:     ds.fusion
// REMARK: heads fill 800 columns before a panel ends, more than 512
func.func @negative_heads_end_in_no_panel(%x: tensor<?x?x64xf32>, %past: tensor<?xi32>) -> tensor<?x32x200x!ds.quantized<8 symmetric group 100 scale f32>> {
  %w = ds.weight @w : tensor<200x64xf32>
  %l = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<200x64xf32>
  %v = ds_plan.store_cache values heads 2 %l past %past : tensor<?x?x200xf32>, tensor<?xi32> -> tensor<?x32x200x!ds.quantized<8 symmetric group 100 scale f32>>
  return %v : tensor<?x32x200x!ds.quantized<8 symmetric group 100 scale f32>>
}

// -----

// CHECK-LABEL: func.func @negative_no_product
// CHECK-NOT:     ds.fusion
// REMARK: no product computes its input
func.func @negative_no_product(%x: tensor<?x?x32xf32>, %pos: tensor<?x?xi32>) -> tensor<?x?x32xf32> {
  %r = ds.rope half %x, %pos heads 2 rotary 16 base 1.0e4 : tensor<?x?x32xf32>, tensor<?x?xi32>
  return %r : tensor<?x?x32xf32>
}

// -----

ds.cache @k0 : tensor<?x32x32xf32>
ds.parameter @w from "w" : tensor<32x64xf32>

/// The read sees the cache before the write, although no value says so.
// CHECK-LABEL: func.func @negative_read_before_the_write
// CHECK-NOT:     ds.fusion
// REMARK: a write to a cache would move past a read of it
func.func @negative_read_before_the_write(%x: tensor<?x?x64xf32>, %past: tensor<?xi32>) -> (tensor<?x32x32xf32>, tensor<?x32x32xf32>) {
  %w = ds.weight @w : tensor<32x64xf32>
  %l = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<32x64xf32>
  %before = ds.cache_read @k0 : tensor<?x32x32xf32>
  %k = ds.cache_append @k0, %l past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x32x32xf32>
  return %before, %k : tensor<?x32x32xf32>, tensor<?x32x32xf32>
}
