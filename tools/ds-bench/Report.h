// Results as llama-bench prints them: md, json, jsonl, csv.
#ifndef DS_TOOLS_DS_BENCH_REPORT_H
#define DS_TOOLS_DS_BENCH_REPORT_H

#include "Run.h"

/// One result with all that is needed to repeat it.
struct Row {
  std::string packagePath, modelName, family, producer, weightsDtype, level, cpu, device, gpu, date;
  int32_t packageVersion = 0, threads = 0;
  int64_t modelSize = 0, modelParameters = 0;
  bool decoder = false;
  Test test;
  std::vector<int64_t> samples; // ns

  /// CPU, CUDA or EMULATE, as llama-bench writes backends.
  std::string backend() const;
  double meanNs() const;
  double deviationNs() const;
  std::vector<double> speeds() const; // tokens a second
  double meanSpeed() const;
  double deviationSpeed() const;
};

/// Fills what the model and the machine say.
Row describe(const dsrt_model *model, const Test &test);

enum class Format { md, json, jsonl, csv };

/// Prints rows as they come.
class Report {
public:
  Report(Format format, bool showBatch) : format(format), showBatch(showBatch) {}
  void begin();
  void add(const Row &row);
  void end();

private:
  Format format;
  bool showBatch;
  bool first = true;
};

#endif // DS_TOOLS_DS_BENCH_REPORT_H
