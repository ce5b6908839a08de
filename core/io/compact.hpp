// Arrays of numbers as short text, for JSON files and pages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attnlab::io {

/// Bytes of the smallest of uint8, uint16 and uint32 that holds `largest`: 1, 2 or 4.
int width_of(uint32_t largest);

/// Base64 (RFC 4648, padded) of the zlib stream (RFC 1950) of the numbers as little-endian unsigned integers
/// of `width` bytes, 1, 2 or 4, which must hold each of them. Python reads it back with
/// np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u1"), a browser with DecompressionStream.
/// Equal numbers give equal text for one version of zlib. Pure, thread safe, O(numbers).
std::string compact(const std::vector<uint32_t>& numbers, int width);

}  // namespace attnlab::io
