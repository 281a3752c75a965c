// RUN: ds-opt --convert-ds-to-plan --split-input-file --mlir-print-local-scope %s | FileCheck %s
// RUN: ds-opt --convert-ds-to-plan --split-input-file --mlir-print-debuginfo --mlir-print-local-scope %s | FileCheck --check-prefix=LOC %s
// RUN: ds-opt --convert-ds-to-plan='max-batch=4 max-rows=80 weights=bf16' --split-input-file %s | FileCheck --check-prefix=OPTIONS %s
// RUN: not ds-opt --convert-ds-to-plan=weights=int8 --split-input-file %s 2>&1 | FileCheck --check-prefix=WEIGHTS %s
// RUN: ds-opt --convert-ds-to-plan='target=cuda weights=bf16' --split-input-file %s | FileCheck --check-prefix=TILES %s
// RUN: ds-opt --convert-ds-to-plan=weights=f16 --split-input-file %s | FileCheck --check-prefix=F16 %s
// RUN: ds-opt --convert-ds-to-plan='target=cuda weights=f16' --split-input-file %s | FileCheck --check-prefix=TILES16 %s
// RUN: not ds-opt --convert-ds-to-plan=target=cuda --split-input-file %s 2>&1 | FileCheck --check-prefix=CUDA %s
// RUN: not ds-opt --convert-ds-to-plan=target=tpu --split-input-file %s 2>&1 | FileCheck --check-prefix=TARGET %s
// RUN: not ds-opt --convert-ds-to-plan='train=true weights=bf16' --split-input-file %s 2>&1 | FileCheck --check-prefix=TRAIN %s
// RUN: ds-opt --convert-ds-to-plan=panel-sums=true --split-input-file %s | FileCheck --check-prefix=SUMS %s
// RUN: not ds-opt --convert-ds-to-plan='panel-sums=true train=true' --split-input-file %s 2>&1 | FileCheck --check-prefix=NO-SUMS %s
// RUN: ds-opt --convert-ds-to-plan='panel-halves=true weights=bf16' --split-input-file %s | FileCheck --check-prefix=HALVES %s
// RUN: not ds-opt --convert-ds-to-plan=panel-halves=true --split-input-file %s 2>&1 | FileCheck --check-prefix=NO-HALVES %s
// RUN: not ds-opt --convert-ds-to-plan=max-batch=0 --split-input-file %s 2>&1 | FileCheck --check-prefix=BATCH %s

// WEIGHTS: expects weights to be f32, bf16 or f16, got 'int8'
// CUDA:    expects weights of bf16 or f16 for target cuda, got 'f32'
// TARGET:  expects target to be cpu or cuda, got 'tpu'
// TRAIN:   expects target cpu and weights of f32 to train, got 'cpu' and 'bf16'
// TILES:   ds_plan.storage @embed.tiles tiles of @embed offset 0 : memref<{{[0-9]+}}x2x8x32xbf16>
// TILES16: ds_plan.storage @embed.tiles tiles of @embed offset 0 : memref<{{[0-9]+}}x2x8x32xf16>
// F16:     ds_plan.storage @embed.panels panels of @embed offset 0 : memref<4x64x32xf16>
// SUMS:    ds_plan.storage @embed.panel_sums panel_sums of @embed offset 0 : memref<4x66x32xf32>
// NO-SUMS: expects target cpu, and nothing to train, for panel-sums
// HALVES:  ds_plan.storage @embed.panel_halves panel_halves of @embed offset 0 : memref<4x33x32x2xf16>
// NO-HALVES: expects target cpu and weights of bf16 for panel-halves
// BATCH:   expects max-batch and max-rows of 1 to 16777216, got 0 and 512

/// Storages come in order of first use: the tied table as the linear wants it, vectors padded to 32 and f32 in any case.
// CHECK:         ds_plan.storage @embed.panels panels of @embed offset 0 : memref<4x64x32xf32>
// CHECK-NEXT:    ds_plan.storage @gain.vector vector of @gain offset 32768 : memref<64xf32>
// CHECK-NEXT:    ds_plan.storage @wide.panels panels of @wide offset 33024 : memref<2x64x48xf32>
// CHECK-NEXT:    ds_plan.storage @bias.vector vector of @bias offset 57600 : memref<96xf32>
// CHECK-NEXT:    ds_plan.storage @back.panels panels of @back offset 57984 : memref<1x70x32xf32>
// CHECK-NEXT:    ds_plan.storage @rope.0 rope rope {base = 1.000000e+04 : f64, positions = 64 : i64, rotary = 16 : i64} offset 66944 : memref<64x2x8xf32>
// CHECK-NOT:     ds_plan.storage

