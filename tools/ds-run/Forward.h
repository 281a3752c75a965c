// Running a package on named arrays.
#ifndef DS_TOOLS_DS_RUN_FORWARD_H
#define DS_TOOLS_DS_RUN_FORWARD_H

#include "Array.h"
#include "dsrt/dsrt.h"
#include <map>

using NamedArrays = std::map<std::string, Array>;

/// The failure that the last dsrt call left.
Failure lastFailure(dsrt_status status);

/// What the model gives when nothing is asked for: embedding or logits, else hidden.
std::string defaultOutput(const dsrt_model *model);

/// Runs dsrt_forward on input_ids, attention_mask and token_type_ids for each name in `outputs`.
Failure runForward(dsrt_model *model, const NamedArrays &inputs, NamedArrays &outputs);

/// Runs one step of a program with dsrt_run_program. Inputs that are not given: positions count up, past is 0, mask is 1, token_type_ids
/// are 0, rows are the last tokens.
Failure runProgram(dsrt_model *model, const std::string &program, const NamedArrays &inputs, NamedArrays &outputs);

/// Compares element by element: |got - expected| <= atol + rtol * |expected|. Code 1 names the worst element that fails.
Failure compareArrays(const std::string &name, const Array &got, const Array &expected, double atol, double rtol);

#endif // DS_TOOLS_DS_RUN_FORWARD_H
