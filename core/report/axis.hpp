// A logarithmic axis that also has a place for 0 and for infinity.
#pragma once

#include <vector>

namespace attnlab::report {

class LogAxis {
 public:
  /// Fits finite positive `values`; others only decide whether 0 gets its own place at `from`, `zero_gap`
  /// pixels apart from the rest. `from` and `to` are pixels, in any order.
  LogAxis(const std::vector<double>& values, double from, double to, double zero_gap);

  /// Pixel of a value that is not NaN: `from` for 0 and below, clamped to the ends.
  double at(double value) const;
  bool has_zero() const { return has_zero_; }
  /// Positive ticks inside the axis, at most about nine: 1, 2, 5 steps on less than three decades, else
  /// powers of ten.
  std::vector<double> ticks() const;

 private:
  double low_, high_;  // decimal logarithms
  double zero_, start_, end_;
  bool has_zero_;
};

}  // namespace attnlab::report
