// Measures what this machine can do, for the cost model.
#ifndef DS_TOOLS_DS_BENCH_CALIBRATE_H
#define DS_TOOLS_DS_BENCH_CALIBRATE_H

#include "dsrt/machine.h"
#include <functional>

struct CalibrateOptions {
  std::vector<int32_t> threads; // empty or 0: 1, 2, 4, ... and as many as this process may use
  bool quick = false;           // a hundredth of the work: numbers of the right kind, not of the right size
};

/// Each number of a description before it is one: the median of the runs, and the one that is reported.
struct CalibrateSample {
  int32_t threads;
  const char *what, *unit;
  double median, reported;
};

/// Fills `machine`. `seen` is called with each number as it comes. Returns 0 or an exit code with a line in `error`.
int calibrate(const CalibrateOptions &options, dsrt::MachineDescription &machine, const std::function<void(const CalibrateSample &)> &seen,
              std::string &error);

/// The whole command: measures, prints a table (or with `json` the description), and writes it to `output` unless that is empty.
int runCalibrate(const CalibrateOptions &options, bool json, const std::string &output, std::string &error);

#endif // DS_TOOLS_DS_BENCH_CALIBRATE_H
