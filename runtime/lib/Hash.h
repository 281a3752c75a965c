// The hashes of a package: SHA-256 for code and small files, XXH3-128 for chunks of weights.
#ifndef DSRT_LIB_HASH_H
#define DSRT_LIB_HASH_H

#include <cstddef>
#include <string>

namespace dsrt {

/// 64 hex digits.
std::string sha256Hex(const void *data, size_t bytes);

/// 32 hex digits, most significant first (the canonical form of xxHash).
std::string xxh3Hex(const void *data, size_t bytes);

} // namespace dsrt
#endif // DSRT_LIB_HASH_H
