// Any bytes are a manifest or a message: parsing never harms, and what is accepted holds together.
#include "runtime/lib/Manifest.h"
#include <cstdlib>

static void require(bool holds) {
  if (!holds)
    abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dsrt::Manifest manifest;
  dsrt::Status status = dsrt::parseManifest(std::string_view(reinterpret_cast<const char *>(data), size), "manifest.json", manifest);
  if (!status.ok()) {
    require(status.code() == DSRT_BAD_DATA && status.message().find('\n') == std::string::npos);
    return 0;
  }
  const dsrt::FileRecord *weights = manifest.file(manifest.weightsFile);
  require(weights && manifest.weightsOffset + manifest.weightsBytes <= weights->bytes);
  for (const dsrt::FileRecord &file : manifest.files)
    require(file.name.front() != '/' && file.name.find("../") != 0 && file.name.find("/../") == std::string::npos);
  for (const dsrt::CodeRecord &code : manifest.code)
    require(manifest.file(code.file) && code.level != dsrt::CpuLevel::none);
  for (const dsrt::ProgramRecord &program : manifest.programs)
    require(program.maxBatch > 0 && program.maxRows > 0 && program.arenaBytes >= 0 && !program.outputs.empty());
  return 0;
}
