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
    int64_t i = bits_ == 1   ? unpack_eights<1>(packed.data(), grid, values)
                : bits_ == 2 ? unpack_eights<2>(packed.data(), grid, values)
                : bits_ == 4 ? unpack_eights<4>(packed.data(), grid, values)
                : bits_ == 8 ? unpack_eights<8>(packed.data(), grid, values)
                             : 0;
    const uint8_t* from = packed.data() + i * bits_ / 8;
    uint32_t buffer = 0;
    for (int64_t held = 0; i < count; ++i, held -= bits_, buffer >>= bits_) {
      for (; held < bits_; held += 8) buffer |= uint32_t{*from++} << held;
      values[static_cast<size_t>(i)] = element(buffer & top_, grid);
    }
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
  /// Eight elements at a time, of which a compiler makes vectors; returns how many were unpacked.
  template <int bits>
  static int64_t unpack_eights(const uint8_t* from, std::span<const float> grid, std::span<float> values) {
    constexpr int per_byte = 8 / bits, top = (1 << bits) - 1;
    const float lowest = grid[0], scale = grid[1];
    const int64_t count = static_cast<int64_t>(values.size()) / 8 * 8;
    float* to = values.data();
    for (int64_t i = 0; i < count; i += 8, from += bits) {
      int32_t levels[8];
      for (int e = 0; e < 8; ++e) levels[e] = from[e / per_byte] >> (e % per_byte * bits) & top;
      for (int e = 0; e < 8; ++e) to[i + e] = static_cast<float>(levels[e]) / scale + lowest;
    }
    return count;
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
