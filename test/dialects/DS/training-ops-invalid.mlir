// RUN: ds-opt --verify-diagnostics --split-input-file %s

func.func @cross_entropy_c1_labels(%x: tensor<3x128xf32>, %labels: tensor<4xi32>) {
  // expected-error @+1 {{'ds.cross_entropy' op expects logits of shape [R, V] and labels of shape [R], got 'tensor<3x128xf32>' and 'tensor<4xi32>'}}
  %l = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<3x128xf32>, tensor<4xi32> -> tensor<?x1xf32>
  return
}

// -----

func.func @cross_entropy_c1_rank(%x: tensor<?x?x128xf32>, %labels: tensor<?xi32>) {
  // expected-error @+1 {{'ds.cross_entropy' op expects logits of shape [R, V] and labels of shape [R], got 'tensor<?x?x128xf32>' and 'tensor<?xi32>'}}
  %l = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x?x128xf32>, tensor<?xi32> -> tensor<?x1xf32>
  return
}

// -----

func.func @cross_entropy_c1_dynamic(%x: tensor<?x?xf32>, %labels: tensor<?xi32>) {
  // expected-error @+1 {{expects logits of shape [R, V] and labels of shape [R], got 'tensor<?x?xf32>'}}
  %l = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x?xf32>, tensor<?xi32> -> tensor<?x1xf32>
  return
}

// -----

func.func @cross_entropy_c1_smoothing(%x: tensor<?x128xf32>, %labels: tensor<?xi32>) {
  // expected-error @+1 {{'ds.cross_entropy' op expects smoothing of 0 to less than 1}}
  %l = ds.cross_entropy %x, %labels smoothing 1.0 : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x1xf32>
  return
}

// -----

func.func @cross_entropy_grad_c1_labels(%x: tensor<3x128xf32>, %labels: tensor<4xi32>, %s: tensor<1xf32>) {
  // expected-error @+1 {{'ds.cross_entropy_grad' op expects logits of shape [R, V] and labels of shape [R], got 'tensor<3x128xf32>' and 'tensor<4xi32>'}}
  %d = ds.cross_entropy_grad %x, %labels, %s smoothing 0.0 : tensor<3x128xf32>, tensor<4xi32>, tensor<1xf32>
  return
}

// -----

func.func @cross_entropy_grad_c1_rank(%x: tensor<?x?x128xf32>, %labels: tensor<?xi32>, %s: tensor<1xf32>) {
  // expected-error @+1 {{'ds.cross_entropy_grad' op expects logits of shape [R, V] and labels of shape [R], got 'tensor<?x?x128xf32>' and 'tensor<?xi32>'}}
  %d = ds.cross_entropy_grad %x, %labels, %s smoothing 0.0 : tensor<?x?x128xf32>, tensor<?xi32>, tensor<1xf32>
  return
}

// -----

func.func @cross_entropy_grad_c1_dynamic(%x: tensor<?x?xf32>, %labels: tensor<?xi32>, %s: tensor<1xf32>) {
  // expected-error @+1 {{expects logits of shape [R, V] and labels of shape [R], got 'tensor<?x?xf32>'}}
  %d = ds.cross_entropy_grad %x, %labels, %s smoothing 0.0 : tensor<?x?xf32>, tensor<?xi32>, tensor<1xf32>
  return
}

// -----

func.func @cross_entropy_grad_c1_smoothing(%x: tensor<?x128xf32>, %labels: tensor<?xi32>, %s: tensor<1xf32>) {
  // expected-error @+1 {{'ds.cross_entropy_grad' op expects smoothing of 0 to less than 1}}
  %d = ds.cross_entropy_grad %x, %labels, %s smoothing 1.0 : tensor<?x128xf32>, tensor<?xi32>, tensor<1xf32>
  return
}

// -----

func.func @cross_entropy_c1_output(%x: tensor<?x128xf32>, %labels: tensor<?xi32>) {
  // expected-error @+1 {{'ds.cross_entropy' op expects output of shape [R, 1], got 'tensor<?xf32>'}}
  %l = ds.cross_entropy %x, %labels smoothing 0.0 : tensor<?x128xf32>, tensor<?xi32> -> tensor<?xf32>
  return
}

// -----

func.func @cross_entropy_grad_c1_scale(%x: tensor<?x128xf32>, %labels: tensor<?xi32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{'ds.cross_entropy_grad' op expects scale of shape [1], got 'tensor<2xf32>'}}
  %d = ds.cross_entropy_grad %x, %labels, %s smoothing 0.0 : tensor<?x128xf32>, tensor<?xi32>, tensor<2xf32>
  return
}