// OPTIONS:       ds_plan.storage @embed.panel_pairs panel_pairs of @embed offset 0 : memref<4x32x32x2xbf16>
// OPTIONS-NEXT:  ds_plan.storage @gain.vector vector of @gain offset 16384 : memref<64xf32>

/// Both norms are one kernel, as are both stores of keys.
// CHECK-COUNT-1: ds_plan.kernel @rms_norm_64 "row" schedule {}
// CHECK-NOT:     ds_plan.kernel @rms_norm_64
// CHECK:         ds_plan.kernel @gemm_64x70_bias "gemm" schedule {}
// CHECK-NEXT:    ^bb0(%[[X:.*]]: tensor<?x?x64xf32>, %[[W:.*]]: tensor<70x64xf32>, %[[B:.*]]: tensor<70xf32>):
// CHECK-NEXT:      %[[Y:.*]] = ds.linear %[[X]], %[[W]] bias %[[B]]
// CHECK-NEXT:      ds_plan.return %[[Y]] : tensor<?x?x70xf32>
// CHECK:         ds_plan.kernel @rope_4x16 "rope"
// CHECK:         ds_plan.kernel @store_keys_2x16 "store_cache"
// CHECK:           ds_plan.store_cache keys heads 2 %{{.*}} past %{{.*}} : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
// CHECK:         ds_plan.kernel @attention_4x16 "attention"
// CHECK:         ds_plan.kernel @copy_64 "copy"
// CHECK:         ds_plan.kernel @gather_64 "gather"

// CHECK-LABEL: ds_plan.program @prefill max_batch 16 max_rows 512 arena 0 kv_bytes 16384
// CHECK:         %[[IDS:.*]] = ds_plan.input "input_ids" 0 tokens : memref<?xi32>
// CHECK:         %[[POS:.*]] = ds_plan.input "positions" 1 tokens : memref<?xi32>
// CHECK:         %[[PAST:.*]] = ds_plan.input "past" 2 batch : memref<?xi32>
// CHECK:         %[[ROWS:.*]] = ds_plan.input "rows" 3 selected : memref<?xi32>
// CHECK:         %[[HIDDEN:.*]] = ds_plan.output "hidden" 0 tokens : memref<?x64xf32>
// CHECK:         %[[LOGITS:.*]] = ds_plan.output "logits" 1 selected : memref<?x128xf32>
// CHECK:         %[[TABLE:.*]] = ds_plan.weight @embed.panels
// CHECK:         ds_plan.launch @embed_128x64 ins(%[[IDS]], %[[TABLE]] : {{.*}}) outs(%[[E:.*]] : memref<?x64xf32>)
// CHECK:         ds_plan.launch @rms_norm_64 ins(%[[E]], %{{.*}}) outs(%[[N:.*]] : memref<?x64xf32>)
// CHECK:         ds_plan.launch @gemm_64x70_bias ins(%[[N]], %{{.*}}, %{{.*}}) outs
// CHECK:         %[[ANGLES:.*]] = ds_plan.weight @rope.0
// CHECK:         ds_plan.launch @rope_4x16 ins(%[[N]], %[[POS]] : {{.*}}) aux(%[[ANGLES]] : memref<64x2x8xf32>) outs(%[[Q:.*]] : memref<?x64xf32>)
// CHECK:         %[[K:.*]] = ds_plan.cache @"0.k" keys heads 2 offset 0 : memref<64x32xf32>
// CHECK:         ds_plan.launch @store_keys_2x16 ins(%{{.*}}, %[[PAST]] : {{.*}}) outs(%[[K]] : memref<64x32xf32>)
// CHECK:         %[[V:.*]] = ds_plan.cache @"0.v" values heads 2 offset 8192 : memref<64x32xf32>
// CHECK:         ds_plan.launch @store_values_2x16
// CHECK:         ds_plan.launch @attention_4x16 ins(%[[Q]], %[[K]], %[[V]], %[[PAST]] : {{.*}}) outs(%[[A:.*]] : memref<?x64xf32>)
/// The hidden values are read again, so the caller gets a copy; the logits are not.
// CHECK:         ds_plan.launch @rms_norm_64 ins(%[[A]], %{{.*}}) outs(%[[H:.*]] : memref<?x64xf32>)
// CHECK-NEXT:    ds_plan.launch @copy_64 ins(%[[H]] : memref<?x64xf32>) outs(%[[HIDDEN]] : memref<?x64xf32>)
// CHECK:         ds_plan.buffer selected : memref<?x64xf32>
// CHECK-NEXT:    ds_plan.launch @gather_64 ins(%[[H]], %[[ROWS]] : {{.*}}) outs(%[[S:.*]] : memref<?x64xf32>)
// CHECK-NEXT:    ds_plan.launch @gemm_64x128 ins(%[[S]], %[[TABLE]] : {{.*}}) outs(%[[LOGITS]] : memref<?x128xf32>)
// CHECK-NEXT:  }

