// JSON and the typed getters of a model's config.json.
#include "ds/Import/Json.h"
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto parsed = ds::Json::parse({reinterpret_cast<const char *>(data), size}, "fuzz");
  if (!parsed)
    return parsed.error().message.empty() ? (std::abort(), 0) : 0;
  ds::JsonReader reader("fuzz", *parsed);
  for (const std::string &key : parsed->keys) {
    auto integer = reader.integer(key, 1, 65536);
    if (integer && (*integer < 1 || *integer > 65536))
      std::abort();
    auto number = reader.number(key, -1, 1);
    if (number && !(*number >= -1 && *number <= 1))
      std::abort();
    (void)static_cast<bool>(reader.boolean(key));
    (void)static_cast<bool>(reader.string(key));
  }
  return 0;
}
