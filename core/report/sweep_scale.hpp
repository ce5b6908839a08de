// Places of a sweep's values along a line: choices evenly, numbers linearly or by their logarithm.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/report/axis.hpp"
#include "core/report/compare_plot.hpp"
#include "core/report/sweep.hpp"

namespace attnlab::report {

class SweepScale {
 public:
  /// Of one axis of the space, for these values of it. `from` and `to` are pixels, in any order.
  SweepScale(const SweepAxis& axis, const std::vector<const SweepValue*>& values, double from, double to);
  /// Of finite numbers: by their logarithm where all are at least 0 and the positive ones span a factor
  /// of 30.
  SweepScale(const std::vector<double>& numbers, double from, double to);

  /// Pixel of a value.
  double at(const SweepValue& value) const;
  double at(double number) const;

  struct Tick {
    double at;
    std::string text;
  };
  /// Labelled places at least about `apart` pixels from one another.
  std::vector<Tick> ticks(double apart) const;
  bool is_even() const { return even_.has_value(); }
  bool is_logarithmic() const { return log_.has_value(); }
  /// Pixels between neighbouring choices; 0 where values are numbers.
  double cell() const { return even_ ? even_->cell : 0; }

 private:
  struct Even {
    std::vector<std::string> choices;
    std::unordered_map<std::string, size_t> places;
    double cell = 0;
  };
  void place_numbers(const std::vector<double>& numbers, bool logarithmic);

  double from_, to_;
  std::optional<Even> even_;
  std::optional<LogAxis> log_;
  std::optional<LinearAxis> linear_;
};

}  // namespace attnlab::report
