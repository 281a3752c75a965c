// A model's configuration, read key by key; what nobody read and nobody knows to be harmless is an error.
#ifndef DS_LIB_IMPORT_CONFIG_H
#define DS_LIB_IMPORT_CONFIG_H

#include "ds/Import/Json.h"
#include <optional>
#include <set>

namespace ds {

/// Largest sizes a configuration may ask for; far above any model, far below overflow.
inline constexpr int64_t maxSize = 1 << 24, maxLayers = 4096, maxHeads = 4096;

enum class Activation { gelu, geluTanh, relu, silu, quickGelu };

/// The getters keep the first error and go on with a harmless value: a family reads all it needs and asks `failure()` once.
class Config {
public:
  Config(std::string file, Json json) : file(std::move(file)), json(std::move(json)) {}

  int64_t size(const char *key, std::optional<int64_t> fallback = std::nullopt, int64_t high = maxSize);
  /// A size that has more than one name; those that are there must agree.
  int64_t sizeNamed(std::initializer_list<const char *> keys, std::optional<int64_t> fallback = std::nullopt, int64_t high = maxSize);
  double number(const char *key, std::optional<double> fallback, double low, double high);
  double eps(const char *key, std::optional<double> fallback = std::nullopt) { return number(key, fallback, 1e-30, 1.0); }
  bool flag(const char *key, bool fallback);
  std::string text(const char *key, std::optional<std::string> fallback = std::nullopt);
  Activation activation(const char *key, const char *fallback);
  /// The member itself, or null. The caller checks it.
  const Json *raw(const char *key);
  bool has(const char *key) const { return json.find(key) != nullptr; }

  /// Fails unless the key is absent or has this value: the others change what is computed, and are not handled.
  void require(const char *key, bool value);
  void require(const char *key, const char *value);
  /// Fails unless the key is absent or an empty list or object.
  void requireEmpty(const char *key);
  /// Marks keys as read: they do not change inference.
  void ignore(std::initializer_list<const char *> keys);

  /// Keeps an error about `key`.
  void fail(const char *key, const std::string &expected);
  void fail(Error error);
  const std::optional<Error> &failure() const { return first; }
  /// An error for the first key that was neither read nor is known to be harmless.
  Result<void> finish() const;
  const std::string &fileName() const { return file; }

private:
  JsonReader reader() const { return JsonReader(file, json); }

  std::string file;
  Json json;
  std::set<std::string, std::less<>> used;
  std::optional<Error> first;
};

/// How positions turn, of `rope_theta`, `rope_scaling` or transformers 5's `rope_parameters`.
struct RopeSettings {
  double base = 10000;
  double partial = 1;
  std::string kind; // empty, linear or llama3
  double factor = 1, low = 1, high = 4, original = 8192;
};
RopeSettings readRope(Config &config, double base, const char *baseKey = "rope_theta", const char *partialKey = nullptr,
                      double partial = 1);

} // namespace ds
#endif // DS_LIB_IMPORT_CONFIG_H
