// RUN: ds-opt --ds-round-operands --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: ds-opt --ds-round-operands=target=f16 --split-input-file --verify-diagnostics %s | FileCheck --check-prefix=F16 %s
// RUN: not ds-opt --ds-round-operands=target=f8 %s 2>&1 | FileCheck --check-prefix=TARGET %s
// TARGET: expects target to be bf16 or f16, got 'f8'

/// Embedded rows, what products and attention multiply, what the gradient of gelu keeps, and logits; not the norm's input on the way
/// forward. The sum for the bias reads what the products beside it read.
// CHECK-LABEL: func.func @step
// CHECK:         %[[E:.*]] = ds.embedding
// CHECK-NEXT:    %[[X:.*]] = ds.round %[[E]] to bf16
// CHECK-NEXT:    %[[N:.*]] = ds.rms_norm %[[X]]
// CHECK-NEXT:    %[[NR:.*]] = ds.round %[[N]] to bf16
// CHECK-NEXT:    %[[H:.*]] = ds.linear %[[NR]], %{{.*}} rounded bf16 bias
// CHECK-NEXT:    %[[HR:.*]] = ds.round %[[H]] to bf16
// CHECK-NEXT:    %[[A:.*]] = ds.attention %[[HR]], %[[HR]], %[[HR]] heads
// CHECK-NEXT:    %[[S:.*]] = ds.add %[[A]], %[[X]]
// CHECK-NEXT:    %[[SR:.*]] = ds.round %[[S]] to bf16
// CHECK-NEXT:    %[[G:.*]] = ds.gelu {{ *}}erf %[[S]]
// CHECK-NEXT:    %[[ROWS:.*]] = ds.gather_rows %[[G]]
// CHECK-NEXT:    %[[RR:.*]] = ds.round %[[ROWS]] to bf16
// CHECK-NEXT:    %[[L:.*]] = ds.linear %[[RR]], %{{.*}} rounded bf16 :
// CHECK-NEXT:    %[[LR:.*]] = ds.round %[[L]] to bf16
// CHECK-NEXT:    %[[LOSS:.*]] = ds.cross_entropy %[[LR]]
// CHECK-NEXT:    %[[D:.*]] = ds.cross_entropy_grad %[[LR]]
// CHECK-NEXT:    %[[DR:.*]] = ds.round %[[D]] to bf16
// CHECK-NEXT:    ds.linear_weight_grad %[[RR]], %[[DR]]
// CHECK-NEXT:    %[[DX:.*]] = ds.linear %[[DR]], %{{.*}} transposed rounded bf16
// CHECK-NEXT:    %[[DG:.*]] = ds.gather_rows_grad %[[G]], %{{.*}}, %[[DX]]
// CHECK-NEXT:    %[[DS:.*]] = ds.gelu_grad {{ *}}erf %[[SR]], %[[DG]]
// CHECK-NEXT:    %[[DSR:.*]] = ds.round %[[DS]] to bf16
// CHECK-NEXT:    %[[DQ:.*]], %{{.*}}, %{{.*}} = ds.attention_grad %[[HR]], %[[HR]], %[[HR]], %[[DSR]]
// CHECK-NEXT:    %[[DQR:.*]] = ds.round %[[DQ]] to bf16
// CHECK-NEXT:    ds.column_sum %[[DQR]]
// CHECK-NEXT:    %[[DN:.*]] = ds.linear %[[DQR]], %{{.*}} transposed rounded bf16
// CHECK-NEXT:    ds.rms_norm_grad %[[X]], %{{.*}}, %[[DN]]
// CHECK-NEXT:    return %[[LOSS]]
// CHECK-LABEL: func.func @evaluate
// CHECK:         ds.layer
// CHECK:           %[[I:.*]] = ds.round %{{.*}} to bf16
// CHECK:           ds.linear %[[I]], %{{.*}} rounded bf16
// F16:           ds.linear %{{.*}}, %{{.*}} rounded f16 bias
// F16-NOT:       bf16
module {
  ds.parameter @t from "t" : tensor<16x64xf32>
  ds.parameter @g from "g" : tensor<64xf32>
  ds.parameter @w from "w" : tensor<64x64xf32>
  ds.parameter @b from "b" : tensor<64xf32>
  func.func @step(%ids: tensor<?x?xi32>, %rows: tensor<?xi32>, %labels: tensor<?xi32>, %scale: tensor<1xf32>) -> tensor<?x1xf32> {
    %t = ds.weight @t : tensor<16x64xf32>
    %g = ds.weight @g : tensor<64xf32>
    %w = ds.weight @w : tensor<64x64xf32>
    %b = ds.weight @b : tensor<64xf32>
    %e = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<16x64xf32>
    %n = ds.rms_norm %e, %g eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    %h = ds.linear %n, %w bias %b : tensor<?x?x64xf32>, tensor<64x64xf32>, tensor<64xf32>
    %a = ds.attention %h, %h, %h heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    %s = ds.add %a, %e : tensor<?x?x64xf32>
    %f = ds.gelu erf %s : tensor<?x?x64xf32>
    %r = ds.gather_rows %f, %rows : tensor<?x?x64xf32>, tensor<?xi32>
    %l = ds.linear %r, %t : tensor<?x64xf32>, tensor<16x64xf32>
    %loss = ds.cross_entropy %l, %labels smoothing 0.0 : tensor<?x16xf32>, tensor<?xi32> -> tensor<?x1xf32>
    %dl = ds.cross_entropy_grad %l, %labels, %scale smoothing 0.0 : tensor<?x16xf32>, tensor<?xi32>, tensor<1xf32>
    %dt = ds.linear_weight_grad %r, %dl : tensor<?x64xf32>, tensor<?x16xf32> -> tensor<16x64xf32>
    %dr = ds.linear %dl, %t transposed : tensor<?x16xf32>, tensor<16x64xf32>
    %df = ds.gather_rows_grad %f, %rows, %dr : tensor<?x?x64xf32>, tensor<?xi32>, tensor<?x64xf32>
    %ds = ds.gelu_grad erf %s, %df : tensor<?x?x64xf32>
    %dq, %dk, %dv = ds.attention_grad %h, %h, %h, %ds heads 4 kv_heads 4 scale 0.25 : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    %db = ds.column_sum %dq : tensor<?x?x64xf32> -> tensor<64xf32>
    %dn = ds.linear %dq, %w transposed : tensor<?x?x64xf32>, tensor<64x64xf32>
    %dx, %u = ds.rms_norm_grad %e, %g, %dn eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>
    return %loss : tensor<?x1xf32>
  }
  func.func @evaluate(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    %y = ds.layer "layer"(%x) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%i: tensor<?x?x64xf32>):
      %w = ds.weight @w : tensor<64x64xf32>
      %h = ds.linear %i, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
      ds.yield %h : tensor<?x?x64xf32>
    }
    return %y : tensor<?x?x64xf32>
  }
}

// -----

// expected-error@+1 {{expects a function @step to round operands in}}
module @negative_nothing_trained {
}
