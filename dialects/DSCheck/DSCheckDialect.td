#ifndef DIALECTS_DSCHECK_DSCHECKDIALECT_TD
#define DIALECTS_DSCHECK_DSCHECKDIALECT_TD

include "mlir/IR/OpBase.td"

def DSCheck_Dialect : Dialect {
  let name = "ds_check";
  let cppNamespace = "::ds_check";
  let summary = "expectations of a test";
  let description = [{
    What a test program expects of its values. Only the reference interpreter executes these operations.
  }];
}

class DSCheck_Op<string mnemonic, list<Trait> traits = []> : Op<DSCheck_Dialect, mnemonic, traits>;

def DSCheck_FloatTensor : RankedTensorOf<[F16, BF16, F32, F64]>;
def DSCheck_Tensor : RankedTensorOf<[F16, BF16, F32, F64, I32]>;

#endif // DIALECTS_DSCHECK_DSCHECKDIALECT_TD
