// RUN: ds-opt --ds-differentiate %s | FileCheck %s
// RUN: ds-opt --ds-differentiate=recompute=all %s | FileCheck --check-prefix=AGAIN %s
// RUN: ds-opt --ds-differentiate=recompute=1 %s | FileCheck --check-prefix=AGAIN %s
// RUN: not ds-opt --ds-differentiate=recompute=2 %s 2>&1 | FileCheck --check-prefix=MANY %s
// RUN: not ds-opt --ds-differentiate=recompute=some %s 2>&1 | FileCheck --check-prefix=SOME %s
// RUN: ds-opt --ds-differentiate=recompute=all --mlir-print-debuginfo --mlir-print-local-scope %s | FileCheck --check-prefix=PLACES %s
// MANY: expects recompute to be none, all or a number of at most 1 layers, got '2'
// SOME: expects recompute to be none, all or a number of at most 1 layers, got 'some'

/// The table is a head as well: each use adds to its gradient. Each addition stands behind what it adds.
// CHECK-LABEL: func.func @step
// CHECK-SAME:    (%[[IDS:.*]]: tensor<?x?xi32> {ds.name = "input_ids"}, %[[ROWS:.*]]: tensor<?xi32> {ds.name = "rows"}, %[[LABELS:.*]]: tensor<?xi32> {ds.name = "labels"},
// CHECK-SAME:     %[[LOSS_SCALE:.*]]: tensor<1xf32> {ds.name = "loss_scale"}, %[[GATES:.*]]: tensor<1xi32> {ds.name = "layer_gates"}, %[[SCALES:.*]]: tensor<1xf32> {ds.name = "layer_scales"})
// CHECK-NEXT:    %[[TABLE:.*]] = ds.weight @embed
// CHECK-NEXT:    %[[X:.*]] = ds.embedding %[[IDS]], %[[TABLE]]
// CHECK-NOT:     ds.layer
// CHECK:         %[[N:.*]] = ds.layer_norm %[[X]]
// CHECK:         %[[A:.*]] = ds.linear %[[N]]
// CHECK-NEXT:    %[[B:.*]] = ds.gelu erf %[[A]]
// CHECK-NEXT:    %[[C:.*]] = ds.scale %[[B]] by %[[SCALES]] at 0
// CHECK-NEXT:    %[[D:.*]] = ds.add %[[C]], %[[X]]
// CHECK-NEXT:    %[[Y:.*]] = ds.switch %[[GATES]] at 0, %[[D]], %[[X]]
// CHECK-NEXT:    %[[CHOSEN:.*]] = ds.gather_rows %[[Y]], %[[ROWS]]
// CHECK-NEXT:    %[[LOGITS:.*]] = ds.linear %[[CHOSEN]], %[[TABLE]]
// CHECK-NEXT:    %[[LOSS:.*]] = ds.cross_entropy %[[LOGITS]], %[[LABELS]] smoothing 1.25{{.*}}
// CHECK-NEXT:    %[[DLOGITS:.*]] = ds.cross_entropy_grad %[[LOGITS]], %[[LABELS]], %[[LOSS_SCALE]] smoothing 1.25{{.*}}
// CHECK-NEXT:    %[[DHEAD:.*]] = ds.linear_weight_grad %[[CHOSEN]], %[[DLOGITS]] {{.*}} -> tensor<128x64xf32>
// CHECK-NEXT:    ds.accumulate_gradient @embed, %[[DHEAD]] : tensor<128x64xf32>
// CHECK-NEXT:    %[[DCHOSEN:.*]] = ds.linear %[[DLOGITS]], %[[TABLE]] transposed
// CHECK-NEXT:    %[[DY:.*]] = ds.gather_rows_grad %[[Y]], %[[ROWS]], %[[DCHOSEN]]
// CHECK-NEXT:    %[[DB:.*]] = ds.scale %[[DY]] by %[[SCALES]] at 0
// CHECK-NEXT:    %[[DA:.*]] = ds.gelu_grad erf %[[A]], %[[DB]]
// CHECK-NEXT:    %[[DW:.*]] = ds.linear_weight_grad %[[N]], %[[DA]]
// CHECK-NEXT:    ds.accumulate_gradient @w, %[[DW]] gate 0 of %[[GATES]]
// CHECK-NEXT:    %[[DBIAS:.*]] = ds.column_sum %[[DA]]
// CHECK-NEXT:    ds.accumulate_gradient @bias, %[[DBIAS]] gate 0 of %[[GATES]]
// CHECK-NEXT:    %[[DN:.*]] = ds.linear %[[DA]], %{{.*}} transposed
// CHECK-NEXT:    %[[DX:.*]], %[[NORMALIZED:.*]] = ds.layer_norm_grad %[[X]], %{{.*}}, %[[DN]]
// CHECK-NEXT:    %[[PRODUCT:.*]] = ds.mul %[[DN]], %[[NORMALIZED]]
// CHECK-NEXT:    %[[DGAIN:.*]] = ds.column_sum %[[PRODUCT]]
// CHECK-NEXT:    ds.accumulate_gradient @gain, %[[DGAIN]] gate 0 of %[[GATES]]
// CHECK-NEXT:    %[[SUM:.*]] = ds.add %[[DY]], %[[DX]]
// CHECK-NEXT:    %[[DIN:.*]] = ds.switch %[[GATES]] at 0, %[[SUM]], %[[DY]]
// CHECK-NEXT:    %[[DTABLE:.*]] = ds.embedding_grad %[[IDS]], %[[DIN]]
// CHECK-NEXT:    ds.accumulate_gradient @embed, %[[DTABLE]] : tensor<128x64xf32>
// CHECK-NEXT:    return %[[LOSS]]

