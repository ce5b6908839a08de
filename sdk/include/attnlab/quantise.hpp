// Vectors of small unsigned levels: what label caches of a few bits per element are made of.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace attnlab {

/// Levels 0 to 2^bits - 1, spread evenly from the least to the largest element of a vector:
///   level = round(scale * (x - lowest)), half to even;   x ~ level / scale + lowest.
/// Levels are packed without gaps, the low bits of a byte first. A vector of equal elements comes back as it
/// was; otherwise an element is off by at most half a step, 1 / (2 scale). In float32, elements finite.
class Quantiser {
 public:
  /// `bits` in [1, 15].
  explicit Quantiser(int64_t bits) : bits_(bits), top_((1 << bits) - 1) {}

  /// Bytes of a packed vector, without its grid.
  static int64_t bytes(int64_t width, int64_t bits) { return (width * bits + 7) / 8; }
  /// Elements of a grid: lowest and scale.
  static constexpr int64_t grid_width = 2;

  /// `packed`: bytes(values.size(), bits) bytes, all of them written. `grid`: grid_width elements.
  void pack(std::span<const float> values, std::span<uint8_t> packed, std::span<float> grid) const {
    fit(values, grid);
    std::fill(packed.begin(), packed.end(), uint8_t{0});
    uint32_t buffer = 0;
    int64_t held = 0;
    size_t byte = 0;
    for (float value : values) {
      buffer |= level(value, grid) << held;
      for (held += bits_; held >= 8; held -= 8, buffer >>= 8) packed[byte++] = static_cast<uint8_t>(buffer);
    }
    if (held > 0) packed[byte] = static_cast<uint8_t>(buffer);
  }
  void unpack(std::span<const uint8_t> packed, std::span<const float> grid, std::span<float> values) const {
    const auto count = static_cast<int64_t>(values.size());
    const uint8_t* from = packed.data();
    float* to = values.data();
    if (8 % bits_ == 0) {
      for (int64_t i = 0; i < count; ++i)
        to[i] = static_cast<float>(from[i * bits_ / 8] >> (i * bits_ % 8) & int32_t(top_));
    } else {
      uint32_t buffer = 0;
      for (int64_t i = 0, held = 0; i < count; ++i, held -= bits_, buffer >>= bits_) {
        for (; held < bits_; held += 8) buffer |= uint32_t{*from++} << held;
        to[i] = static_cast<float>(buffer & top_);
      }
    }
    for (int64_t i = 0; i < count; ++i) to[i] = to[i] / grid[1] + grid[0];
  }
  /// What packing and unpacking make of the values, in place.
  void round(std::span<float> values) const {
    float grid[grid_width];
    fit(values, grid);
    for (float& value : values) value = element(level(value, grid), grid);
  }

 private:
  void fit(std::span<const float> values, std::span<float> grid) const {
    float lowest = std::numeric_limits<float>::infinity(), highest = -lowest;
    for (float value : values) {
      lowest = std::min(lowest, value);
      highest = std::max(highest, value);
    }
    const float range = highest - lowest;
    grid[0] = lowest;
    grid[1] = static_cast<float>(top_) / (range > 0 ? range : 1.0f);
    // Ranges beyond float32 at either end have no scale; the vector is then its lowest element, nearly.
    if (!(grid[1] > 0) || !std::isfinite(grid[1])) grid[1] = 1;
  }
  uint32_t level(float value, std::span<const float> grid) const {
    return static_cast<uint32_t>(
        std::clamp(std::nearbyint(grid[1] * (value - grid[0])), 0.0f, static_cast<float>(top_)));
  }
  static float element(uint32_t level, std::span<const float> grid) {
    return static_cast<float>(level) / grid[1] + grid[0];
  }

  int64_t bits_;
  uint32_t top_;
};

}  // namespace attnlab
