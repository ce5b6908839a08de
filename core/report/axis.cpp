#include "core/report/axis.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attnlab::report {

LogAxis::LogAxis(const std::vector<double>& values, double from, double to, double zero_gap)
    : zero_(from), start_(from), end_(to), has_zero_(false) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : values) {
    has_zero_ = has_zero_ || value <= 0;
    if (!std::isfinite(value) || value <= 0) continue;
    low = std::min(low, std::log10(value));
    high = std::max(high, std::log10(value));
  }
  if (low > high) low = high = 0;
  // At least a factor of four, and a little air at both ends.
  const double air = std::max(0.04 * (high - low), (0.6 - (high - low)) / 2);
  low_ = low - air;
  high_ = high + air;
  if (has_zero_) start_ += to > from ? zero_gap : -zero_gap;
}

double LogAxis::at(double value) const {
  if (value <= 0) return zero_;
  const double place = std::clamp((std::log10(value) - low_) / (high_ - low_), 0.0, 1.0);
  return start_ + place * (end_ - start_);
}

std::vector<double> LogAxis::ticks() const {
  std::vector<double> ticks;
  const bool fine = high_ - low_ <= 2.7;
  const int stride = std::max(1, static_cast<int>((high_ - low_) / 8) + 1);
  for (int decade = static_cast<int>(std::floor(low_)); decade <= high_; ++decade) {
    if (!fine && decade % stride != 0) continue;
    for (const int step : {1, 2, 5}) {
      const double exponent = decade + std::log10(step);
      if (exponent >= low_ && exponent <= high_ && (fine || step == 1))
        ticks.push_back(step * std::pow(10.0, decade));
    }
  }
  return ticks;
}

}  // namespace attnlab::report
