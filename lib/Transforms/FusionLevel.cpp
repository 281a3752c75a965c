#include "ds/Transforms/FusionLevel.h"
#include "llvm/ADT/StringSwitch.h"

std::optional<ds::FusionLevel> ds::symbolizeFusionLevel(llvm::StringRef name) {
  return llvm::StringSwitch<std::optional<FusionLevel>>(name)
      .Case("none", FusionLevel::none)
      .Case("generic", FusionLevel::generic)
      .Case("specialized", FusionLevel::specialized)
      .Default(std::nullopt);
}
