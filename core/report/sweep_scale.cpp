#include "core/report/sweep_scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/report/format.hpp"

namespace attnlab::report {
namespace {

constexpr double zero_gap = 22, logarithmic_span = 30;

bool wants_logarithm(const std::vector<double>& numbers) {
  double low = INFINITY, high = 0;
  for (const double number : numbers) {
    if (number < 0) return false;
    if (number > 0) low = std::min(low, number);
    high = std::max(high, number);
  }
  return high >= logarithmic_span * low;
}

}  // namespace

SweepScale::SweepScale(const SweepAxis& axis, const std::vector<const SweepValue*>& values, double from,
                       double to)
    : from_(from), to_(to) {
  if (axis.kind != SweepAxis::Kind::list) {
    std::vector<double> numbers;
    for (const SweepValue* value : values) {
      if (std::isfinite(value->number)) numbers.push_back(value->number);
    }
    place_numbers(numbers, axis.kind == SweepAxis::Kind::logarithmic);
    return;
  }
  even_ = Even{};
  const auto add = [&](const std::string& text) {
    if (even_->places.emplace(text, even_->choices.size()).second) even_->choices.push_back(text);
  };
  for (const std::string& choice : axis.choices) add(choice);
  for (const SweepValue* value : values) add(value->text);
  even_->cell = std::fabs(to - from) / static_cast<double>(std::max<size_t>(even_->choices.size(), 1));
}

SweepScale::SweepScale(const std::vector<double>& numbers, double from, double to) : from_(from), to_(to) {
  place_numbers(numbers, wants_logarithm(numbers));
}

void SweepScale::place_numbers(const std::vector<double>& numbers, bool logarithmic) {
  if (logarithmic) {
    log_.emplace(numbers, from_, to_, zero_gap);
    return;
  }
  double low = 0, high = 1;
  if (!numbers.empty()) {
    low = *std::min_element(numbers.begin(), numbers.end());
    high = *std::max_element(numbers.begin(), numbers.end());
  }
  const double air = high > low ? 0.04 * (high - low) : std::max(0.5 * std::fabs(high), 0.5);
  linear_.emplace(low - air, high + air, from_, to_);
}

double SweepScale::at(const SweepValue& value) const {
  if (!even_) return at(value.number);
  const auto found = even_->places.find(value.text);
  const double place = found == even_->places.end() ? 0.0 : static_cast<double>(found->second);
  return from_ +
         (place + 0.5) / static_cast<double>(std::max<size_t>(even_->choices.size(), 1)) * (to_ - from_);
}

double SweepScale::at(double number) const {
  if (!std::isfinite(number)) return from_;
  return log_ ? log_->at(number) : linear_ ? linear_->at(number) : from_;
}

std::vector<SweepScale::Tick> SweepScale::ticks(double apart) const {
  std::vector<Tick> ticks;
  if (even_) {
    const size_t stride = static_cast<size_t>(std::ceil(apart / std::max(even_->cell, 1e-9)));
    for (size_t i = 0; i < even_->choices.size(); i += std::max<size_t>(stride, 1)) {
      const SweepValue value{even_->choices[i], {}};
      ticks.push_back({at(value), value.text});
    }
    return ticks;
  }
  if (log_) {
    if (log_->has_zero()) ticks.push_back({log_->at(0), "0"});
    for (const double tick : log_->ticks()) {
      const double place = log_->at(tick);
      if (ticks.empty() || std::fabs(place - ticks.back().at) >= apart)
        ticks.push_back({place, tick < 1e4 && tick >= 1 ? fmt::format("{:.0f}", tick) : number(tick, 1)});
    }
    return ticks;
  }
  const int most = std::clamp(static_cast<int>(std::fabs(to_ - from_) / apart), 1, 10);
  for (const double tick : linear_->ticks(most)) {
    const bool long_text = std::fabs(tick) >= 1e5 || (tick != 0 && std::fabs(tick) < 1e-3);
    ticks.push_back({linear_->at(tick), long_text ? number(tick, 2) : linear_->label(tick, most)});
  }
  return ticks;
}

}  // namespace attnlab::report