/// What the layer computed is computed again, but for what no gradient reads.
// AGAIN-LABEL: func.func @step
// AGAIN:         %[[X:.*]] = ds.embedding
// AGAIN:         ds.layer_norm %[[X]]
// AGAIN:         %[[Y:.*]] = ds.switch
// AGAIN:         %[[DY:.*]] = ds.gather_rows_grad
// AGAIN:         %[[AGAIN:.*]] = ds.optimization_barrier %[[X]] after %[[DY]] {ds.recomputed}
// AGAIN:         %[[N:.*]] = ds.layer_norm %[[AGAIN]], {{.*}} {ds.recomputed}
// AGAIN:         %[[A:.*]] = ds.linear %[[N]]
// AGAIN-NEXT:    %[[DB:.*]] = ds.scale %[[DY]]
// AGAIN-NEXT:    ds.gelu_grad erf %[[A]], %[[DB]]
// AGAIN-NEXT:    ds.linear_weight_grad %[[N]]

/// What stands behind the loss is of the backward pass of its module, also what is computed again.
// PLACES:         module attributes {ds.recomputed_layers = 1 : i64}
// PLACES:         ds.gelu erf {{.*}} loc("h.act")
// PLACES:         ds.cross_entropy_grad {{.*}} loc("{{.*}}"
// PLACES:         ds.linear {{.*}} loc("h.fc"("backward"))
// PLACES:         ds.gelu_grad erf {{.*}} loc("h.act"("backward"))
// PLACES:         ds.linear_weight_grad {{.*}} loc("h.fc"("backward"))
module {
  ds.parameter @embed from "embed" : tensor<128x64xf32>
  ds.parameter @gain from "gain" : tensor<64xf32>
  ds.parameter @w from "w" : tensor<64x64xf32>
  ds.parameter @bias from "bias" : tensor<64xf32>
  ds.parameter @fixed value dense<1.0> : tensor<64xf32> : tensor<64xf32>
  func.func @step(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %rows: tensor<?xi32> {ds.name = "rows"},
                  %labels: tensor<?xi32> {ds.name = "labels"}, %gates: tensor<1xi32> {ds.name = "layer_gates"},
                  %scales: tensor<1xf32> {ds.name = "layer_scales"}) -> (tensor<?x1xf32> {ds.name = "loss"}) {
    %e = ds.weight @embed : tensor<128x64xf32>
    %x = ds.embedding %ids, %e : tensor<?x?xi32>, tensor<128x64xf32>
    %y = ds.layer "h.0"(%x) {ds.gate = 0 : i64} : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%h: tensor<?x?x64xf32>):
      %g = ds.weight @gain : tensor<64xf32>
      %f = ds.weight @fixed : tensor<64xf32>
      %n = ds.layer_norm %h, %g bias %f eps 1.0e-5 : tensor<?x?x64xf32>, tensor<64xf32>, tensor<64xf32>
      %w = ds.weight @w : tensor<64x64xf32>
      %b = ds.weight @bias : tensor<64xf32>
      %a = ds.linear %n, %w bias %b : tensor<?x?x64xf32>, tensor<64x64xf32>, tensor<64xf32> loc("h.fc")
      %r = ds.gelu erf %a : tensor<?x?x64xf32> loc("h.act")
      %c = ds.scale %r by %scales at 0 : tensor<?x?x64xf32>, tensor<1xf32>
      %s = ds.add %c, %h : tensor<?x?x64xf32>
      ds.yield %s : tensor<?x?x64xf32>
    }
    %z = ds.gather_rows %y, %rows : tensor<?x?x64xf32>, tensor<?xi32>
    %l = ds.linear %z, %e : tensor<?x64xf32>, tensor<128x64xf32>
    %loss = ds.cross_entropy %l, %labels smoothing 0.125 : tensor<?x128xf32>, tensor<?xi32> -> tensor<?x1xf32>
    return %loss : tensor<?x1xf32>
  }
}
