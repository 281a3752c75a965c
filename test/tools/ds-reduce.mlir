// RUN: echo '#!/bin/sh' > %t.sh && echo 'grep -q ds.tanh "$1" && exit 1 || exit 0' >> %t.sh && chmod +x %t.sh
// RUN: ds-reduce %s --reduction-tree='traversal-mode=0 test=%t.sh' | FileCheck %s

/// What the script does not ask for goes.
// CHECK-NOT: ds.relu
// CHECK:     ds.tanh
// CHECK-NOT: ds.silu
// CHECK-NOT: @other
func.func @other(%x: tensor<2xf32>) {
  return
}

func.func @interesting(%x: tensor<2xf32>) -> tensor<2xf32> {
  %y = ds.relu %x : tensor<2xf32>
  %z = ds.tanh %x : tensor<2xf32>
  %w = ds.silu %y : tensor<2xf32>
  return %z : tensor<2xf32>
}
