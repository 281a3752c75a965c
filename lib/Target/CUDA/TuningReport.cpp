#include "GemmTuning.h"
#include "ds/Target/CUDA/Tuning.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <nlohmann/json.hpp>
#include <set>

using namespace ds;

std::string ds::tuningReport(const Tuning &tuning) {
  std::string text;
  llvm::raw_string_ostream out(text);
  out << "configurations of products on CUDA, registers, shared memory and time by the model\n"
      << "  predicted us  floor us  registers  shared KiB       rank  kernel, key, configuration, where it comes from\n";
  for (const TuningChoice &choice : tuning.choices) {
    const std::vector<TuningCandidate> space = *tuningSpace(choice.key);
    // It is there: entries are held against their spaces, when a file is read and by a test of those that are built in.
    auto found = llvm::find_if(space, [&](const TuningCandidate &candidate) { return candidate.config == choice.config; });
    const std::string rank = std::to_string(found - space.begin() + 1) + "/" + std::to_string(space.size());
    out << llvm::format("  %12.2f %9.2f %10lld %11.1f", found->us, *tuningFloor(choice.key), static_cast<long long>(found->registers),
                        static_cast<double>(found->sharedBytes) / 1024)
        << llvm::right_justify(rank, 11) << "  " << choice.kernel << ": " << choice.key.text() << ": " << textOf(choice.config) << ": ";
    switch (choice.from) {
    case TuningChoice::From::entry:
      out << "entry " << choice.place << "\n";
      break;
    case TuningChoice::From::alike:
      out << "entry " << choice.place << ", which is alike (" << choice.of << ")\n";
      break;
    case TuningChoice::From::model:
      out << "model\n";
      break;
    }
  }
  for (const std::string &kernel : tuning.mixed)
    out << "  " << kernel << ": products of several types: model\n";
  return text;
}

std::string ds::tuningSpaces(const Tuning &tuning) {
  std::string text;
  std::set<TuningKey> seen;
  for (const TuningChoice &choice : tuning.choices) {
    const TuningKey &key = choice.key;
    if (!seen.insert(key).second)
      continue;
    const std::vector<TuningCandidate> space = *tuningSpace(key);
    for (const TuningCandidate &candidate : space) {
      nlohmann::ordered_json json = jsonOf(key, candidate.config);
      json["kernel"] = choice.kernel;
      json["chosen"] = candidate.config == choice.config;
      json["threads"] = candidate.threads;
      json["blocks"] = candidate.blocks;
      json["registers"] = candidate.registers;
      json["shared_bytes"] = candidate.sharedBytes;
      json["bytes_in_flight"] = candidate.bytesInFlight;
      json["waves"] = candidate.waves;
      json["us"] = candidate.us;
      text += json.dump() + "\n";
    }
  }
  return text;
}
