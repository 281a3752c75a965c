// RUN: ds-opt --verify-roundtrip %s
// RUN: ds-opt %s | FileCheck %s
// RUN: ds-opt --mlir-print-op-generic %s | ds-opt | FileCheck %s

// CHECK: ds.parameter @wte from "transformer.wte.weight" : tensor<128x64xf32>
ds.parameter @wte from "transformer.wte.weight" : tensor<128x64xf32>
// CHECK: ds.parameter @q from "c_attn.weight" view <64, [64, 64], [1, 192]> : tensor<64x64xf32>
ds.parameter @q from "c_attn.weight" view <64, [64, 64], [1, 192]> : tensor<64x64xf32>
// CHECK: ds.parameter @slopes value dense<{{.*}}> : tensor<2xf32> : tensor<2xf32>
ds.parameter @slopes value dense<[0.25, 0.0625]> : tensor<2xf32> : tensor<2xf32>
// CHECK: ds.parameter @"bert/pooler" from "bert/pooler" : tensor<64xbf16>
ds.parameter @"bert/pooler" from "bert/pooler" : tensor<64xbf16>
// CHECK: ds.parameter @up from "up.weight" {ds.stored = "Q4_K"} : tensor<96x64x!ds.quantized<4 asymmetric group 32 scale f32>>
ds.parameter @up from "up.weight" {ds.stored = "Q4_K"} : tensor<96x64x!ds.quantized<4 asymmetric group 32 scale f32>>
// CHECK: ds.parameter @down from "down.weight" view <0, [64, 96], [1, 64]> : tensor<64x96x!ds.quantized<8 symmetric group 0 scale f32>>
ds.parameter @down from "down.weight" view <0, [64, 96], [1, 64]> : tensor<64x96x!ds.quantized<8 symmetric group 0 scale f32>>
// CHECK: ds.parameter @moq from "moq" view <0, [64, 96], [1, 64]> grid <3 asymmetric groups 6> : tensor<64x96x!ds.quantized<3 asymmetric {{.*}}
ds.parameter @moq from "moq" view <0, [64, 96], [1, 64]> grid <3 asymmetric groups 6>
    : tensor<64x96x!ds.quantized<3 asymmetric group 16 scale f32>>
// CHECK: ds.parameter @blocks from "blocks.weight" {ds.stored = "Q6_K"} : tensor<64x256x!ds.quantized<6 symmetric group 16 scale si8>>
ds.parameter @blocks from "blocks.weight" {ds.stored = "Q6_K"} : tensor<64x256x!ds.quantized<6 symmetric group 16 scale si8>>
// CHECK: ds.parameter @fp8 from "fp8.weight" : tensor<64x96x!ds.quantized<8 e4m3 group 32 scale f16>>
ds.parameter @fp8 from "fp8.weight" : tensor<64x96x!ds.quantized<8 e4m3 group 32 scale f16>>
// CHECK: ds.cache @k0 : tensor<?x64x32xf32>
ds.cache @k0 : tensor<?x64x32xf32>
// CHECK: ds.cache @c0 : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
ds.cache @c0 : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>

// CHECK-LABEL: func.func @structure
func.func @structure(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.weight @wte : tensor<128x64xf32>
  %w = ds.weight @wte : tensor<128x64xf32>
  // CHECK: ds.layer "h.0"(%{{.*}}) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.yield %{{.*}} : tensor<?x?x64xf32>
  %y = ds.layer "h.0"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  ^bb0(%h: tensor<?x?x64xf32>):
    %r = ds.relu %h : tensor<?x?x64xf32>
    ds.yield %r : tensor<?x?x64xf32>
  }
  // CHECK: ds.layer "empty"() : () -> () {
  ds.layer "empty"() : () -> () {
  }
  // CHECK: ds.fusion -> tensor<?x?x64xf32> {
  // CHECK: ds.yield %{{.*}} : tensor<?x?x64xf32>
  %f = ds.fusion -> tensor<?x?x64xf32> {
    %r = ds.relu %x : tensor<?x?x64xf32>
    ds.yield %r : tensor<?x?x64xf32>
  }
  return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @constants
func.func @constants() {
  // CHECK: ds.constant dense<[1.000000e+00, 2.000000e+00]> : tensor<2xf32>
  %x = ds.constant dense<[1.0, 2.0]> : tensor<2xf32>
  // CHECK: ds.constant dense<7> : tensor<2x2xi32>
  %i = ds.constant dense<7> : tensor<2x2xi32>
  return
}

