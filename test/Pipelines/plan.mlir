// RUN: ds-opt --ds-plan=fusion=none %S/Inputs/bert.mlir | FileCheck --check-prefix=NONE %s
// RUN: ds-opt --ds-plan=fusion=generic %S/Inputs/bert.mlir | FileCheck --check-prefix=GENERIC %s
// RUN: ds-opt --ds-plan %S/Inputs/bert.mlir | FileCheck --check-prefix=BERT %s
// RUN: not ds-opt --ds-plan=fusion=some %S/Inputs/bert.mlir 2>&1 | FileCheck --check-prefix=UNKNOWN %s
// RUN: ds-opt --ds-plan='context=100 max-batch=4 max-rows=64' %S/Inputs/llama.mlir | FileCheck --check-prefix=LLAMA %s
// RUN: ds-opt --ds-plan='context=100 cache=int8' %S/Inputs/llama.mlir | FileCheck --check-prefix=INT8 %s
// RUN: not ds-opt --ds-plan=cache=int3 %S/Inputs/llama.mlir 2>&1 | FileCheck --check-prefix=INT3 %s
// RUN: ds-opt --ds-plan='weights=bf16 report=1' %S/Inputs/llama.mlir 2>&1 >/dev/null | FileCheck --check-prefix=REPORT %s
// RUN: ds-opt --ds-plan %S/Inputs/llama.mlir | ds-opt --ds-verify-phase=phase=planned --verify-roundtrip -o /dev/null
// RUN: sed 's/max_positions = 256/max_positions = 512/' %S/Inputs/llama.mlir | ds-opt --ds-plan=context=512 | FileCheck --check-prefix=LONG %s
// RUN: ds-opt --ds-plan=context=100 %S/Inputs/llama.mlir -o %t.first
// RUN: ds-opt --ds-plan=context=100 %S/Inputs/llama.mlir -o %t.second
// RUN: cmp %t.first %t.second

/// One kernel an op: the linears of query, key and value run together, and so do the stores.
// NONE-LABEL: ds_plan.program @encode max_batch 16 max_rows 512
// NONE-SAME:    kv_bytes 0
// NONE:         ds_plan.launch @gemm_64x64_bias
// NONE-NOT:     ds_plan.barrier
// NONE:         ds_plan.launch @gemm_64x64_bias
// NONE-NOT:     ds_plan.barrier
// NONE:         ds_plan.launch @gemm_64x64_bias
// NONE:         ds_plan.barrier
// NONE-NEXT:    ds_plan.launch @store_keys_4x16
// NONE-NOT:     ds_plan.barrier
// NONE:         ds_plan.launch @store_values_4x16
// NONE:         ds_plan.barrier
// NONE-NEXT:    ds_plan.launch @attention_4x16
// NONE:         ds_plan.launch @copy_64
// NONE-NOT:     ds_plan.barrier
// NONE:         ds_plan.launch @pool_mean_64
// NONE:         ds_plan.barrier
// NONE-NEXT:    ds_plan.launch @l2_normalize_64

/// Ops around each product: stores and linears of one value stay apart.
// GENERIC-LABEL: ds_plan.program @encode
// GENERIC:         ds_plan.launch @embed_{{.*}}_fused
// GENERIC:         ds_plan.launch @gemm_64x64_bias
// GENERIC:         ds_plan.launch @store_keys_4x16
// GENERIC:         ds_plan.launch @attention_4x16
// GENERIC:         ds_plan.launch @gemm_64x64_bias_fused2

/// Whole blocks: five launches a layer.
// BERT-LABEL: ds_plan.program @encode
// BERT:         ds_plan.launch @embed_{{.*}}_fused
// BERT:         ds_plan.barrier
// BERT-NEXT:    ds_plan.launch @gemm_64x64_bias_fused6
// BERT:         ds_plan.barrier
// BERT-NEXT:    ds_plan.launch @attention_4x16
// BERT:         ds_plan.barrier
// BERT-NEXT:    ds_plan.launch @gemm_64x64_bias_fused2
// BERT:         ds_plan.barrier
// BERT-NEXT:    ds_plan.launch @gemm_{{.*}}_bias_fused3
// BERT:         ds_plan.barrier
// BERT-NEXT:    ds_plan.launch @gemm_{{.*}}_bias_fused2

// LLAMA-NOT:    @unused
// LLAMA:        ds.cache @"0.k" : tensor<?x112x32xf32>
// LLAMA:        ds_plan.storage @rope.0 rope rope {base = 1.000000e+04 : f64, positions = 112 : i64, rotary = 16 : i64}
// LLAMA-LABEL:  ds_plan.program @prefill max_batch 4 max_rows 64
// LLAMA-SAME:     kv_bytes 28672
// LLAMA-LABEL:  ds_plan.program @decode max_batch 4 max_rows 4
// LLAMA-SAME:     kv_bytes 28672

/// A slot of a head of 16 values takes 20 bytes in place of 64; rope and writes are part of the products as ever. What has no cache would
/// round nothing.
// INT8:         ds.cache @"0.k" : tensor<?x112x32x!ds.quantized<8 symmetric group 16 scale f32>>
// INT8-NOT:     ds_plan.program @forward
// INT8-LABEL:   ds_plan.program @prefill
// INT8-SAME:      kv_bytes 8960
// INT8:           ds_plan.launch @gemm_{{.*}} outs(%{{.*}} : memref<?x64xf32>, memref<112x32xi8>, memref<112x32xi8>)
// INT8-NOT:       ds_plan.launch @store_
// INT8-LABEL:   ds_plan.program @decode
// INT8-SAME:      kv_bytes 8960
// INT8-NOT:     ds_plan.program @forward

// INT3:         expects elements to be f32, bf16 or int8, got 'int3'

// REPORT:       program prefill: at most 16 sequences and 512 tokens a step
// REPORT:       program decode: at most 16 sequences and 16 tokens a step
// REPORT:       caches: 65536 bytes (0.1 MiB) a sequence of 256 tokens, 1048576 bytes (1.0 MiB) for 16 sequences

// UNKNOWN:      Cannot find option named 'some'

/// Attention over a long cache gets scratch memory for partial results, of the batch.
// LONG:          ds_plan.buffer batch offset {{.*}} : memref<?x[[WIDTH:[0-9]+]]xf32>
// LONG:          ds_plan.launch @attention_{{.*}} aux(%{{.*}} : memref<?x[[WIDTH]]xf32>) outs
