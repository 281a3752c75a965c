// RUN: ds-opt --verify-diagnostics --split-input-file %s

func.func @linear_c1_transposed(%x: tensor<?x64xf32>, %w: tensor<192x64xf32>) {
  // expected-error @+1 {{'ds.linear' op expects weight of shape [K, N] with K the last size of input, got 'tensor<192x64xf32>' for 'tensor<?x64xf32>'}}
  %y = ds.linear %x, %w transposed : tensor<?x64xf32>, tensor<192x64xf32>
  return
}

// -----

func.func @linear_c2_transposed(%x: tensor<?x192xf32>, %w: tensor<192x64xf32>, %b: tensor<192xf32>) {
  // expected-error @+1 {{'ds.linear' op expects bias of shape [64], got 'tensor<192xf32>'}}
  %y = ds.linear %x, %w transposed bias %b : tensor<?x192xf32>, tensor<192x64xf32>, tensor<192xf32>
  return
}

// -----

func.func @linear_c4(%x: tensor<?x192xf32>, %w: tensor<192x64x!ds.quantized<8 symmetric group 0 scale f32>>) {
  // expected-error @+1 {{'ds.linear' op expects a transposed weight of floats, got 'tensor<192x64x!ds.quantized<8 symmetric group 0 scale f32>>'}}
  %y = ds.linear %x, %w transposed : tensor<?x192xf32>, tensor<192x64x!ds.quantized<8 symmetric group 0 scale f32>>
  return
}

// -----

func.func @linear_weight_grad_c1_rank(%x: tensor<64xf32>, %dy: tensor<192xf32>) {
  // expected-error @+1 {{'ds.linear_weight_grad' op expects input of rank 2 or more, got 'tensor<64xf32>'}}
  %dw = ds.linear_weight_grad %x, %dy : tensor<64xf32>, tensor<192xf32> -> tensor<192x64xf32>
  return
}

// -----

func.func @linear_weight_grad_c1_grad(%x: tensor<2x3x64xf32>, %dy: tensor<2x4x192xf32>) {
  // expected-error @+1 {{expects grad of shape 'tensor<2x3x192xf32>', got 'tensor<2x4x192xf32>'}}
  %dw = ds.linear_weight_grad %x, %dy : tensor<2x3x64xf32>, tensor<2x4x192xf32> -> tensor<192x64xf32>
  return
}

// -----

func.func @linear_weight_grad_c1_output(%x: tensor<?x?x64xf32>, %dy: tensor<?x?x192xf32>) {
  // expected-error @+1 {{expects output of shape 'tensor<192x64xf32>', got 'tensor<64x192xf32>'}}
  %dw = ds.linear_weight_grad %x, %dy : tensor<?x?x64xf32>, tensor<?x?x192xf32> -> tensor<64x192xf32>
  return
}

// -----

func.func @column_sum_c1_rank(%dy: tensor<192xf32>) {
  // expected-error @+1 {{'ds.column_sum' op expects input of rank 2 or more, got 'tensor<192xf32>'}}
  %db = ds.column_sum %dy : tensor<192xf32> -> tensor<192xf32>
  return
}

// -----

func.func @column_sum_c1_output(%dy: tensor<?x?x192xf32>) {
  // expected-error @+1 {{'ds.column_sum' op expects output of shape 'tensor<192xf32>', got 'tensor<64xf32>'}}
  %db = ds.column_sum %dy : tensor<?x?x192xf32> -> tensor<64xf32>
  return
}

// -----

func.func @embedding_grad_c1_output(%ids: tensor<?x?xi32>, %dx: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.embedding_grad' op expects output of rank 2, got 'tensor<128xf32>'}}
  %dw = ds.embedding_grad %ids, %dx : tensor<?x?xi32>, tensor<?x?x64xf32> -> tensor<128xf32>
  return
}

// -----

func.func @embedding_grad_c1_grad(%ids: tensor<2x?xi32>, %dx: tensor<3x?x64xf32>) {
  // expected-error @+1 {{'ds.embedding_grad' op expects grad of shape 'tensor<2x?x64xf32>', got 'tensor<3x?x64xf32>'}}
  %dw = ds.embedding_grad %ids, %dx : tensor<2x?xi32>, tensor<3x?x64xf32> -> tensor<128x64xf32>
  return
}

// -----

func.func @gather_rows_grad_c1_input(%x: tensor<?x64xf32>, %rows: tensor<?xi32>, %dy: tensor<?x64xf32>) {
  // expected-error @+1 {{'ds.gather_rows_grad' op expects input of rank 3 and rows of rank 1, got 'tensor<?x64xf32>' and 'tensor<?xi32>'}}
  %dx = ds.gather_rows_grad %x, %rows, %dy : tensor<?x64xf32>, tensor<?xi32>, tensor<?x64xf32>
  return
}

// -----

func.func @gather_rows_grad_c1_grad(%x: tensor<?x?x64xf32>, %rows: tensor<5xi32>, %dy: tensor<4x64xf32>) {
  // expected-error @+1 {{'ds.gather_rows_grad' op expects grad of shape 'tensor<5x64xf32>', got 'tensor<4x64xf32>'}}
  %dx = ds.gather_rows_grad %x, %rows, %dy : tensor<?x?x64xf32>, tensor<5xi32>, tensor<4x64xf32>
  return
}

// -----

