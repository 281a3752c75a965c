// RUN: ds-opt --ds-insert-dropout --split-input-file --verify-diagnostics %s | FileCheck %s

/// Every reader of a marked result, in a layer or behind it, reads what is left of it.
// CHECK-LABEL: func.func @step
// CHECK-SAME:    %{{.*}}: tensor<?x?xi32> {ds.name = "input_ids"}, %[[SEED:.*]]: tensor<2xi32> {ds.name = "dropout_seed"})
// CHECK:         %[[E:.*]] = ds.embedding %{{.*}}, %{{.*}} : tensor
// CHECK-NEXT:    %[[D:.*]] = ds.dropout %[[E]], %[[SEED]] rate 1.0{{.*}}e-01 site 0 : tensor<?x?x64xf32>, tensor<2xi32>
// CHECK-NEXT:    ds.layer "h.0"(%[[D]])
// CHECK-NEXT:    ^bb0(%[[X:.*]]: tensor<?x?x64xf32>):
// CHECK-NEXT:      %[[A:.*]] = ds.linear %[[X]], %{{.*}} : tensor
// CHECK-NEXT:      %[[B:.*]] = ds.dropout %[[A]], %[[SEED]] rate 2.5{{.*}}e-01 site 1
// CHECK-NEXT:      %[[Y:.*]] = ds.add %[[B]], %[[X]]
// CHECK-NEXT:      ds.yield %[[Y]]
// CHECK:         ds.add %{{.*}}, %[[D]]
// CHECK-LABEL: func.func @evaluate
// CHECK-NOT:     ds.dropout
module {
  ds.parameter @e from "e" : tensor<9x64xf32>
  ds.parameter @w from "w" : tensor<64x64xf32>
  func.func @step(%ids: tensor<?x?xi32> {ds.name = "input_ids"}) -> tensor<?x?x64xf32> {
    %e = ds.weight @e : tensor<9x64xf32>
    %w = ds.weight @w : tensor<64x64xf32>
    %0 = ds.embedding %ids, %e {ds.dropout = 1.0e-1} : tensor<?x?xi32>, tensor<9x64xf32>
    %1 = ds.layer "h.0"(%0) : (tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    ^bb0(%x: tensor<?x?x64xf32>):
      %a = ds.linear %x, %w {ds.dropout = 2.5e-1} : tensor<?x?x64xf32>, tensor<64x64xf32>
      %y = ds.add %a, %x : tensor<?x?x64xf32>
      ds.yield %y : tensor<?x?x64xf32>
    }
    %2 = ds.add %1, %0 : tensor<?x?x64xf32>
    return %2 : tensor<?x?x64xf32>
  }
  func.func @evaluate(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    %y = ds.relu %x {ds.dropout = 1.0e-1} : tensor<?x?x64xf32>
    return %y : tensor<?x?x64xf32>
  }
}

// -----

/// Attention loses weights, and its result stays whole.
// CHECK-LABEL: func.func @step
// CHECK-SAME:    %[[X:.*]]: tensor<?x?x64xf32>, %[[SEED:.*]]: tensor<2xi32> {ds.name = "dropout_seed"})
// CHECK-NEXT:    %[[A:.*]] = ds.attention %[[X]], %[[X]], %[[X]] dropout %[[SEED]] : tensor<2xi32> rate 1.0{{.*}}e-01 site 0 heads 4 kv_heads 4 scale 2.5{{.*}}e-01 : tensor
// CHECK-NEXT:    %[[Y:.*]] = ds.relu %[[A]]
// CHECK-NEXT:    ds.dropout %[[Y]], %[[SEED]] rate 2.0{{.*}}e-01 site 1
module {
  func.func @step(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    %a = ds.attention %x, %x, %x heads 4 kv_heads 4 scale 0.25 {ds.dropout = 1.0e-1} : tensor<?x?x64xf32>, tensor<?x?x64xf32>
    %y = ds.relu %a {ds.dropout = 2.0e-1} : tensor<?x?x64xf32>
    return %y : tensor<?x?x64xf32>
  }
}

// -----

/// Without marks a step has no seed.
// CHECK-LABEL: func.func @step
// CHECK-SAME:    (%{{[^,]*}}: tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
// CHECK-NEXT:    ds.relu
// CHECK-NEXT:    return
module @negative_no_marks {
  func.func @step(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    %y = ds.relu %x : tensor<?x?x64xf32>
    return %y : tensor<?x?x64xf32>
  }
}

// -----

// expected-error@+1 {{expects a function @step to drop elements in}}
module @negative_no_step {
}

// -----

module @negative_no_rate {
  func.func @step(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
    // expected-error@+1 {{expects ds.dropout to be the f64 rate of one result, got 1 : i64}}
    %y = ds.relu %x {ds.dropout = 1} : tensor<?x?x64xf32>
    return %y : tensor<?x?x64xf32>
  }
}
