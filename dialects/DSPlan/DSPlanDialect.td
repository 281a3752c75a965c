#ifndef DIALECTS_DSPLAN_DSPLANDIALECT_TD
#define DIALECTS_DSPLAN_DSPLANDIALECT_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"

def DSPlan_Dialect : Dialect {
  let name = "ds_plan";
  let cppNamespace = "::ds_plan";
  let summary = "what runs, on which buffers";
  let description = [{
    Plan level: a program is a list of launches on buffers whose places are known. `B` is the batch, `T` the tokens of each sequence in this
    step, `R` the selected tokens. Sizes are bounded by the program, so offsets are static; nothing is compiled again at run time.
  }];
  let dependentDialects = ["::ds::DSDialect"];
  let useDefaultAttributePrinterParser = 1;
}

class DSPlan_Op<string mnemonic, list<Trait> traits = []> : Op<DSPlan_Dialect, mnemonic, traits>;

def DSPlan_Rows : I32EnumAttr<"Rows", "how many rows a buffer has in a step", [
    I32EnumAttrCase<"tokens", 0>,    // B * T
    I32EnumAttrCase<"selected", 1>,  // R
    I32EnumAttrCase<"batch", 2>,     // B
    I32EnumAttrCase<"packed", 3>,    // B * (T rounded up to 16): keys or values of a step without a cache, in cache layout
    I32EnumAttrCase<"single", 4>]> { // 1: controls, and what there is of a whole step
  let cppNamespace = "::ds_plan";
  let genSpecializedAttr = 0;
}
def DSPlan_RowsAttr : EnumAttr<DSPlan_Dialect, DSPlan_Rows, "rows">;

def DSPlan_Layout : I32EnumAttr<"Layout", "how a weight is packed", [
    I32EnumAttrCase<"panels", 0>,        // [N, K] as [ceil(N / W)][K][W], zeros behind N, not of bf16; W is 32 or 48
    I32EnumAttrCase<"rows", 1>,          // [N, K] as it is
    I32EnumAttrCase<"vector", 2>,        // [N] as [ceil(N / 32) * 32], zeros behind N, always f32
    I32EnumAttrCase<"rope", 3>,          // [positions][2][rotary / 2] f32: cosines, then sines, of each position
    I32EnumAttrCase<"panel_pairs", 4>,   // [N, K] bf16 as [ceil(N / W)][ceil(K / 2)][W][2], zeros behind N and K
    I32EnumAttrCase<"panel_codes", 5>,   // [N, K] quantized as [ceil(N / W)][rows][W] of 32 bits (PanelCodes.h); W may be 1
    I32EnumAttrCase<"tiles", 6>,         // [N, K] bf16 or f16 as [2 ceil(N / 16)][ceil(K / 32)][8][32], zeros behind N and K (TileCodes.h)
    I32EnumAttrCase<"tile_codes", 7>,    // [N, K] quantized as [2 ceil(N / 16)][words] of 32 bits (TileCodes.h)
    I32EnumAttrCase<"panel_sums", 8>,    // [N, K] f32 as [ceil(N / W)][lines][W]: columns times powers of two, and more (PanelSums.h)
    I32EnumAttrCase<"panel_halves", 9>]> { // [N, K] bf16 as f16 [ceil(N / W)][lines][W][2]: columns times powers of two (PanelHalves.h)
  let cppNamespace = "::ds_plan";
  let genSpecializedAttr = 0;
}
def DSPlan_LayoutAttr : EnumAttr<DSPlan_Dialect, DSPlan_Layout, "layout">;

def DSPlan_State : I32EnumAttr<"State", "a part of the training state", [
    I32EnumAttrCase<"parameter", 0>, I32EnumAttrCase<"gradient", 1>, I32EnumAttrCase<"moment1", 2>, I32EnumAttrCase<"moment2", 3>]> {
  let cppNamespace = "::ds_plan";
  let genSpecializedAttr = 0;
}
def DSPlan_StateAttr : EnumAttr<DSPlan_Dialect, DSPlan_State, "state">;

def DSPlan_CacheKind : I32EnumAttr<"CacheKind", "how a cache is laid out", [
    I32EnumAttrCase<"keys", 0>,      // [kv_heads][C / 16][D][16]: 16 slots side by side
    I32EnumAttrCase<"values", 1>]> { // [kv_heads][C][D]; codes of both in blocks of 16 slots behind their scales (CacheLayout.h)
  let cppNamespace = "::ds_plan";
  let genSpecializedAttr = 0;
}
def DSPlan_CacheKindAttr : EnumAttr<DSPlan_Dialect, DSPlan_CacheKind, "cache_kind">;

#endif // DIALECTS_DSPLAN_DSPLANDIALECT_TD