// LOC: ds_plan.launch @gemm_64x70_bias {{.*}} loc("model.layers.0.wide")

// OPTIONS-LABEL: ds_plan.program @prefill max_batch 4 max_rows 80 arena 0 kv_bytes 16384
module attributes {ds.model = {max_positions = 100}} {
  ds.parameter @embed from "embed" : tensor<128x64xf32>
  ds.parameter @gain from "gain" : tensor<64xf32>
  ds.parameter @wide from "wide" : tensor<70x64xf32>
  ds.parameter @bias from "bias" : tensor<70xf32>
  ds.cache @"0.k" : tensor<?x64x32xf32>
  ds.cache @"0.v" : tensor<?x64x32xf32>
  func.func @prefill(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"},
                     %past: tensor<?xi32> {ds.name = "past"}, %rows: tensor<?xi32> {ds.name = "rows"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x128xf32> {ds.name = "logits"}) {
    %e = ds.weight @embed : tensor<128x64xf32>
    %gain = ds.weight @gain : tensor<64xf32>
    %wide = ds.weight @wide : tensor<70x64xf32>
    %bias = ds.weight @bias : tensor<70xf32>
    %in = ds.embedding %ids, %e : tensor<?x?xi32>, tensor<128x64xf32>
    %out = ds.layer "model.layers.0"(%in) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%x: tensor<?x?x64xf32>):
      %y = ds.rms_norm %x, %gain eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
      %w = ds.linear %y, %wide bias %bias : tensor<?x?x64xf32>, tensor<70x64xf32>, tensor<70xf32> loc("model.layers.0.wide")
      %back = ds.weight @back : tensor<32x70xf32>
      %key = ds.linear %w, %back : tensor<?x?x70xf32>, tensor<32x70xf32>
      %q = ds.rope half %y, %pos heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
      %k = ds.cache_append @"0.k", %key past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
      %v = ds.cache_append @"0.v", %key past %past : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
      %a = ds.attention %q, %k, %v past %past : tensor<?xi32> heads 4 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x64x32xf32>
      ds.yield %a : tensor<?x?x64xf32>
    }
    %h = ds.rms_norm %out, %gain eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    %s = ds.gather_rows %h, %rows : tensor<?x?x64xf32>, tensor<?xi32>
    %l = ds.linear %s, %e : tensor<?x64xf32>, tensor<128x64xf32>
    return %h, %l : tensor<?x?x64xf32>, tensor<?x128xf32>
  }
  ds.parameter @back from "back" : tensor<32x70xf32>
}

// -----

