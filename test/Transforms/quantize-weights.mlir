// RUN: ds-opt --ds-quantize-weights='scheme=int4-g32' %s | FileCheck %s
// RUN: ds-opt --ds-quantize-weights='scheme=int4-g32' --remarks-filter-passed='ds-quantize-weights' --remarks-filter-missed='ds-quantize-weights' %s -o /dev/null 2>&1 | grep remark: | FileCheck %s --check-prefix=REMARK
// RUN: ds-opt --ds-quantize-weights='scheme=int4-g32 rules=\.k_proj=none,_proj\.weight$=int8-row-asym,^layers=int8-g16' %s | FileCheck %s --check-prefix=RULES
// RUN: ds-opt --ds-quantize-weights='rules=k_proj=int4-g64-asym' %s | FileCheck %s --check-prefix=ALONE
// RUN: ds-opt --ds-quantize-weights='scheme=stored' %s | FileCheck %s --check-prefix=STORED
// RUN: ds-opt --ds-quantize-weights='scheme=int8 rules=^embed=stored,mlp\.up=stored' %s | FileCheck %s --check-prefix=RULE-STORED
// RUN: ds-opt --ds-quantize-weights='scheme=int4-g32 activations=8' %s | FileCheck %s --check-prefix=ACTIVATIONS
// RUN: ds-opt --ds-quantize-weights='scheme=moq4-groups4 rules=q_proj=moq5-groups96,k_proj=moq3-asym-groups2,mlp=moq1,^tied=moq8' %s | FileCheck %s --check-prefix=MOQ
// RUN: ds-opt --ds-quantize-weights='scheme=fp8-g32 rules=q_proj=fp8 activations=8' --remarks-filter-missed='ds-quantize-weights' %s 2>&1 | FileCheck %s --check-prefix=FP8
// RUN: ds-opt --ds-quantize-weights='scheme=int3-g16-asym rules=embed=int5-g32,tied=int2-g32' %s | FileCheck %s --check-prefix=PLANES
// RUN: ds-opt --ds-quantize-weights %s | FileCheck %s --check-prefix=NONE

/// No scheme, no change.
// NONE-NOT: quantized

/// In the order in which matrices are read; of vectors and of what is not read, nothing is said.
// REMARK:      [Passed] quantized | {{.*}} scheme=int8-g32, source=embed.positions
// REMARK-NEXT: [Passed] quantized | {{.*}} scheme=int8-g32, source=tied.weight
// REMARK-NEXT: [Passed] quantized | {{.*}} scheme=int4-g32, source=layers.0.q_proj.weight
// REMARK-NEXT: [Passed] quantized | {{.*}} scheme=int4-g32, source=layers.0.k_proj.weight
// REMARK-NEXT: [Passed] quantized | {{.*}} scheme=int4-g32, source=layers.0.mlp.up.weight
// REMARK-NEXT: [Missed] not-quantized | {{.*}} Reason="columns that are no multiple of 16", source=narrow.weight
// REMARK-NEXT: [Passed] quantized | {{.*}} scheme=int4-g32, source=half.weight
// REMARK-NEXT: [Missed] not-quantized | {{.*}} Reason="read as something else than a matrix", source=input
// REMARK-NEXT: [Passed] quantized | {{.*}} scheme=int4-g32, source=layers.0.mlp.down.weight
// REMARK-NEXT: [Missed] not-quantized | {{.*}} Reason="read as something else than a matrix", source=operand
// REMARK-NEXT: [Missed] not-quantized | {{.*}} Reason="not f32 from the model's files", source=negative_value
// REMARK-NEXT: [Missed] not-quantized | {{.*}} Reason="not f32 from the model's files", source=f16.weight
// REMARK-NOT:  remark:

