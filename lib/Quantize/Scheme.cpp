#include "ds/Quantize/Scheme.h"
#include "ds/Quantize/MoqScheme.h"
#include <charconv>

using namespace ds;

double QuantizationScheme::bitsOfWeight(int64_t columns) const {
  if (factors) // of 256 k: two numbers of 16 bits, pairs of 6 bits or factors of 8
    return static_cast<double>(bits) + static_cast<double>(32 + 256 / group * (asymmetric ? 12 : 8)) / 256;
  const int64_t numbers = asymmetric ? 2 : 1, group = groupOf(columns), unused = bits % 2 ? (32 - group % 32) % 32 : 0;
  // Two scales of f16 share a word: the last of an odd number has one of its own.
  const int64_t unpaired = halfScales && !asymmetric && columns / group % 2 ? 16 : 0;
  return static_cast<double>(bits) + static_cast<double>(numbers * (halfScales ? 16 : 32) + unused) / static_cast<double>(group) +
         static_cast<double>(unpaired) / static_cast<double>(columns);
}

Result<QuantizationScheme> ds::parseScheme(std::string_view name) {
  auto refuse = [&] {
    return Error::usage(
        "expects int8, int8-row, int8-gN or intB-gN with B from 2 to 7 and N a multiple of 16, each also with -asym, fp8, fp8-row, "
        "fp8-gN, moqB with B from 1 to 8, stored or none, got '" +
        std::string(name) + "'");
  };
  std::string_view rest = name;
  auto take = [&](std::string_view part) {
    if (!rest.starts_with(part))
      return false;
    rest.remove_prefix(part.size());
    return true;
  };
  QuantizationScheme scheme;
  if (take("fp8")) {
    scheme.e4m3 = true;
  } else {
    if (!take("int") || rest.empty() || rest.front() < '2' || rest.front() > '8')
      return refuse();
    scheme.bits = rest.front() - '0';
    rest.remove_prefix(1);
  }
  if (scheme.bits == 8 && (rest.empty() || rest == "-asym")) {
    scheme.group = int8Group;
    scheme.halfScales = true;
  } else if (take("-g")) {
    auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), scheme.group);
    if (error != std::errc() || scheme.group < 16 || scheme.group > (1 << 20) || scheme.group % 16 != 0)
      return refuse();
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    scheme.halfScales = true;
  } else if (scheme.bits < 8 || !take("-row")) {
    return refuse();
  }
  scheme.asymmetric = !scheme.e4m3 && take("-asym");
  if (!rest.empty())
    return refuse();
  return scheme;
}

Result<SchemeChoice> ds::parseSchemeChoice(std::string_view name) {
  if (name == "none")
    return SchemeChoice();
  if (name == "stored")
    return SchemeChoice{SchemeChoice::Kind::stored, {}};
  if (name.starts_with("moq")) {
    Result<MoqGrid> grid = parseMoqGrid(name);
    if (!grid)
      return grid.error();
    return SchemeChoice{SchemeChoice::Kind::grid, {}, false, *grid};
  }
  Result<QuantizationScheme> scheme = parseScheme(name);
  if (!scheme)
    return scheme.error();
  return SchemeChoice{SchemeChoice::Kind::scheme, *scheme, name.find("-g") == std::string_view::npos, {}};
}

std::string ds::nameOf(const QuantizationScheme &scheme) {
  std::string name = scheme.e4m3 ? "fp8" : "int" + std::to_string(scheme.bits);
  name += scheme.group ? "-g" + std::to_string(scheme.group) : "-row";
  if (scheme.asymmetric)
    name += "-asym";
  if (scheme.factors)
    return name + "-k";
  return scheme.group && !scheme.halfScales ? name + "-f32" : name;
}

std::optional<QuantizationScheme> ds::schemeOfStored(StoredType type) {
  switch (type) {
  case StoredType::Q8_0:
    return QuantizationScheme{8, 32, false, true};
  case StoredType::Q5_0:
    return QuantizationScheme{5, 32, false, true};
  case StoredType::Q5_1:
    return QuantizationScheme{5, 32, true, true};
  case StoredType::Q4_0:
    return QuantizationScheme{4, 32, false, true};
  case StoredType::Q4_1:
    return QuantizationScheme{4, 32, true, true};
  case StoredType::Q2_K:
    return QuantizationScheme{2, 16, true, false, false, true};
  case StoredType::Q3_K:
    return QuantizationScheme{3, 16, false, false, false, true};
  case StoredType::Q4_K:
    return QuantizationScheme{4, 32, true, false, false, true};
  case StoredType::Q5_K:
    return QuantizationScheme{5, 32, true, false, false, true};
  case StoredType::Q6_K:
    return QuantizationScheme{6, 16, false, false, false, true};
  case StoredType::IQ4_NL: // the numbers that its codes stand for
    return QuantizationScheme{8, 32, false, true};
  case StoredType::IQ4_XS:
    return QuantizationScheme{8, 32, false, false, false, true};
  default:
    return std::nullopt;
  }
}

std::optional<StoredType> ds::blockTypeNamed(std::string_view name) {
  for (StoredType type : {StoredType::Q8_0, StoredType::Q4_0, StoredType::Q4_1, StoredType::Q5_0, StoredType::Q5_1, StoredType::Q2_K,
                          StoredType::Q3_K, StoredType::Q4_K, StoredType::Q5_K, StoredType::Q6_K, StoredType::IQ4_NL, StoredType::IQ4_XS})
    if (name == storedTypeName(type))
      return type;
  return std::nullopt;
}
