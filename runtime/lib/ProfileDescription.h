// profile.json of a package as docs/package-format.md has it: what each launch of each program computes and costs.
#ifndef DSRT_LIB_PROFILEDESCRIPTION_H
#define DSRT_LIB_PROFILEDESCRIPTION_H

#include "dsrt/machine.h"
#include "runtime/lib/Status.h"

namespace dsrt {

/// An op that went into a launch. Counts are per row, per pair and per key, as in LaunchFacts.
struct DescribedOp {
  std::string op, module;
  std::vector<std::pair<std::string, double>> weights; // parameter, elements
  double macsPerRow = 0, macsPerPair = 0, flopsPerRow = 0, flopsPerPair = 0, flopsPerKey = 0;
  double compatibleFlopsPerRow = 0, compatibleFlopsPerPair = 0;
  bool causal = false;
  double window = 0; // as LaunchFacts has it
};

struct DescribedLaunch {
  std::string kernel, module;
  LaunchFacts facts;
  std::vector<DescribedOp> ops;
};

struct DescribedProgram {
  std::string name;
  std::vector<DescribedLaunch> launches;
};

struct ProfileDescription {
  std::string fusion;
  std::vector<DescribedProgram> programs;

  /// The program of a name; null when there is none.
  const DescribedProgram *program(std::string_view name) const;
};

/// Parses the text of profile.json. `place` opens the messages: the file's path. Keys that are absent count as zero.
/// Fails with bad data, naming the key, what was expected and what was found.
Status parseProfileDescription(std::string_view text, std::string_view place, ProfileDescription &description);

} // namespace dsrt
#endif // DSRT_LIB_PROFILEDESCRIPTION_H
