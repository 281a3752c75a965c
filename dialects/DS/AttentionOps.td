// Attention, rotary positions, and the cache of keys and values.

def DS_RopeOp : DS_Op<"rope",
    [Pure, AllTypesMatch<["input", "output"]>, DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "rotary position embedding";
  let description = [{
    Turns pairs of the first `rotary` elements of each head by `positions[b, t] * frequency[i]`; the rest passes through.
    `frequency[i] = base^(-2 i / rotary)`, stretched by `scaling`, rounded to f32; the angle is rounded to f32 as well.
    `half` pairs `(i, i + rotary / 2)`, `interleaved` pairs `(2 i, 2 i + 1)`; `(a, b)` becomes `(a cos - b sin, b cos + a sin)`. With
    `inverse` it turns back, which is also its gradient.
    - (C1) `input` is `[B, T, heads * D]` and `positions` is `[B, T]`.
    - (C2) `rotary` is even, positive and at most `D`.
    - (C3) `base` is positive.
    ```mlir
    %y = ds.rope half %x, %pos heads 4 rotary 16 base 1.0e4 : tensor<?x?x64xf32>, tensor<?x?xi32>
    ```
    Source: Su et al. 2021, arXiv:2104.09864.
  }];
  let arguments = (ins DS_FloatTensor:$input, DS_IntTensor:$positions, DS_RopeStyleAttr:$style, I64Attr:$heads, I64Attr:$rotary,
                       F64Attr:$base, OptionalAttr<DS_RopeScalingAttr>:$scaling, UnitAttr:$inverse);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = [{
    $style $input `,` $positions `heads` $heads `rotary` $rotary `base` $base (`scaling` $scaling^)? (`inverse` $inverse^)?
    attr-dict
    `:` type($input) `,` type($positions)
  }];
  let hasVerifier = 1;
}

def DS_AttentionOp : DS_Op<"attention",
    [Pure, AttrSizedOperandSegments, AllTypesMatch<["query", "output"]>, AllTypesMatch<["key", "value"]>,
     DeclareOpInterfaceMethods<DifferentiableOpInterface>]> {
  let summary = "scaled dot-product attention with grouped heads";
  let description = [{
    For query head `h` and its key head `g = h / (heads / kv_heads)`:
    `score[t, s] = scale * dot(query[t, h], key[s, g]) + slopes[h] * s`, `output[t, h] = softmax(score[t, :]) @ value[:, g]`, in f32.
    Key `s` is seen by token `t` when all of these hold; where none is seen the output is zero:
    `mask[b, s] != 0`; with `past`, `s < past[b] + T`; with `causal`, `s <= past[b] + t` (`past` is 0 when absent);
    with `window`, `s > past[b] + t - window`. A constant mask without zeros folds away.
    With `rounded` a target may round queries, keys, values and weights of the softmax to 16 bits.
    With `dropout`, each weight of the softmax goes through `ds.dropout`, but for its word: that of sequence `b`, head `h`, token `t` and
    key `s` is word `t mod 4` of the counter `(t / 4, s, site, b * heads + h)`.
    - (C1) `query` is `[B, T, heads * D]`; `key` and `value` are `[B, S, kv_heads * D]` of one type, if of codes in groups of D.
    - (C2) `heads` is a multiple of `kv_heads`.
    - (C3) `mask` is `[B, S]` (or longer), `past` is `[B]`, `slopes` is `[heads]`.
    - (C4) `scale` and `window` are positive; `window` comes with `causal`.
    - (C5) `seed`, `rate` and `site` are those of `ds.dropout` and come together; none comes with `past`.
    ```mlir
    %y = ds.attention %q, %k, %v heads 4 kv_heads 2 scale 0.25 causal : tensor<?x?x64xf32>, tensor<?x?x32xf32>
    %z = ds.attention %q, %k, %v dropout %s : tensor<2xi32> rate 0.1 site 3
        heads 2 kv_heads 2 scale 0.5 : tensor<?x?x8xf32>, tensor<?x?x8xf32>
    ```
    Source: Vaswani et al. 2017, arXiv:1706.03762; grouped heads: Ainslie et al. 2023, arXiv:2305.13245; slopes: Press et al. 2021,
    arXiv:2108.12409.
  }];
  let arguments = (ins DS_FloatTensor:$query, DS_CacheTensor:$key, DS_CacheTensor:$value, Optional<DS_IntTensor>:$mask,
                       Optional<DS_IntTensor>:$past, Optional<DS_FloatTensor>:$slopes, Optional<DS_IntTensor>:$seed,
                       OptionalAttr<F64Attr>:$rate, OptionalAttr<I64Attr>:$site, I64Attr:$heads, I64Attr:$kv_heads, F64Attr:$scale,
                       UnitAttr:$causal, OptionalAttr<I64Attr>:$window, UnitAttr:$rounded);
  let results = (outs DS_FloatTensor:$output);
  let assemblyFormat = [{
    $query `,` $key `,` $value (`mask` $mask^ `:` type($mask))? (`past` $past^ `:` type($past))? (`slopes` $slopes^ `:` type($slopes))?
    (`dropout` $seed^ `:` type($seed) `rate` $rate `site` $site)?
    `heads` $heads `kv_heads` $kv_heads `scale` $scale (`causal` $causal^)? (`window` $window^)?
    (`rounded` $rounded^)? attr-dict
    `:` type($query) `,` type($key)
  }];
  let hasCanonicalizeMethod = 1;
  let hasVerifier = 1;
}

def DS_CacheAppendOp : DS_Op<"cache_append",
    [MemoryEffects<[MemRead, MemWrite]>, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "write this step's keys or values behind those of the past";
  let description = [{
    `cache[b, past[b] + t, :] = input[b, t, :]`, rounded to the cache's element type; slots at or beyond the context are not written.
    Returns the whole cache. Of a cache of codes each group x (a head of a token) is rounded alone: `scale = max |x| / 127` in f32, or 0
    where that is below 2^-126, and `code = x / scale` to the nearest, ties to even; the group reads as `scale * code`. Where x holds a NaN
    or an infinity, scale is NaN, and so is all of the group.
    - (C1) `cache` names a `ds.cache` of the result's type, and its width is the last size of `input`.
    - (C2) `input` is `[B, T, width]`, `past` is `[B]`.
    ```mlir
    %k = ds.cache_append @k0, %x past %p : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32xf32>
    %c = ds.cache_append @c0, %x past %p
        : tensor<?x?x32xf32>, tensor<?xi32> -> tensor<?x64x32x!ds.quantized<8 symmetric group 16 scale f32>>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$cache, DS_FloatTensor:$input, DS_IntTensor:$past);
  let results = (outs DS_CacheTensor:$output);
  let assemblyFormat =
      "$cache `,` $input `past` $past attr-dict `:` type($input) `,` type($past) `->` type($output)";
}

def DS_CacheReadOp : DS_Op<"cache_read", [MemoryEffects<[MemRead]>, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the cache as it stands";
  let description = [{
    - (C1) `cache` names a `ds.cache` of the result's type.
    ```mlir
    %k = ds.cache_read @k0 : tensor<?x64x32xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$cache);
  let results = (outs DS_CacheTensor:$output);
  let assemblyFormat = "$cache attr-dict `:` type($output)";
}