func.func @layer_norm_grad_c1_gain(%x: tensor<?x?x64xf32>, %g: tensor<32xf32>, %dy: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.layer_norm_grad' op expects gain of shape 'tensor<64xf32>', got 'tensor<32xf32>'}}
  %dx, %n = ds.layer_norm_grad %x, %g, %dy eps 1.0e-5 : tensor<?x?x64xf32>, tensor<32xf32>
  return
}

// -----

func.func @layer_norm_grad_c1_eps(%x: tensor<?x?x64xf32>, %g: tensor<64xf32>, %dy: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.layer_norm_grad' op expects a positive eps}}
  %dx, %n = ds.layer_norm_grad %x, %g, %dy eps 0.0 : tensor<?x?x64xf32>, tensor<64xf32>
  return
}

// -----

func.func @rms_norm_grad_c1_gain(%x: tensor<?x?x64xf32>, %g: tensor<32xf32>, %dy: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.rms_norm_grad' op expects gain of shape 'tensor<64xf32>', got 'tensor<32xf32>'}}
  %dx, %n = ds.rms_norm_grad %x, %g, %dy eps 1.0e-5 : tensor<?x?x64xf32>, tensor<32xf32>
  return
}

// -----

func.func @rms_norm_grad_c1_eps(%x: tensor<?x?x64xf32>, %g: tensor<64xf32>, %dy: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.rms_norm_grad' op expects a positive eps}}
  %dx, %n = ds.rms_norm_grad %x, %g, %dy eps 0.0 : tensor<?x?x64xf32>, tensor<64xf32>
  return
}

// -----

func.func @l2_normalize_grad_c1(%x: tensor<?x?x64xf32>, %dy: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.l2_normalize_grad' op expects a positive eps}}
  %dx = ds.l2_normalize_grad %x, %dy eps 0.0 : tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_grad_c1_key(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>) {
  // expected-error @+1 {{'ds.attention_grad' op expects query of shape [B, T, 4 * D] and key of shape [B, S, 4 * D], got 'tensor<?x?x64xf32>' and 'tensor<?x?x32xf32>'}}
  %dq, %dk, %dv = ds.attention_grad %q, %k, %k, %q heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x32xf32>
  return
}

// -----

func.func @attention_grad_c1_heads(%q: tensor<?x?x64xf32>, %k: tensor<?x?x32xf32>) {
  // expected-error @+1 {{expects query of shape [B, T, 4 * D] and key of shape [B, S, 3 * D]}}
  %dq, %dk, %dv = ds.attention_grad %q, %k, %k, %q heads 4 kv_heads 3 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x32xf32>
  return
}

// -----

func.func @attention_grad_c1_mask(%q: tensor<2x3x64xf32>, %m: tensor<2x4xi32>) {
  // expected-error @+1 {{'ds.attention_grad' op expects mask of shape 'tensor<2x3xi32>', got 'tensor<2x4xi32>'}}
  %dq, %dk, %dv = ds.attention_grad %q, %q, %q, %q mask %m : tensor<2x4xi32> heads 4 kv_heads 4 scale 0.25 : tensor<2x3x64xf32>, tensor<2x3x64xf32>
  return
}

// -----

func.func @attention_grad_c1_slopes(%q: tensor<?x?x64xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{'ds.attention_grad' op expects slopes of shape 'tensor<4xf32>', got 'tensor<2xf32>'}}
  %dq, %dk, %dv = ds.attention_grad %q, %q, %q, %q slopes %s : tensor<2xf32> heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_grad_window(%q: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.attention_grad' op expects a window to come with causal}}
  %dq, %dk, %dv = ds.attention_grad %q, %q, %q, %q heads 4 kv_heads 4 scale 0.25 window 8 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @pool_grad_c1_input(%x: tensor<?x64xf32>, %dy: tensor<?x64xf32>) {
  // expected-error @+1 {{'ds.pool_grad' op expects input of shape [B, T, H], and a mask but for cls, got 'tensor<?x64xf32>'}}
  %dx = ds.pool_grad cls %x, %dy : tensor<?x64xf32>, tensor<?x64xf32>
  return
}

// -----

func.func @pool_grad_c1_no_mask(%x: tensor<?x?x64xf32>, %dy: tensor<?x64xf32>) {
  // expected-error @+1 {{expects input of shape [B, T, H], and a mask but for cls}}
  %dx = ds.pool_grad last %x, %dy : tensor<?x?x64xf32>, tensor<?x64xf32>
  return
}

// -----

func.func @pool_grad_c1_mask(%x: tensor<2x3x64xf32>, %dy: tensor<2x64xf32>, %m: tensor<3x2xi32>) {
  // expected-error @+1 {{'ds.pool_grad' op expects mask of shape 'tensor<2x3xi32>', got 'tensor<3x2xi32>'}}
  %dx = ds.pool_grad mean %x, %dy mask %m : tensor<2x3x64xf32>, tensor<2x64xf32>, tensor<3x2xi32>
  return
}

// -----

func.func @pool_grad_c1_grad(%x: tensor<2x3x64xf32>, %dy: tensor<3x64xf32>) {
  // expected-error @+1 {{'ds.pool_grad' op expects grad of shape 'tensor<2x64xf32>', got 'tensor<3x64xf32>'}}
  %dx = ds.pool_grad cls %x, %dy : tensor<2x3x64xf32>, tensor<3x64xf32>
  return
}