// CHECK:       ds.parameter @q from "layers.0.q_proj.weight" {ds.stored = "Q4_1"} : tensor<48x64x!ds.quantized<4 symmetric group 32 scale f16>>
// RULES:       ds.parameter @q from {{.*}} : tensor<48x64x!ds.quantized<8 asymmetric group 0 scale f32>>
// ALONE:       ds.parameter @q from {{.*}} : tensor<48x64xf32>
// STORED:      ds.parameter @q from {{.*}} : tensor<48x64x!ds.quantized<4 asymmetric group 32 scale f16>>
// RULE-STORED: ds.parameter @q from {{.*}} : tensor<48x64x!ds.quantized<8 symmetric group 64 scale f16>>
/// Groups of 32 values of the tensor.
// MOQ:         ds.parameter @q from {{.*}} grid <5 symmetric groups 96> {{.*}} : tensor<48x64x!ds.quantized<5 symmetric group 32 scale f32>>
// PLANES:      ds.parameter @q from {{.*}} : tensor<48x64x!ds.quantized<3 asymmetric group 16 scale f16>>
/// Numbers of 8 bits are multiplied as f32, which a remark says.
// FP8-DAG:     activations-not-rounded {{.*}} Reason="codes of e4m3 are no integers", source=layers.0.q_proj.weight
// FP8-DAG:     ds.parameter @q from {{.*}} : tensor<48x64x!ds.quantized<8 e4m3 group 64 scale f16>>
ds.parameter @q from "layers.0.q_proj.weight" {ds.stored = "Q4_1"} : tensor<48x64xf32>

/// A view: what is stored as f32 has no codes to keep.
// CHECK:       ds.parameter @k from "layers.0.k_proj.weight" view <0, [16, 64], [1, 16]> : tensor<16x64x!ds.quantized<4 symmetric group 32 scale f16>>
// RULES:       ds.parameter @k from {{.*}} : tensor<16x64xf32>
// ALONE:       ds.parameter @k from {{.*}} : tensor<16x64x!ds.quantized<4 asymmetric group 64 scale f16>>
// STORED:      ds.parameter @k from {{.*}} : tensor<16x64xf32>
// RULE-STORED: ds.parameter @k from {{.*}} : tensor<16x64x!ds.quantized<8 symmetric group 64 scale f16>>
/// Half of the tensor's rows, which are columns here, are a group.
// MOQ:         ds.parameter @k from {{.*}} grid <3 asymmetric groups 2> : tensor<16x64x!ds.quantized<3 asymmetric group 32 scale f32>>
// FP8-DAG:     ds.parameter @k from {{.*}} : tensor<16x64x!ds.quantized<8 e4m3 group 32 scale f16>>
ds.parameter @k from "layers.0.k_proj.weight" view <0, [16, 64], [1, 16]> : tensor<16x64xf32>

/// The first rule that matches decides: `^layers` is for what is no projection.
// CHECK:       ds.parameter @up from "layers.0.mlp.up.weight" {ds.stored = "Q6_K"} : tensor<32x64x!ds.quantized<4 symmetric group 32 scale f16>>
// RULES:       ds.parameter @up from {{.*}} : tensor<32x64x!ds.quantized<8 symmetric group 16 scale f16>>
// STORED:      ds.parameter @up from {{.*}} : tensor<32x64x!ds.quantized<6 symmetric group 16 scale f32>>
// RULE-STORED: ds.parameter @up from {{.*}} : tensor<32x64x!ds.quantized<6 symmetric group 16 scale f32>>
// MOQ:         ds.parameter @up from {{.*}} grid <1 symmetric groups 1> {{.*}} : tensor<32x64x!ds.quantized<2 symmetric group 0 scale f32>>
ds.parameter @up from "layers.0.mlp.up.weight" {ds.stored = "Q6_K"} : tensor<32x64xf32>

/// What `int8` does with columns that groups of 64 do not divide: groups of 32 or 16.
// CHECK:       ds.parameter @down from "layers.0.mlp.down.weight" : tensor<64x96x!ds.quantized<4 symmetric group 32 scale f16>>
// RULES:       ds.parameter @down from {{.*}} : tensor<64x96x!ds.quantized<8 symmetric group 16 scale f16>>
// ALONE:       ds.parameter @down from {{.*}} : tensor<64x96xf32>
// RULE-STORED: ds.parameter @down from {{.*}} : tensor<64x96x!ds.quantized<8 symmetric group 32 scale f16>>
ds.parameter @down from "layers.0.mlp.down.weight" : tensor<64x96xf32>