// -----

func.func @scale_c1_index(%x: tensor<?x?x64xf32>, %s: tensor<3xf32>) {
  // expected-error @+1 {{'ds.scale' op expects a control of shape [L] with 3 < L, got 'tensor<3xf32>'}}
  %y = ds.scale %x by %s at 3 : tensor<?x?x64xf32>, tensor<3xf32>
  return
}

// -----

func.func @scale_c1_rank(%x: tensor<?x?x64xf32>, %s: tensor<1x12xf32>) {
  // expected-error @+1 {{'ds.scale' op expects a control of shape [L] with 3 < L, got 'tensor<1x12xf32>'}}
  %y = ds.scale %x by %s at 3 : tensor<?x?x64xf32>, tensor<1x12xf32>
  return
}

// -----

func.func @dropout_c1(%x: tensor<?x?x64xf32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'ds.dropout' op expects rate of 0 to less than 1}}
  %y = ds.dropout %x, %s rate 1.0 site 0 : tensor<?x?x64xf32>, tensor<2xi32>
  return
}

// -----

func.func @dropout_c1_negative(%x: tensor<?x?x64xf32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'ds.dropout' op expects rate of 0 to less than 1}}
  %y = ds.dropout %x, %s rate -0.1 site 0 : tensor<?x?x64xf32>, tensor<2xi32>
  return
}

// -----

func.func @dropout_c2(%x: tensor<?x?x64xf32>, %s: tensor<4xi32>) {
  // expected-error @+1 {{'ds.dropout' op expects seed of shape [2], got 'tensor<4xi32>'}}
  %y = ds.dropout %x, %s rate 0.1 site 0 : tensor<?x?x64xf32>, tensor<4xi32>
  return
}

// -----

func.func @dropout_c2_type(%x: tensor<?x?x64xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{'ds.dropout' op operand #1 must be ranked tensor of 32-bit signless integer values, but got 'tensor<2xf32>'}}
  %y = ds.dropout %x, %s rate 0.1 site 0 : tensor<?x?x64xf32>, tensor<2xf32>
  return
}

// -----

func.func @dropout_c3(%x: tensor<?x?x64xf32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'ds.dropout' op expects site of 0 to less than 2^32, got -1}}
  %y = ds.dropout %x, %s rate 0.1 site -1 : tensor<?x?x64xf32>, tensor<2xi32>
  return
}

// -----

