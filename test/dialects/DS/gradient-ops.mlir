// RUN: ds-opt --verify-roundtrip %s
// RUN: ds-opt %s | FileCheck %s
// RUN: ds-opt --mlir-print-op-generic %s | ds-opt | FileCheck %s

// CHECK-LABEL: func.func @linear_and_rows
func.func @linear_and_rows(%x: tensor<?x?x64xf32>, %dy: tensor<?x?x192xf32>, %w: tensor<192x64xf32>) {
  // CHECK: ds.linear %{{.*}}, %{{.*}} transposed : tensor<?x?x192xf32>, tensor<192x64xf32>
  %dx = ds.linear %dy, %w transposed : tensor<?x?x192xf32>, tensor<192x64xf32>
  // CHECK: ds.linear_weight_grad %{{.*}}, %{{.*}} : tensor<?x?x64xf32>, tensor<?x?x192xf32> -> tensor<192x64xf32>
  %dw = ds.linear_weight_grad %x, %dy : tensor<?x?x64xf32>, tensor<?x?x192xf32> -> tensor<192x64xf32>
  // CHECK: ds.column_sum %{{.*}} : tensor<?x?x192xf32> -> tensor<192xf32>
  %db = ds.column_sum %dy : tensor<?x?x192xf32> -> tensor<192xf32>
  return
}

// CHECK-LABEL: func.func @tables
func.func @tables(%x: tensor<?x?x64xf32>, %ids: tensor<?x?xi32>, %rows: tensor<?xi32>, %dy: tensor<?x64xf32>) {
  // CHECK: ds.gather_rows_grad %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x?x64xf32>, tensor<?xi32>, tensor<?x64xf32>
  %dx = ds.gather_rows_grad %x, %rows, %dy : tensor<?x?x64xf32>, tensor<?xi32>, tensor<?x64xf32>
  // CHECK: ds.embedding_grad %{{.*}}, %{{.*}} : tensor<?x?xi32>, tensor<?x?x64xf32> -> tensor<128x64xf32>
  %dw = ds.embedding_grad %ids, %dx : tensor<?x?xi32>, tensor<?x?x64xf32> -> tensor<128x64xf32>
  return
}

// CHECK-LABEL: func.func @norms
func.func @norms(%x: tensor<?x?x64xf32>, %g: tensor<64xf32>, %dy: tensor<?x?x64xf32>) {
  // CHECK: %{{.*}}, %{{.*}} = ds.layer_norm_grad %{{.*}}, %{{.*}}, %{{.*}} eps {{.*}} : tensor<?x?x64xf32>, tensor<64xf32>
  %dx, %n = ds.layer_norm_grad %x, %g, %dy eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  return
}

// CHECK-LABEL: func.func @root_mean_square
func.func @root_mean_square(%x: tensor<?x?x64xf32>, %g: tensor<64xf32>, %dy: tensor<?x?x64xf32>) {
  // CHECK: %{{.*}}, %{{.*}} = ds.rms_norm_grad %{{.*}}, %{{.*}}, %{{.*}} eps {{.*}} : tensor<?x?x64xf32>, tensor<64xf32>
  %dx, %n = ds.rms_norm_grad %x, %g, %dy eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
  return
}

// CHECK-LABEL: func.func @activations
func.func @activations(%x: tensor<?x?x64xf32>, %dy: tensor<?x?x64xf32>) {
  // CHECK: ds.gelu_grad erf %{{.*}}, %{{.*}} : tensor<?x?x64xf32>
  %dx = ds.gelu_grad erf %x, %dy : tensor<?x?x64xf32>
  // CHECK: ds.gelu_grad tanh %{{.*}}, %{{.*}} : tensor<?x?x64xf32>
  %dt = ds.gelu_grad tanh %x, %dy : tensor<?x?x64xf32>
  return
}

