#include "core/report/format.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace attnlab::report {
namespace {

/// "4.50e-03" -> exponent -3 after rounding to `digits`, so that 9.996 counts as 10.0.
int rounded_exponent(double value, int digits) {
  const std::string text = fmt::format("{:.{}e}", value, digits - 1);
  return std::atoi(text.c_str() + text.find('e') + 1);
}

std::string fixed(double value, int digits) {
  return fmt::format("{:.{}f}", value, std::max(0, digits - 1 - rounded_exponent(value, digits)));
}

/// What reads the same in every unit, or "".
std::string special(double value) {
  if (std::isnan(value)) return "-";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value == 0 ? "0" : "";
}

}  // namespace

std::string number(double value, int digits) {
  if (std::string text = special(value); !text.empty()) return text;
  const int exponent = rounded_exponent(value, digits);
  if (exponent >= -2 && exponent < 4) return fixed(value, digits);
  std::string text = fmt::format("{:.{}e}", value, digits - 1);
  return fmt::format("{}e{}", text.substr(0, text.find('e')), exponent);
}

std::string percent(double share, int digits) {
  const std::string text = special(share);
  if (!text.empty()) return std::isfinite(share) ? text + " %" : text;
  const double value = share * 100;
  for (int more = 0; share > 0 && share < 1 && rounded_exponent(value, digits) >= 2; ++more) {
    if (more == 4) return "<100 %";
    const std::string shown = fmt::format("{:.{}f}", value, more);
    if (!shown.starts_with("100")) return shown + " %";
  }
  return number(value, digits) + " %";
}

std::string duration(double seconds) {
  if (std::string text = special(seconds); !text.empty()) return std::isfinite(seconds) ? text + " s" : text;
  const double size = std::fabs(seconds);
  if (size < 0.9995e-3) return number(seconds * 1e6) + " µs";
  if (size < 0.9995) return number(seconds * 1e3) + " ms";
  if (size < 999.5) return number(seconds) + " s";
  return number(seconds / 60) + " min";
}

std::string byte_size(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  constexpr std::array units{"KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.5 && unit + 1 < units.size(); ++unit) value /= 1024;
  return fmt::format("{} {}", number(value), units[unit]);
}

std::string id_ranges(const std::vector<int64_t>& ids) {
  std::string text;
  for (size_t first = 0, last; first < ids.size(); first = last + 1) {
    last = first;
    while (last + 1 < ids.size() && ids[last + 1] - 1 == ids[last]) ++last;
    if (last == first + 1) last = first;
    if (!text.empty()) text += ", ";
    text += last == first ? fmt::format("{}", ids[first]) : fmt::format("{}-{}", ids[first], ids[last]);
  }
  return text;
}

}  // namespace attnlab::report