/// A table keeps 8 bits; the codes of a file stay 4.
// CHECK:       ds.parameter @positions from "embed.positions" {ds.stored = "Q4_0"} : tensor<96x64x!ds.quantized<8 symmetric group 32 scale f16>>
// RULES:       ds.parameter @positions from {{.*}} : tensor<96x64x!ds.quantized<8 symmetric group 32 scale f16>>
// STORED:      ds.parameter @positions from {{.*}} : tensor<96x64x!ds.quantized<4 symmetric group 32 scale f16>>
// RULE-STORED: ds.parameter @positions from {{.*}} : tensor<96x64x!ds.quantized<4 symmetric group 32 scale f16>>
/// From 5 bits on it has the bits that are asked for, on a grid always, and where a rule asks.
// PLANES:      ds.parameter @positions from {{.*}} : tensor<96x64x!ds.quantized<5 symmetric group 32 scale f16>>
// MOQ:         ds.parameter @positions from {{.*}} grid <4 symmetric groups 4> {{.*}} : tensor<96x64x!ds.quantized<4 symmetric group 0 scale f32>>
ds.parameter @positions from "embed.positions" {ds.stored = "Q4_0"} : tensor<96x64xf32>

/// So does a table that a linear reads as well, whichever comes first.
// CHECK:       ds.parameter @tied from "tied.weight" : tensor<128x64x!ds.quantized<8 symmetric group 32 scale f16>>
// STORED:      ds.parameter @tied from {{.*}} : tensor<128x64xf32>
// RULE-STORED: ds.parameter @tied from {{.*}} : tensor<128x64x!ds.quantized<8 symmetric group 64 scale f16>>
// PLANES:      ds.parameter @tied from {{.*}} : tensor<128x64x!ds.quantized<2 symmetric group 32 scale f16>>
// MOQ:         ds.parameter @tied from {{.*}} grid <8 symmetric groups 1> : tensor<128x64x!ds.quantized<8 symmetric group 0 scale f32>>
// FP8-DAG:     ds.parameter @tied from {{.*}} : tensor<128x64x!ds.quantized<8 e4m3 group 32 scale f16>>
ds.parameter @tied from "tied.weight" : tensor<128x64xf32>

/// A type of no blocks.
// STORED:      ds.parameter @half from "half.weight" {ds.stored = "F16"} : tensor<32x64xf32>
ds.parameter @half from "half.weight" {ds.stored = "F16"} : tensor<32x64xf32>

/// Groups have a multiple of 16 columns.
// CHECK:       ds.parameter @negative_columns from "narrow.weight" {ds.stored = "Q8_0"} : tensor<64x24xf32>
// RULES:       ds.parameter @negative_columns from {{.*}} : tensor<64x24xf32>
// STORED:      ds.parameter @negative_columns from {{.*}} : tensor<64x24xf32>
// RULE-STORED: ds.parameter @negative_columns from {{.*}} : tensor<64x24xf32>
// MOQ:         ds.parameter @negative_columns from "narrow.weight" {ds.stored = "Q8_0"} : tensor<64x24xf32>
ds.parameter @negative_columns from "narrow.weight" {ds.stored = "Q8_0"} : tensor<64x24xf32>

/// A linear multiplies it as well.
// CHECK:       ds.parameter @negative_input from "input" : tensor<64x64xf32>
ds.parameter @negative_input from "input" : tensor<64x64xf32>

/// Another op than a linear or an embedding reads it as well.
// CHECK:       ds.parameter @negative_operand from "operand" : tensor<64x64xf32>
ds.parameter @negative_operand from "operand" : tensor<64x64xf32>

/// Not of the model's files.
// CHECK:       ds.parameter @negative_value value dense<1.000000e+00> : tensor<32x64xf32> : tensor<32x64xf32>
ds.parameter @negative_value value dense<1.0> : tensor<32x64xf32> : tensor<32x64xf32>

// CHECK:       ds.parameter @negative_f16 from "f16.weight" : tensor<32x64xf16>
ds.parameter @negative_f16 from "f16.weight" : tensor<32x64xf16>