// CHECK-LABEL: func.func @gates
func.func @gates(%x: tensor<?x?x64xf32>, %dy: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.silu_grad %{{.*}}, %{{.*}} : tensor<?x?x64xf32>
  %dx = ds.silu_grad %x, %dy : tensor<?x?x64xf32>
  return %dx : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @quick_gelu
func.func @quick_gelu(%x: tensor<?x?x64xf32>, %dy: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.quick_gelu_grad %{{.*}}, %{{.*}} : tensor<?x?x64xf32>
  %dx = ds.quick_gelu_grad %x, %dy : tensor<?x?x64xf32>
  return %dx : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @relu
func.func @relu(%x: tensor<?x?x64xf32>, %dy: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
  // CHECK: ds.relu_grad %{{.*}}, %{{.*}} : tensor<?x?x64xf32>
  %dx = ds.relu_grad %x, %dy : tensor<?x?x64xf32>
  return %dx : tensor<?x?x64xf32>
}

// CHECK-LABEL: func.func @tanh
func.func @tanh(%y: tensor<?x64xf32>, %dy: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: ds.tanh_grad %{{.*}}, %{{.*}} : tensor<?x64xf32>
  %dx = ds.tanh_grad %y, %dy : tensor<?x64xf32>
  return %dx : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @softmax
func.func @softmax(%y: tensor<?x64xf32>, %dy: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: ds.softmax_grad %{{.*}}, %{{.*}} : tensor<?x64xf32>
  %dx = ds.softmax_grad %y, %dy : tensor<?x64xf32>
  return %dx : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @l2_normalize
func.func @l2_normalize(%x: tensor<?x64xf32>, %dy: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: ds.l2_normalize_grad %{{.*}}, %{{.*}} eps {{.*}} : tensor<?x64xf32>
  %dx = ds.l2_normalize_grad %x, %dy eps 1.0e-12 : tensor<?x64xf32>
  return %dx : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>, %v: tensor<?x?x32xf32>, %dy: tensor<?x?x64xf32>, %m: tensor<?x?xi32>,
                     %s: tensor<4xf32>, %p: tensor<?x?xi32>, %seed: tensor<2xi32>) {
  // CHECK: ds.attention_grad %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 4 kv_heads 2 scale 2.500000e-01 causal : tensor<?x?x64xf32>, tensor<?x?x32xf32>
  %dq, %dk, %dv = ds.attention_grad %q, %k, %v, %dy heads 4 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x32xf32>
  // CHECK: ds.attention_grad {{.*}} mask %{{.*}} : tensor<?x?xi32> slopes %{{.*}} : tensor<4xf32> heads 4 kv_heads 2 scale 2.500000e-01 causal window 8 :
  %eq, %ek, %ev = ds.attention_grad %q, %k, %v, %dy mask %m : tensor<?x?xi32> slopes %s : tensor<4xf32> heads 4 kv_heads 2 scale 0.25 causal window 8 : tensor<?x?x64xf32>, tensor<?x?x32xf32>
  // CHECK: ds.attention_grad {{.*}} slopes %{{.*}} : tensor<4xf32> dropout %{{.*}} : tensor<2xi32> rate 1.000000e-01 site 3 heads 4 kv_heads 2 scale
  %fq, %fk, %fv = ds.attention_grad %q, %k, %v, %dy slopes %s : tensor<4xf32> dropout %seed : tensor<2xi32> rate 1.0e-1 site 3 heads 4 kv_heads 2 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x32xf32>
  // CHECK: ds.rope half %{{.*}}, %{{.*}} heads 4 rotary 16 base 1.000000e+04 inverse : tensor<?x?x64xf32>, tensor<?x?xi32>
  %r = ds.rope half %q, %p heads 4 rotary 16 base 10000.0 inverse : tensor<?x?x64xf32>, tensor<?x?xi32>
  return
}

// CHECK-LABEL: func.func @pool
func.func @pool(%x: tensor<?x?x64xf32>, %dy: tensor<?x64xf32>, %m: tensor<?x?xi32>) {
  // CHECK: ds.pool_grad mean %{{.*}}, %{{.*}} mask %{{.*}} : tensor<?x?x64xf32>, tensor<?x64xf32>, tensor<?x?xi32>
  %dx = ds.pool_grad mean %x, %dy mask %m : tensor<?x?x64xf32>, tensor<?x64xf32>, tensor<?x?xi32>
  // CHECK: ds.pool_grad cls %{{.*}}, %{{.*}} : tensor<?x?x64xf32>, tensor<?x64xf32>
  %dc = ds.pool_grad cls %x, %dy : tensor<?x?x64xf32>, tensor<?x64xf32>
  return
}
