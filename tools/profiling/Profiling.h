// What ds-run and ds-bench do with --profile and its companions.
#ifndef DS_TOOLS_PROFILING_PROFILING_H
#define DS_TOOLS_PROFILING_PROFILING_H

#include "dsrt/dsrt.h"
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

struct Profiling {
  std::vector<std::string> files; // by their ending: .html, .json, .trace.json, .txt; - is text on standard output
  std::string counting = "exact", machine;
  int32_t depth = -1, top = 3;

  bool isOn() const { return !files.empty(); }
  /// Whether a report goes to standard output.
  bool prints() const;
  void addOptions(CLI::App &app);
  /// Before the run: files that say it has not ended, so that one which cannot be written, or a machine that cannot be read, costs no run
  /// and one that is killed leaves reports. Returns as `write`.
  dsrt_status begin(dsrt_model *model, std::string &error) const;
  /// Writes all reports on what `model` traced; null: it did not load. `failure` says why the run failed, empty: it did not.
  /// Returns DSRT_OK or what the first failed report gives, whose line is then in `error`.
  dsrt_status write(dsrt_model *model, const std::string &failure, std::string &error) const { return write(model, failure, true, error); }

private:
  dsrt_status write(dsrt_model *model, const std::string &failure, bool prints, std::string &error) const;
};

/// `--profile` alone means standard output: the word after it is not its file.
std::string profileArgument(const std::string &argument);

#endif // DS_TOOLS_PROFILING_PROFILING_H