/// Without a cache keys and values are stored in packed buffers, once for each reader of their kind. A sequence of all positions fits a
/// step. Constants become parameters, equal ones one.
// CHECK:       ds.parameter @const.0 value dense<[5.0{{.*}}, 2.5{{.*}}]> : tensor<2xf32>
// CHECK-NOT:   ds.parameter @const.
// CHECK:       ds_plan.storage @table.rows rows of @table offset 0 : memref<128x64xf32>
// CHECK-NEXT:  ds_plan.storage @const.0.vector vector of @const.0 offset 32768 : memref<32xf32>
// CHECK-LABEL: ds_plan.program @encode max_batch 16 max_rows 600 arena 0 kv_bytes 0
// CHECK:         %[[MASK:.*]] = ds_plan.input "mask" 1 tokens
// CHECK:         ds_plan.output "embedding" 1 batch : memref<?x64xf32>
// CHECK:         ds_plan.buffer packed : memref<?x64xf32>
// CHECK-NEXT:    ds_plan.launch @store_keys_2x32 ins(%[[E:.*]] : memref<?x64xf32>) outs(%[[K:.*]] : memref<?x64xf32>)
// CHECK-NEXT:    ds_plan.buffer packed : memref<?x64xf32>
// CHECK-NEXT:    ds_plan.launch @store_values_2x32 ins(%[[E]] : memref<?x64xf32>) outs(%[[V:.*]] : memref<?x64xf32>)
// CHECK:         %[[SLOPES:.*]] = ds_plan.weight @const.0.vector
// CHECK:         ds_plan.launch @attention_2x32 ins(%[[E]], %[[K]], %[[V]], %[[MASK]], %[[SLOPES]] : {{.*}}) outs(%[[A:.*]] : memref<?x64xf32>)
// CHECK-NOT:     ds_plan.launch @store
// CHECK:         ds_plan.launch @attention_2x32.2 ins(%[[A]], %[[K]], %[[V]], %[[SLOPES]] : {{.*}})
// CHECK:         ds_plan.launch @pool_mean_64
// CHECK:         ds_plan.launch @add_64 ins(%[[P:[^ ]*]] : memref<?x64xf32>)
// CHECK:         ds_plan.launch @tanh_64 ins(%{{.*}}) outs(%{{.*}})
module attributes {ds.model = {max_positions = 600}} {
  ds.parameter @table from "table" : tensor<128x64xf32>
  func.func @encode(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %mask: tensor<?x?xi32> {ds.name = "mask"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}, tensor<?x64xf32> {ds.name = "embedding"}) {
    %w = ds.weight @table : tensor<128x64xf32>
    %x = ds.embedding %ids, %w : tensor<?x?xi32>, tensor<128x64xf32>
    %s = ds.constant dense<[0.5, 0.25]> : tensor<2xf32>
    %t = ds.constant dense<[0.5, 0.25]> : tensor<2xf32>
    %a = ds.attention %x, %x, %x mask %mask : tensor<?x?xi32> slopes %s : tensor<2xf32> heads 2 kv_heads 2 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    %b = ds.attention %a, %x, %x slopes %t : tensor<2xf32> heads 2 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    %p = ds.pool mean %b mask %mask : tensor<?x?x64xf32>, tensor<?x?xi32>
    %q = ds.add %p, %p : tensor<?x64xf32>
    %r = ds.tanh %q : tensor<?x64xf32>
    return %b, %r : tensor<?x?x64xf32>, tensor<?x64xf32>
  }
}

// -----

/// Tables of different angles are different storages, equal ones are shared; positions go on behind the offset.
// CHECK-DAG:   ds_plan.storage @rope.0 rope rope {base = 1.000000e+04 : f64, positions = 34 : i64, rotary = 16 : i64}
// CHECK-DAG:   ds_plan.storage @rope.1 rope rope {base = 1.000000e+06 : f64, positions = 34 : i64, rotary = 16 : i64}
// CHECK-NOT:   ds_plan.storage @rope.2
// CHECK-LABEL: ds_plan.program @angles max_batch 16 max_rows 512
module attributes {ds.model = {max_positions = 32}, ds.positions = {rule = "arange", offset = 2}} {
  ds.parameter @table from "table" : tensor<128x64xf32>
  func.func @angles(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %pos: tensor<?x?xi32> {ds.name = "positions"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %w = ds.weight @table : tensor<128x64xf32>
    %x = ds.embedding %ids, %w : tensor<?x?xi32>, tensor<128x64xf32>
    %a = ds.rope half %x, %pos heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
    %b = ds.rope interleaved %a, %pos heads 4 rotary 16 base 1.0e6 : tensor<?x?x64xf32>, tensor<?x?xi32>
    %c = ds.rope half %b, %pos heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
    return %c : tensor<?x?x64xf32>
  }
}

// -----

/// A parameter may have any name, so a storage and a kernel make way.
// CHECK:       ds.parameter @relu_64
// CHECK:       ds.parameter @relu_64.rows
// CHECK:       ds_plan.storage @[[$STORAGE:relu_64.rows_[0-9]+]] rows of @relu_64 offset 0
// CHECK:       ds_plan.kernel @[[$KERNEL:relu_64_[0-9]+]] "row"
// CHECK-LABEL: ds_plan.program @names
// CHECK:         ds_plan.weight @[[$STORAGE]]
// CHECK:         ds_plan.launch @[[$KERNEL]]
module attributes {ds.model = {max_positions = 32}} {
  ds.parameter @relu_64 from "table" : tensor<128x64xf32>
  ds.parameter @relu_64.rows from "other" : tensor<128x64xf32>
  func.func @names(%ids: tensor<?x?xi32> {ds.name = "input_ids"}) -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %w = ds.weight @relu_64 : tensor<128x64xf32>
    %x = ds.embedding %ids, %w : tensor<?x?xi32>, tensor<128x64xf32>
    %y = ds.relu %x : tensor<?x?x64xf32>
    return %y : tensor<?x?x64xf32>
  }
}