// CHECK-LABEL: func.func @embedding
func.func @embedding(%ids: tensor<?x?xi32>, %w: tensor<128x64xf32>) {
  // CHECK: ds.embedding %{{.*}}, %{{.*}} : tensor<?x?xi32>, tensor<128x64xf32>
  %x = ds.embedding %ids, %w : tensor<?x?xi32>, tensor<128x64xf32>
  return
}

// CHECK: func.func private @quantized_type(!ds.quantized<4 asymmetric group 32 scale f16>)
func.func private @quantized_type(
    !ds.quantized<4 asymmetric group 32 scale f16>
)

// CHECK: func.func private @moq_attribute() attributes {ds.grid = #ds.moq<4 symmetric groups 1>, ds.of_inference = #ds.moq<8 symmetric groups 2 formula inference>}
func.func private @moq_attribute() attributes {ds.grid =
    #ds.moq<4 symmetric groups 1>
    , ds.of_inference =
    #ds.moq<8 symmetric groups 2 formula inference>
}

/// Values of quantized weights are f32.
// CHECK-LABEL: func.func @quantized
func.func @quantized(%ids: tensor<?x?xi32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.weight @up : tensor<96x64x!ds.quantized<4 asymmetric group 32 scale f32>>
  %up = ds.weight @up : tensor<96x64x!ds.quantized<4 asymmetric group 32 scale f32>>
  // CHECK: ds.embedding %{{.*}}, %{{.*}} : tensor<?x?xi32>, tensor<96x64x!ds.quantized<4 asymmetric group 32 scale f32>>
  %x = ds.embedding %ids, %up : tensor<?x?xi32>, tensor<96x64x!ds.quantized<4 asymmetric group 32 scale f32>>
  // CHECK: ds.linear %{{.*}}, %{{.*}} : tensor<?x?x64xf32>, tensor<96x64x!ds.quantized<4 asymmetric group 32 scale f32>>
  %y = ds.linear %x, %up : tensor<?x?x64xf32>, tensor<96x64x!ds.quantized<4 asymmetric group 32 scale f32>>
  %down = ds.weight @down : tensor<64x96x!ds.quantized<8 symmetric group 0 scale f32>>
  // CHECK: ds.linear %{{.*}}, %{{.*}} : tensor<?x?x96xf32>, tensor<64x96x!ds.quantized<8 symmetric group 0 scale f32>>
  %z = ds.linear %y, %down : tensor<?x?x96xf32>, tensor<64x96x!ds.quantized<8 symmetric group 0 scale f32>>
  // CHECK: return %{{.*}} : tensor<?x?x64xf32>
  return %z : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @gather_rows
func.func @gather_rows(%x: tensor<?x?x64xf32>, %rows: tensor<?xi32>) {
  // CHECK: ds.gather_rows %{{.*}}, %{{.*}} : tensor<?x?x64xf32>, tensor<?xi32>
  %y = ds.gather_rows %x, %rows : tensor<?x?x64xf32>, tensor<?xi32>
  return
}

// CHECK-LABEL: func.func @linear
func.func @linear(%x: tensor<?x?x64xf32>, %rows: tensor<?xi32>, %w: tensor<192x64xf32>, %b: tensor<192xf32>) {
  // CHECK: ds.linear %{{.*}}, %{{.*}} bias %{{.*}} : tensor<?x?x64xf32>, tensor<192x64xf32>, tensor<192xf32>
  %y = ds.linear %x, %w bias %b : tensor<?x?x64xf32>, tensor<192x64xf32>, tensor<192xf32>
  // CHECK: ds.linear %{{.*}}, %{{.*}} : tensor<?x?x64xf32>, tensor<192x64xf32>
  %z = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<192x64xf32>
  // CHECK: ds.gather_rows %{{.*}}, %{{.*}} : tensor<?x?x64xf32>, tensor<?xi32>
  %r = ds.gather_rows %x, %rows : tensor<?x?x64xf32>, tensor<?xi32>
  // CHECK: ds.linear %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<192x64xf32>
  %s = ds.linear %r, %w : tensor<?x64xf32>, tensor<192x64xf32>
  return
}

// CHECK-LABEL: func.func @norms
func.func @norms(%x: tensor<?x?x64xf32>, %g: tensor<64xf32>, %b: tensor<64xf32>) {
  // CHECK: ds.layer_norm %{{.*}}, %{{.*}} bias %{{.*}} eps 1.0{{.*}}e-05 : tensor<?x?x64xf32>, tensor<64xf32>, tensor<64xf32>
  %y = ds.layer_norm %x, %g bias %b eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>, tensor<64xf32>
  // CHECK: ds.layer_norm %{{.*}}, %{{.*}} eps 1.0{{.*}}e-05 : tensor<?x?x64xf32>, tensor<64xf32>
  %z = ds.layer_norm %x, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  return
}

// CHECK-LABEL: func.func @rms_norm_half
func.func @rms_norm_half(%x: tensor<2x8xf16>, %g: tensor<8xf16>) {
  // CHECK: ds.rms_norm %{{.*}}, %{{.*}} eps {{.*}} : tensor<2x8xf16>, tensor<8xf16>
  %y = ds.rms_norm %x, %g eps 1.0e-6 : tensor<2x8xf16>, tensor<8xf16>
  return
}

// CHECK-LABEL: func.func @l2_normalize
func.func @l2_normalize(%x: tensor<?x64xf32>) {
  // CHECK: ds.l2_normalize %{{.*}} eps {{.*}} : tensor<?x64xf32>
  %y = ds.l2_normalize %x eps 1.0e-12 : tensor<?x64xf32>
  return
}

// CHECK-LABEL: func.func @softmax
func.func @softmax(%x: tensor<?x64xf32>) {
  // CHECK: ds.softmax %{{.*}} : tensor<?x64xf32>
  %y = ds.softmax %x : tensor<?x64xf32>
  return
}

// CHECK-LABEL: func.func @tanh
func.func @tanh(%x: tensor<?x64xf32>) {
  // CHECK: ds.tanh %{{.*}} : tensor<?x64xf32>
  %y = ds.tanh %x : tensor<?x64xf32>
  return
}

// CHECK-LABEL: func.func @gelu
func.func @gelu(%x: tensor<?x?x64xf32>) {
  // CHECK: ds.gelu erf %{{.*}} : tensor<?x?x64xf32>
  %y = ds.gelu erf %x : tensor<?x?x64xf32>
  // CHECK: ds.gelu tanh %{{.*}} {coarse} : tensor<?x?x64xf32>
  %z = ds.gelu tanh %x {coarse} : tensor<?x?x64xf32>
  return
}

// CHECK-LABEL: func.func @silu
func.func @silu(%x: tensor<?x?x64xf32>) {
  // CHECK: ds.silu %{{.*}} : tensor<?x?x64xf32>
  %y = ds.silu %x : tensor<?x?x64xf32>
  return
}

// CHECK-LABEL: func.func @quick_gelu
func.func @quick_gelu(%x: tensor<?x?x64xf32>) {
  // CHECK: ds.quick_gelu %{{.*}} : tensor<?x?x64xf32>
  %y = ds.quick_gelu %x : tensor<?x?x64xf32>
  return
}

// CHECK-LABEL: func.func @relu
func.func @relu(%x: tensor<?x?x64xf32>) {
  // CHECK: ds.relu %{{.*}} : tensor<?x?x64xf32>
  %y = ds.relu %x : tensor<?x?x64xf32>
  return
}

// CHECK-LABEL: func.func @add
func.func @add(%x: tensor<?x?x64xf32>, %y: tensor<?x?x64xf32>) {
  // CHECK: ds.add %{{.*}}, %{{.*}} : tensor<?x?x64xf32>
  %z = ds.add %x, %y : tensor<?x?x64xf32>
  return
}

// CHECK-LABEL: func.func @mul
func.func @mul(%x: tensor<?x?x64xf32>, %y: tensor<?x?x64xf32>) {
  // CHECK: ds.mul %{{.*}}, %{{.*}} : tensor<?x?x64xf32>
  %z = ds.mul %x, %y : tensor<?x?x64xf32>
  return
}

// CHECK-LABEL: func.func @rope
func.func @rope(%x: tensor<?x?x64xf32>, %pos: tensor<?x?xi32>) {
  // CHECK: ds.rope half %{{.*}}, %{{.*}} heads 4 rotary 16 base 1.0{{.*}} : tensor<?x?x64xf32>, tensor<?x?xi32>
  %y = ds.rope half %x, %pos heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
  // CHECK: ds.rope interleaved %{{.*}} rotary 8 base {{.*}} scaling <"llama3", 8.0{{.*}} : f64, 1.0{{.*}} : f64, 4.0{{.*}} : f64, 8.192{{.*}} : f64> :
  %z = ds.rope interleaved %x, %pos heads 4 rotary 8 base 5.0e5 scaling <"llama3", 8.0 : f64, 1.0 : f64, 4.0 : f64, 8192.0 : f64> : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>) {
  // CHECK: ds.attention %{{.*}}, %{{.*}}, %{{.*}} heads 4 kv_heads 2 scale 2.5{{.*}} causal : tensor<?x?x64xf32>, tensor<?x?x32xf32>
  %y = ds.attention %q, %k, %v heads 4 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x32xf32>
  return
}

// CHECK-LABEL: func.func @attention_with_everything
func.func @attention_with_everything(%q: tensor<?x?x64xf32>, %k: tensor<?x64x32xf32>, %m: tensor<?x64xi32>, %p: tensor<?xi32>, %s: tensor<4xf32>) {
  // CHECK: ds.attention %{{.*}} mask %{{.*}} : tensor<?x64xi32> past %{{.*}} : tensor<?xi32> slopes %{{.*}} : tensor<4xf32> heads 4 kv_heads 2 scale {{.*}} causal window 8 :
  %y = ds.attention %q, %k, %k mask %m : tensor<?x64xi32> past %p : tensor<?xi32> slopes %s : tensor<4xf32> heads 4 kv_heads 2 scale 0.25 causal window 8 : tensor<?x?x64xf32>, tensor<?x64x32xf32>
  return
}

// CHECK-LABEL: func.func @attention_with_dropout
func.func @attention_with_dropout(%q: tensor<?x?x8xf32>, %k: tensor<?x?x8xf32>, %v: tensor<?x?x8xf32>, %s: tensor<2xi32>) {
  // CHECK: ds.attention %{{.*}}, %{{.*}}, %{{.*}} dropout %{{.*}} : tensor<2xi32> rate 1.0{{.*}}e-01 site 3 heads 2 kv_heads 2 scale 5.0{{.*}} : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  %z = ds.attention %q, %k, %v dropout %s : tensor<2xi32> rate 0.1 site 3
        heads 2 kv_heads 2 scale 0.5 : tensor<?x?x8xf32>, tensor<?x?x8xf32>
  return
}

// CHECK-LABEL: func.func @cache_append
func.func @cache_append(%x: tensor<?x?x32xf32>, %p: tensor<?xi32>) {
  // CHECK: ds.cache_append @k0, %{{.*}} past %{{.*}} : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
  %k = ds.cache_append @k0, %x past %p : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
  return
}

/// To attention the elements of a cache of codes are the values.
// CHECK-LABEL: func.func @cache_of_codes
func.func @cache_of_codes(%q: tensor<?x?x64xf32>, %x: tensor<?x?x32xf32>, %p: tensor<?xi32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.cache_append @c0, %{{.*}} past %{{.*}} : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  %c = ds.cache_append @c0, %x past %p
        : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  // CHECK: ds.cache_read @c0 : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  %r = ds.cache_read @c0 : tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  // CHECK: ds.attention {{.*}} causal : tensor<?x?x64xf32>, tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  %y = ds.attention %q, %c, %r past %p : tensor<?xi32> heads 4 kv_heads 2 scale 0.25 causal
    : tensor<?x?x64xf32>, tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
  return %y : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @cache_read
func.func @cache_read() {
  // CHECK: ds.cache_read @k0 : tensor<?x64x32xf32>
  %k = ds.cache_read @k0 : tensor<?x64x32xf32>
  return
}

// CHECK-LABEL: func.func @pool
func.func @pool(%x: tensor<?x?x64xf32>, %m: tensor<?x?xi32>) {
  // CHECK: ds.pool mean %{{.*}} mask %{{.*}} : tensor<?x?x64xf32>, tensor<?x?xi32>
  %y = ds.pool mean %x mask %m : tensor<?x?x64xf32>, tensor<?x?xi32>
  // CHECK: ds.pool last %{{.*}} mask %{{.*}} : tensor<?x?x64xf32>, tensor<?x?xi32>
  %l = ds.pool last %x mask %m : tensor<?x?x64xf32>, tensor<?x?xi32>
  // CHECK: ds.pool cls %{{.*}} : tensor<?x?x64xf32>
  %c = ds.pool cls %x : tensor<?x?x64xf32>
  return
}
