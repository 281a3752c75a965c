#include "Profiling.h"
#include <algorithm>
#include <cstdio>

std::string profileArgument(const std::string &argument) { return argument == "--profile" ? "--profile=-" : argument; }

void Profiling::addOptions(CLI::App &app) {
  CLI::Option *profile =
      app.add_option("--profile", files,
                     "--profile[=FILE.html|.json|.trace.json|.txt]: where the time goes, as docs/profiling.md says; may be repeated")
          ->take_all()
          ->expected(1)
          ->allow_extra_args(false); // a package may follow
  app.add_option("--profile-depth", depth, "deepest modules to show; -1: all")
      ->check(CLI::Range(-1, 1000))
      ->capture_default_str()
      ->needs(profile);
  app.add_option("--profile-top", top, "modules to name for each depth")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str()
      ->needs(profile);
  app.add_option("--profile-counting", counting, "exact, or compatible with DeepSpeed's profiler")
      ->check(CLI::IsMember({"exact", "compatible"}))
      ->capture_default_str()
      ->needs(profile);
  app.add_option("--profile-machine", machine,
                 "the machine's limits, as ds-bench --calibrate -o FILE writes them; of a GPU a100, h100, h200 or a file")
      ->needs(profile);
}

bool Profiling::prints() const { return std::find(files.begin(), files.end(), "-") != files.end(); }

dsrt_status Profiling::begin(dsrt_model *model, std::string &error) const {
  dsrt_status status = write(model, "it has not ended", /*prints=*/false, error);
  if (std::string ignored; status != DSRT_OK) // of several files some may be there
    write(model, error, /*prints=*/false, ignored);
  return status;
}

dsrt_status Profiling::write(dsrt_model *model, const std::string &failure, bool prints, std::string &error) const {
  dsrt_profile_options options;
  dsrt_profile_options_init(&options);
  options.depth = depth;
  options.top = top;
  options.compatible = counting == "compatible";
  options.machine = machine.empty() ? nullptr : machine.c_str();
  options.failure = failure.empty() ? nullptr : failure.c_str();
  dsrt_status worst = DSRT_OK;
  for (const std::string &file : files) {
    const char *text = nullptr;
    size_t length = 0;
    dsrt_status status = DSRT_OK;
    if (file != "-")
      status = dsrt_profile_write(model, &options, file.c_str());
    else if (model && (status = dsrt_profile_report(model, &options, &text, &length)) == DSRT_OK && prints)
      std::fwrite(text, 1, length, stdout);
    if (status != DSRT_OK && worst == DSRT_OK) {
      worst = status;
      error = dsrt_last_error();
    }
  }
  return worst;
}
