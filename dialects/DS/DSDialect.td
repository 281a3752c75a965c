#ifndef DIALECTS_DS_DSDIALECT_TD
#define DIALECTS_DS_DSDIALECT_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"

def DS_Dialect : Dialect {
  let name = "ds";
  let cppNamespace = "::ds";
  let summary = "transformer models as operations on tensors";
  let description = [{
    Model level: tensors with value semantics, no buffers and no devices. `B` is the batch, `T` the tokens of this step, `H` the hidden
    size, `C` the context. Weights are symbols (`ds.parameter`); their bytes stay in the model's files.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let hasConstantMaterializer = 1;
}

class DS_Op<string mnemonic, list<Trait> traits = []> : Op<DS_Dialect, mnemonic, traits>;

def DS_QuantizedKind : I32EnumAttr<"QuantizedKind", "what a code stands for", [
    I32EnumAttrCase<"symmetric", 0>, I32EnumAttrCase<"asymmetric", 1>, I32EnumAttrCase<"e4m3", 2>]> {
  let cppNamespace = "::ds";
  let genSpecializedAttr = 0;
}

def DS_QuantizedType : TypeDef<DS_Dialect, "Quantized"> {
  let mnemonic = "quantized";
  let summary = "an element of a quantized matrix, or of a cache of codes";
  let description = [{
    Matrices [N, K] whose elements are codes of `bits` bits (2 to 8) with one `scale` (f16 or f32) for every `group` of k of a row, or for
    the whole row with `group` 0. Scales of integers (si8 where symmetric, ui6 where asymmetric, with as many offsets) are multiplied by
    one f16 for every 256 k, as in GGUF's K blocks. `symmetric`: value = scale * code, the code signed. `asymmetric`: value = scale * code
    + offset, the code unsigned, with one offset of the scale's type a group. `e4m3`: value = scale * the number of 8 bits that the code
    is (OCP e4m3fn, at most 448, no infinity). Codes, scales and offsets stay outside the module; which they are follows from the
    parameter's source (ds/Quantize). To the ops that read such a matrix its elements are the values, as f32.

    A cache (`ds.cache`) has signed codes of 8 bits with one f32 scale for each token and head (`symmetric`, `group` the head's size), which
    `ds.cache_append` computes. To attention its elements are the values.
    ```mlir
    !ds.quantized<4 asymmetric group 32 scale f16>
    ```
  }];
  let parameters = (ins "int64_t":$bits, EnumParameter<DS_QuantizedKind>:$kind, "int64_t":$group, "::mlir::Type":$scale);
  let assemblyFormat = "`<` $bits $kind `group` $group `scale` $scale `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isAsymmetric() const { return getKind() == ::ds::QuantizedKind::asymmetric; }
    bool isE4m3() const { return getKind() == ::ds::QuantizedKind::e4m3; }
    /// Whether scales, and offsets, are integers that one f16 for each `kBlock` k multiplies.
    bool hasFactors() const { return ::mlir::isa<::mlir::IntegerType>(getScale()); }
    static constexpr int64_t kBlock = 256;
    /// True for what a cache can have: signed codes of 8 bits with an f32 scale for each group.
    bool isOfCache() const {
      return getBits() == 8 && getKind() == ::ds::QuantizedKind::symmetric && getGroup() > 0 && getScale().isF32();
    }
  }];
}

def DS_FloatTensor : RankedTensorOf<[F16, BF16, F32, F64]>;
def DS_MatrixTensor : RankedTensorOf<[F16, BF16, F32, F64, DS_QuantizedType]>; // weights
def DS_CacheTensor : RankedTensorOf<[F16, BF16, F32, F64, DS_QuantizedType]>;  // keys and values, of a step or in a cache
def DS_IntTensor : RankedTensorOf<[I32]>;
def DS_AnyTensor : RankedTensorOf<[F16, BF16, F32, F64, I32]>;
def DS_FusedTensor : RankedTensorOf<[F16, BF16, F32, F64, I32, DS_QuantizedType]>; // a write to a cache as well

def DS_GeluKind : I32EnumAttr<"GeluKind", "formula of gelu", [
    I32EnumAttrCase<"erf", 0>, I32EnumAttrCase<"tanh", 1>]> {
  let cppNamespace = "::ds";
  let genSpecializedAttr = 0;
}
def DS_GeluKindAttr : EnumAttr<DS_Dialect, DS_GeluKind, "gelu_kind">;

def DS_RopeStyle : I32EnumAttr<"RopeStyle", "which pairs rope rotates", [
    I32EnumAttrCase<"half", 0>, I32EnumAttrCase<"interleaved", 1>]> {
  let cppNamespace = "::ds";
  let genSpecializedAttr = 0;
}
def DS_RopeStyleAttr : EnumAttr<DS_Dialect, DS_RopeStyle, "rope_style">;

def DS_PoolKind : I32EnumAttr<"PoolKind", "how a sequence becomes one vector", [
    I32EnumAttrCase<"cls", 0>, I32EnumAttrCase<"mean", 1>, I32EnumAttrCase<"last", 2>]> {
  let cppNamespace = "::ds";
  let genSpecializedAttr = 0;
}
def DS_PoolKindAttr : EnumAttr<DS_Dialect, DS_PoolKind, "pool_kind">;

def DS_ViewAttr : AttrDef<DS_Dialect, "View"> {
  let mnemonic = "view";
  let summary = "a strided view of a stored tensor, in elements";
  let description = [{
    Element `(i0, i1, ...)` of the box `sizes` is stored at `offset + sum(i * stride)`. The box is then read in row-major order and given
    the parameter's own shape, so a view can transpose, slice rows, or pick one of the interleaved parts of a joined QKV weight.
  }];
  let parameters = (ins "int64_t":$offset, ArrayRefParameter<"int64_t">:$sizes, ArrayRefParameter<"int64_t">:$strides);
  let assemblyFormat = "`<` $offset `,` `[` $sizes `]` `,` `[` $strides `]` `>`";
  let genVerifyDecl = 1;
}

def DS_MoqFormula : I32EnumAttr<"MoqFormula", "how a grid of MoQ takes its scale", [
    I32EnumAttrCase<"training", 0>, I32EnumAttrCase<"inference", 1>]> {
  let cppNamespace = "::ds";
  let genSpecializedAttr = 0;
}

def DS_MoqAttr : AttrDef<DS_Dialect, "Moq"> {
  let mnemonic = "moq";
  let summary = "a grid of DeepSpeed's mixture of quantization";
  let description = [{
    Codes of `bits` bits (1 to 8; from 3 on they may be asymmetric) with one scale for each of `groups` equal runs of a stored tensor; the
    formulas are in ds/Quantize/MoqGrid.h: those of training, or from 3 bits on, symmetric, that of upstream's inference kernels. Which
    codes a matrix has follows from all of its tensor.
    ```mlir
    #ds.moq<4 symmetric groups 1>
    #ds.moq<8 symmetric groups 2 formula inference>
    ```
  }];
  let parameters = (ins "int64_t":$bits, EnumParameter<DS_QuantizedKind>:$kind, "int64_t":$groups,
                        DefaultValuedParameter<"::ds::MoqFormula", "::ds::MoqFormula::training">:$formula);
  let assemblyFormat = "`<` $bits $kind `groups` $groups (`formula` $formula^)? `>`";
  let genVerifyDecl = 1;
}

def DS_RopeScalingAttr : AttrDef<DS_Dialect, "RopeScaling"> {
  let mnemonic = "rope_scaling";
  let summary = "how rope frequencies are stretched for long contexts";
  let description = [{
    `kind` is `linear` (every frequency divided by `factor`) or `llama3` (long wavelengths divided, short ones kept, a smooth band between;
    `low`, `high` and `original` are low_freq_factor, high_freq_factor and original_max_position_embeddings).
  }];
  let parameters = (ins StringRefParameter<>:$kind, "::mlir::FloatAttr":$factor, "::mlir::FloatAttr":$low, "::mlir::FloatAttr":$high,
                        "::mlir::FloatAttr":$original);
  let assemblyFormat = "`<` $kind `,` $factor `,` $low `,` $high `,` $original `>`";
  let builders = [AttrBuilder<(ins "::llvm::StringRef":$kind, "double":$factor, "double":$low, "double":$high, "double":$original), [{
    auto f64 = [&](double value) { return ::mlir::FloatAttr::get(::mlir::Float64Type::get($_ctxt), value); };
    return $_get($_ctxt, kind, f64(factor), f64(low), f64(high), f64(original));
  }]>];
  let genVerifyDecl = 1;
}

#endif // DIALECTS_DS_DSDIALECT_TD
