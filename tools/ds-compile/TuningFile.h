// --tuning and --report-tuning: how products on CUDA are cut.
#ifndef TOOLS_DS_COMPILE_TUNINGFILE_H
#define TOOLS_DS_COMPILE_TUNINGFILE_H

#include "Driver.h"
#include "Targets.h"
#include "ds/Target/CUDA/Tuning.h"

namespace ds {

/// Reads the entries of --tuning into `tuning`, and checks that what is made has products on CUDA for both options.
/// Errors: Usage; Missing and BadData of the file.
Result<void> readTuning(const CompileOptions &options, const Targets &targets, Tuning &tuning);

/// Entries of the file that could not be taken, or that no product of the model took, by name.
std::vector<std::string> tuningNotes(const CompileOptions &options, const Tuning &tuning);

/// Writes every configuration of every product to the file of --report-tuning. Errors: CannotWrite.
Result<void> writeTuningSpaces(const CompileOptions &options, const Tuning &tuning);

} // namespace ds
#endif // TOOLS_DS_COMPILE_TUNINGFILE_H
