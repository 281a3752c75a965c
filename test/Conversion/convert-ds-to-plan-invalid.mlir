// RUN: ds-opt --convert-ds-to-plan --split-input-file --verify-diagnostics %s

// expected-error@+1 {{expects max_positions of 1 to 16777216 in ds.model}}
module @no_model {
}

// -----

// expected-error@+1 {{expects an offset of 0 to 16777216 in ds.positions, got -1}}
module @negative_offset attributes {ds.model = {max_positions = 32}, ds.positions = {offset = -1}} {
}

// -----

module attributes {ds.model = {max_positions = 32}} {
  // expected-error@+1 {{expects argument 0 to be i32 of rank 1 or 2 with a ds.name, got 'tensor<?x?x64xf32>'}}
  func.func @float_argument(%x: tensor<?x?x64xf32> {ds.name = "input_ids"}) {
    return
  }
}

// -----

module attributes {ds.model = {max_positions = 32}} {
  ds.parameter @w from "w" : tensor<64xf32>
  // expected-error@+1 {{expects result "hidden" to be computed by the function}}
  func.func @weight_result() -> (tensor<64xf32> {ds.name = "hidden"}) {
    %0 = ds.weight @w : tensor<64xf32>
    return %0 : tensor<64xf32>
  }
}

// -----

/// A weight is packed, so a kernel of rows cannot read it.
module attributes {ds.model = {max_positions = 32}} {
  ds.parameter @w from "w" : tensor<64x64xf32>
  func.func @weight_as_rows() -> (tensor<64x64xf32> {ds.name = "hidden"}) {
    %0 = ds.weight @w : tensor<64x64xf32>
    // expected-error@+1 {{expects operand 0 to be an activation or an input}}
    %1 = ds.relu %0 : tensor<64x64xf32>
    return %1 : tensor<64x64xf32>
  }
}

// -----

/// The weight of a linear is packed before anything runs.
module attributes {ds.model = {max_positions = 32}} {
  ds.parameter @w from "w" : tensor<64x64xf32>
  ds.parameter @t from "t" : tensor<128x64xf32>
  func.func @computed_weight(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %rows: tensor<64xi32> {ds.name = "rows"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %t = ds.weight @t : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    %w = ds.embedding %rows, %t : tensor<64xi32>, tensor<128x64xf32>
    // expected-error@+1 {{expects operand 1 to be a weight}}
    %y = ds.linear %x, %w : tensor<?x?x64xf32>, tensor<64x64xf32>
    return %y : tensor<?x?x64xf32>
  }
}

// -----

module attributes {ds.model = {max_positions = 32}} {
  ds.parameter @t from "t" : tensor<128x64xf32>
  func.func @integers(%ids: tensor<?x?xi32> {ds.name = "input_ids"}) -> (tensor<2x64xf32> {ds.name = "hidden"}) {
    %t = ds.weight @t : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    // expected-error@+1 {{expects a constant of f32 of rank 1 or 2, got 'tensor<2xi32>'}}
    %rows = ds.constant dense<[1, 2]> : tensor<2xi32>
    %y = ds.gather_rows %x, %rows : tensor<?x?x64xf32>, tensor<2xi32>
    return %y : tensor<2x64xf32>
  }
}

// -----

/// Keys and values lie differently.
module attributes {ds.model = {max_positions = 32}} {
  ds.cache @c : tensor<?x32x64xf32>
  ds.parameter @t from "t" : tensor<128x64xf32>
  func.func @one_cache_for_both(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %past: tensor<?xi32> {ds.name = "past"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %t = ds.weight @t : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    %c = ds.cache_append @c, %x past %past : tensor<?x?x64xf32>, tensor<?xi32> -> tensor<?x32x64xf32>
    // expected-error@+1 {{expects cache @c to be read as keys of 2 heads everywhere}}
    %y = ds.attention %x, %c, %c past %past : tensor<?xi32> heads 2 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x32x64xf32>
    return %y : tensor<?x?x64xf32>
  }
}

// -----

/// Nothing says how a cache that attention does not read would lie.
module attributes {ds.model = {max_positions = 32}} {
  ds.cache @c : tensor<?x32x64xf32>
  ds.parameter @t from "t" : tensor<128x64xf32>
  func.func @cache_without_reader(%ids: tensor<?x?xi32> {ds.name = "input_ids"}, %past: tensor<?xi32> {ds.name = "past"})
      -> (tensor<?x?x64xf32> {ds.name = "hidden"}) {
    %t = ds.weight @t : tensor<128x64xf32>
    %x = ds.embedding %ids, %t : tensor<?x?xi32>, tensor<128x64xf32>
    // expected-error@+1 {{expects a cache that attention reads, got @c}}
    %c = ds.cache_append @c, %x past %past : tensor<?x?x64xf32>, tensor<?xi32> -> tensor<?x32x64xf32>
    return %x : tensor<?x?x64xf32>
  }
}
