// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attnlab::report {

/// `digits` significant digits: "0.0123", "12.3"; below 0.01 and from 10000 on "3.21e-3". "-" for NaN, "inf",
/// "0".
std::string number(double value, int digits = 3);

/// A share as a percentage, "10.1 %". Only 1 prints as "100 %": what would round to it shows more digits.
std::string percent(double share, int digits = 3);

/// "340 µs", "12.3 ms", "1.23 s", "75.0 min".
std::string duration(double seconds);

/// "512 B", "1.50 KiB", up to TiB.
std::string byte_size(uint64_t bytes);

/// Ids in the given order, runs of three or more drawn together: "0-4, 8, 12, 13".
std::string id_ranges(const std::vector<int64_t>& ids);

}  // namespace attnlab::report