/// Vectors stay.
// CHECK:       ds.parameter @negative_gain from "norm.weight" : tensor<64xf32>
// RULE-STORED: ds.parameter @negative_gain from "norm.weight" : tensor<64xf32>
ds.parameter @negative_gain from "norm.weight" : tensor<64xf32>
// CHECK:       ds.parameter @negative_bias from "layers.0.q_proj.bias" : tensor<48xf32>
// RULES:       ds.parameter @negative_bias from "layers.0.q_proj.bias" : tensor<48xf32>
ds.parameter @negative_bias from "layers.0.q_proj.bias" : tensor<48xf32>

/// Nobody reads it.
// CHECK:       ds.parameter @negative_unread from "unread" : tensor<64x64xf32>
ds.parameter @negative_unread from "unread" : tensor<64x64xf32>

/// The reads have the type too, in each function and region; values stay f32.
/// Linears with quantized weights alone may round what they multiply.
// ACTIVATIONS-LABEL: func.func @forward
// ACTIVATIONS:         ds.embedding {{.*}} : tensor<?x?xi32>, tensor<96x64x!ds.quantized
// ACTIVATIONS-COUNT-4: ds.linear {{.*}} {activation_bits = 8 : i64} : tensor<?x?x64xf32>, tensor<{{.*}}x64x!ds.quantized
// ACTIVATIONS-LABEL: func.func @other_readers
// ACTIVATIONS:         ds.linear %{{[^ ]*}}, %{{[^ ]*}} : tensor<64x24xf32>, tensor<64x24xf32>
// ACTIVATIONS:         ds.linear %{{[^ ]*}}, %{{[^ ]*}} {activation_bits = 8 : i64} : tensor<64x64xf32>, tensor<32x64x!ds.quantized
// ACTIVATIONS:         ds.linear %{{[^ ]*}}, %{{[^ ]*}} : tensor<?x64xf32>, tensor<64x64xf32>
// ACTIVATIONS-LABEL: func.func @gelus
// ACTIVATIONS:         ds.gelu erf %arg0 {coarse} : tensor<?x96xf32>
// ACTIVATIONS:         ds.gelu tanh %arg0 {coarse} : tensor<?x96xf32>
// ACTIVATIONS:         ds.gelu erf %arg0 : tensor<?x96xf32>
// ACTIVATIONS:         ds.gelu tanh %arg1 : tensor<?x64xf32>
// FP8-NOT:     activation_bits
// CHECK-LABEL: func.func @forward
// CHECK:         %[[POSITIONS:.*]] = ds.weight @positions : tensor<96x64x!ds.quantized<8 symmetric group 32 scale f16>>
// CHECK:         ds.embedding %{{.*}}, %[[POSITIONS]] : tensor<?x?xi32>, tensor<96x64x!ds.quantized<8 symmetric group 32 scale f16>>
// CHECK:         %[[TIED:.*]] = ds.weight @tied : tensor<128x64x!ds.quantized<8 symmetric group 32 scale f16>>
// CHECK:         ds.linear %{{.*}}, %[[TIED]] : tensor<?x?x64xf32>, tensor<128x64x!ds.quantized<8 symmetric group 32 scale f16>>
// CHECK:         ds.layer "layers.0"
// CHECK:           %[[Q:.*]] = ds.weight @q : tensor<48x64x!ds.quantized<4 symmetric group 32 scale f16>>
// CHECK:           ds.linear %{{.*}}, %[[Q]] bias %{{.*}} : tensor<?x?x64xf32>, tensor<48x64x!ds.quantized<4 symmetric group 32 scale f16>>, tensor<48xf32>
func.func @forward(%ids: tensor<?x?xi32>) -> tensor<?x?x128xf32> {
  %positions = ds.weight @positions : tensor<96x64xf32>
  %x = ds.embedding %ids, %positions : tensor<?x?xi32>, tensor<96x64xf32>
  %head = ds.weight @tied : tensor<128x64xf32>
  %logits = ds.linear %x, %head : tensor<?x?x64xf32>, tensor<128x64xf32>
  %y = ds.layer "layers.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  ^bb0(%h: tensor<?x?x64xf32>):
    %gain = ds.weight @negative_gain : tensor<64xf32>
    %n = ds.rms_norm %h, %gain eps 1.0e-6 : tensor<?x?x64xf32>, tensor<64xf32>
    %wq = ds.weight @q : tensor<48x64xf32>
    %bias = ds.weight @negative_bias : tensor<48xf32>
    %q = ds.linear %n, %wq bias %bias : tensor<?x?x64xf32>, tensor<48x64xf32>, tensor<48xf32>
    %wk = ds.weight @k : tensor<16x64xf32>
    %k = ds.linear %n, %wk : tensor<?x?x64xf32>, tensor<16x64xf32>
    %wup = ds.weight @up : tensor<32x64xf32>
    %up = ds.linear %n, %wup : tensor<?x?x64xf32>, tensor<32x64xf32>
    ds.yield %h : tensor<?x?x64xf32>
  }
  return %logits : tensor<?x?x128xf32>
}

