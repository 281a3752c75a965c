#include "TuningFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

using namespace ds;

/// Entries that one line names.
static constexpr size_t mostNamed = 8;

Result<void> ds::readTuning(const CompileOptions &options, const Targets &targets, Tuning &tuning) {
  if (targets.archs.empty()) {
    if (!options.tuning.empty())
      return Error::usage("--tuning: expects --target=cuda, got '" + options.target + "'");
    if (options.reportTuning)
      return Error::usage("--report-tuning: expects --target=cuda, got '" + options.target + "'");
    return {};
  }
  const bool hasCode =
      options.to.empty() && (options.emit == "package" || options.emit == "gpu" || options.emit == "ptx" || options.emit == "sass");
  if (options.reportTuning && !hasCode)
    return Error::usage("--report-tuning: expects a package or --emit=gpu, ptx or sass, got " +
                        (options.to.empty() ? "--emit=" + options.emit : "--to=" + options.to));
  if (options.tuning.empty())
    return {};
  Result<TuningDatabase> read = TuningDatabase::read(options.tuning);
  if (!read)
    return read.error();
  tuning.asked = std::move(*read);
  return {};
}

std::vector<std::string> ds::tuningNotes(const CompileOptions &options, const Tuning &tuning) {
  std::vector<std::string> notes = tuning.notes;
  const std::vector<const TuningEntry *> unused = tuning.unused();
  if (unused.empty())
    return notes;
  std::string names;
  for (size_t i = 0; i < unused.size() && i < mostNamed; ++i)
    names += (i ? "; " : "") + unused[i]->place + " (" + unused[i]->key.text() + ")";
  if (unused.size() > mostNamed)
    names += " and " + std::to_string(unused.size() - mostNamed) + " more";
  notes.push_back("--tuning: " + std::to_string(unused.size()) + " of " + std::to_string(tuning.asked.all().size()) +
                  " entries are for no product of the model: " + names);
  return notes;
}

Result<void> ds::writeTuningSpaces(const CompileOptions &options, const Tuning &tuning) {
  std::error_code error;
  llvm::raw_fd_ostream os(options.tuningSpaces, error);
  if (!error) {
    os << tuningSpaces(tuning);
    os.close();
    error = os.error();
  }
  os.clear_error();
  if (error)
    return Error::cannotWrite("cannot write '" + options.tuningSpaces + "': " + error.message());
  return {};
}