func.func @attention_c5_rate(%q: tensor<?x?x64xf32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'ds.attention' op expects rate of 0 to less than 1}}
  %y = ds.attention %q, %q, %q dropout %s : tensor<2xi32> rate 1.0 site 0 heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_c5_alone(%q: tensor<?x?x64xf32>) {
  // expected-error @+1 {{'ds.attention' op expects seed, rate and site of dropout to come together}}
  %y = ds.attention %q, %q, %q heads 4 kv_heads 4 scale 0.25 {rate = 1.0e-1} : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_c5_past(%q: tensor<?x?x64xf32>, %p: tensor<?xi32>, %s: tensor<2xi32>) {
  // expected-error @+1 {{'ds.attention' op expects no dropout with past}}
  %y = ds.attention %q, %q, %q past %p : tensor<?xi32> dropout %s : tensor<2xi32> rate 0.1 site 0 heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @attention_grad_c2(%q: tensor<?x?x64xf32>, %s: tensor<3xi32>) {
  // expected-error @+1 {{'ds.attention_grad' op expects seed of shape [2], got 'tensor<3xi32>'}}
  %dq, %dk, %dv = ds.attention_grad %q, %q, %q, %q dropout %s : tensor<3xi32> rate 0.1 site 0 heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @switch_c1_index(%x: tensor<?x?x64xf32>, %g: tensor<12xi32>) {
  // expected-error @+1 {{'ds.switch' op expects a control of shape [L] with -1 < L, got 'tensor<12xi32>'}}
  %y = ds.switch %g at -1, %x, %x : tensor<12xi32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @switch_c1_dynamic(%x: tensor<?x?x64xf32>, %g: tensor<?xi32>) {
  // expected-error @+1 {{'ds.switch' op expects a control of shape [L] with 0 < L, got 'tensor<?xi32>'}}
  %y = ds.switch %g at 0, %x, %x : tensor<?xi32>, tensor<?x?x64xf32>
  return
}

// -----

func.func @accumulate_gradient_c1_unknown(%dw: tensor<192x64xf32>) {
  // expected-error @+1 {{'ds.accumulate_gradient' op expects a ds.parameter named @none}}
  ds.accumulate_gradient @none, %dw : tensor<192x64xf32>
  return
}

// -----

ds.parameter @w from "w" : tensor<192x64xf32>
func.func @accumulate_gradient_c1_type(%dw: tensor<64x192xf32>) {
  // expected-error @+1 {{'ds.accumulate_gradient' op expects a gradient of type 'tensor<192x64xf32>', got 'tensor<64x192xf32>'}}
  ds.accumulate_gradient @w, %dw : tensor<64x192xf32>
  return
}

// -----

ds.parameter @w from "w" : tensor<192x64xf32>
func.func @accumulate_gradient_c2_gate(%dw: tensor<192x64xf32>, %g: tensor<3xi32>) {
  // expected-error @+1 {{'ds.accumulate_gradient' op expects a control of shape [L] with 3 < L, got 'tensor<3xi32>'}}
  ds.accumulate_gradient @w, %dw gate 3 of %g : tensor<192x64xf32>, tensor<3xi32>
  return
}

// -----

ds.parameter @w from "w" : tensor<192x64xf32>
func.func @accumulate_gradient_c2_together(%dw: tensor<192x64xf32>, %g: tensor<3xi32>) {
  // expected-error @+1 {{'ds.accumulate_gradient' op expects gate and gates to come together}}
  "ds.accumulate_gradient"(%dw, %g) {parameter = @w} : (tensor<192x64xf32>, tensor<3xi32>) -> ()
  return
}

// -----

func.func @gradient_norms_c1_rows() {
  // expected-error @+1 {{'ds.gradient_norms' op result #0 must be row [1, N] of floats, but got 'tensor<2x37xf32>'}}
  %n = ds.gradient_norms : tensor<2x37xf32>
  return
}

// -----

func.func @gradient_norms_c1_count() {
  // expected-error @+1 {{'ds.gradient_norms' op result #0 must be row [1, N] of floats, but got 'tensor<1x?xf32>'}}
  %n = ds.gradient_norms : tensor<1x?xf32>
  return
}

// -----

func.func @optimizer_update_c1_controls(%c: tensor<1x37xf32>, %h: tensor<1x8xf32>) {
  // expected-error @+1 {{'ds.optimizer_update' op expects coefficients of shape [1, N], controls of [1, 5 N] and hyper of [1, 8], got 'tensor<1x37xf32>', 'tensor<1x37xf32>' and 'tensor<1x8xf32>'}}
  %r = ds.optimizer_update lamb %c, %h : tensor<1x37xf32>, tensor<1x8xf32> -> tensor<1x37xf32>
  return
}

// -----

func.func @optimizer_update_c1_hyper(%c: tensor<1x185xf32>, %h: tensor<8xf32>) {
  // expected-error @+1 {{'ds.optimizer_update' op expects coefficients of shape [1, N], controls of [1, 5 N] and hyper of [1, 8], got 'tensor<1x37xf32>', 'tensor<1x185xf32>' and 'tensor<8xf32>'}}
  %r = ds.optimizer_update lamb %c, %h : tensor<1x185xf32>, tensor<8xf32> -> tensor<1x37xf32>
  return
}

// -----

func.func @optimizer_update_c1_coefficients(%c: tensor<1x185xf32>, %h: tensor<1x8xf32>) {
  // expected-error @+1 {{'ds.optimizer_update' op expects coefficients of shape [1, N], controls of [1, 5 N] and hyper of [1, 8], got 'tensor<37xf32>', 'tensor<1x185xf32>' and 'tensor<1x8xf32>'}}
  %r = ds.optimizer_update lamb %c, %h : tensor<1x185xf32>, tensor<1x8xf32> -> tensor<37xf32>
  return
}

// -----

func.func @round_c1(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'ds.round' op expects target to be bf16 or f16, got 'f64'}}
  %y = ds.round %x to f64 : tensor<?x64xf32>
  return
}

// -----

func.func @linear_c5(%x: tensor<?x64xf32>, %w: tensor<32x64xf32>) {
  // expected-error @+1 {{'ds.linear' op expects a weight of floats rounded to bf16 or f16, got 'tensor<32x64xf32>' to 'f32'}}
  %y = ds.linear %x, %w rounded f32 : tensor<?x64xf32>, tensor<32x64xf32>
  return
}
