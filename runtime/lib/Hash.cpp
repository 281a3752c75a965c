// SHA-256 is libsodium's, XXH3-128 is xxHash's, both linked in statically.
#include "runtime/lib/Hash.h"
#include <sodium/crypto_hash_sha256.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static std::string hexOf(const unsigned char *bytes, size_t count) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

std::string dsrt::sha256Hex(const void *data, size_t bytes) {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(digest, static_cast<const unsigned char *>(data), bytes);
  return hexOf(digest, sizeof(digest));
}

std::string dsrt::xxh3Hex(const void *data, size_t bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
  return hexOf(canonical.digest, sizeof(canonical.digest));
}
