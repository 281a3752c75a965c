// Quantization schemes from a file, for --quantize=FILE.json.
#ifndef TOOLS_DS_COMPILE_SCHEMEFILE_H
#define TOOLS_DS_COMPILE_SCHEMEFILE_H

#include "ds/Import/Result.h"
#include <string>
#include <vector>

namespace ds {

/// What --quantize and --quantize-rule say, one `regex=scheme` a rule.
struct Schemes {
  std::string scheme;
  std::vector<std::string> rules;
};

/// Reads {"scheme": "int8", "rules": [{"match": "regex", "scheme": "none"}]}; both keys may be absent.
/// Errors: Missing, for a file that cannot be read; BadData, for another shape or an unknown key, which is named.
Result<Schemes> readSchemes(const std::string &path);

} // namespace ds
#endif // TOOLS_DS_COMPILE_SCHEMEFILE_H