// CHECK-LABEL: func.func @table
// CHECK:         %[[TIED:.*]] = ds.weight @tied : tensor<128x64x!ds.quantized<8 symmetric group 32 scale f16>>
// CHECK:         %[[ROWS:.*]] = ds.embedding %{{.*}}, %[[TIED]]
// CHECK:         return %[[ROWS]] : tensor<?x?x64xf32>
func.func @table(%ids: tensor<?x?xi32>) -> tensor<?x?x64xf32> {
  %tied = ds.weight @tied : tensor<128x64xf32>
  %x = ds.embedding %ids, %tied : tensor<?x?xi32>, tensor<128x64xf32>
  return %x : tensor<?x?x64xf32>
}

func.func @other_readers(%w: tensor<?x96xf32>, %x: tensor<64x24xf32>, %y: tensor<?x64xf32>, %z: tensor<?x64xf16>) {
  %narrow = ds.weight @negative_columns : tensor<64x24xf32>
  %a = ds.linear %x, %narrow : tensor<64x24xf32>, tensor<64x24xf32>
  %half = ds.weight @half : tensor<32x64xf32>
  %input = ds.weight @negative_input : tensor<64x64xf32>
  %b = ds.linear %input, %half : tensor<64x64xf32>, tensor<32x64xf32>
  %down = ds.weight @down : tensor<64x96xf32>
  %h = ds.linear %w, %down : tensor<?x96xf32>, tensor<64x96xf32>
  %c = ds.linear %y, %input : tensor<?x64xf32>, tensor<64x64xf32>
  %operand = ds.weight @negative_operand : tensor<64x64xf32>
  %d = ds.linear %y, %operand : tensor<?x64xf32>, tensor<64x64xf32>
  %e = ds.relu %operand : tensor<64x64xf32>
  %value = ds.weight @negative_value : tensor<32x64xf32>
  %f = ds.linear %y, %value : tensor<?x64xf32>, tensor<32x64xf32>
  %f16 = ds.weight @negative_f16 : tensor<32x64xf16>
  %g = ds.linear %z, %f16 : tensor<?x64xf16>, tensor<32x64xf16>
  return
}

/// Where all that reads it rounds it: as it is, or times a gate; not where it is given away as well, or multiplies a matrix of floats.
// CHECK-LABEL: func.func @gelus
// CHECK-NOT:     coarse
func.func @gelus(%x: tensor<?x96xf32>, %y: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %down = ds.weight @down : tensor<64x96xf32>
  %a = ds.gelu erf %x : tensor<?x96xf32>
  %b = ds.linear %a, %down : tensor<?x96xf32>, tensor<64x96xf32>
  %c = ds.gelu tanh %x : tensor<?x96xf32>
  %d = ds.mul %c, %x : tensor<?x96xf32>
  %e = ds.linear %d, %down : tensor<?x96xf32>, tensor<64x96xf32>
  %f = ds.gelu erf %x : tensor<?x96xf32>
  %g = ds.linear %f, %down : tensor<?x96xf32>, tensor<64x96xf32>
  %value = ds.weight @negative_value : tensor<32x64xf32>
  %h = ds.gelu tanh %y : tensor<?x64xf32>
  %i = ds.linear %h, %value : tensor<?x64xf32>, tensor<32x64xf32>
  return %f : tensor<?x96xf32>
}
