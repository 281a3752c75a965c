// One step of a program with arrays that the caller names: for looking at a package from outside.
#ifndef DSRT_LIB_RAWSTEP_H
#define DSRT_LIB_RAWSTEP_H

#include "runtime/lib/Model.h"

namespace dsrt {

/// dsrt_run_program on checked pointers. Fails with invalid argument before anything runs.
Status runRawStep(Model &model, std::string_view program, int32_t batch, int32_t tokens, int32_t rows, const dsrt_array *inputs,
                  int32_t inputCount, const dsrt_array *outputs, int32_t outputCount);

} // namespace dsrt
#endif // DSRT_LIB_RAWSTEP_H
