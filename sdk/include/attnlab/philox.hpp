// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011). Every value is a pure function of (key, stream, draw): no state to share, no order to keep.
//
// Integers and `uniform()` have the same bits on every platform. Normal variates use no libm but their own
// polynomials over IEEE operations, so they are the same too wherever the compiler neither contracts a*b+c to
// an FMA nor reorders sums (-ffp-contract=off, no -ffast-math).
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <utility>

namespace attnlab {

namespace random_detail {

/// Output number `index` of the splitmix64 generator with state `key` (Steele, Lea and Flood, OOPSLA 2014):
/// for each key a bijection of the index in which every input bit flips every output bit with probability
/// near 1/2.
constexpr uint64_t splitmix(uint64_t key, uint64_t index) {
  uint64_t x = key + (index + 1) * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace random_detail

/// 64-bit key from a seed and any number of integers (layer, head, position, ...): order and count of the
/// parts matter, and neighbouring values give unrelated keys.
template <std::convertible_to<uint64_t>... Parts>
constexpr uint64_t mix_key(uint64_t seed, Parts... parts) {
  uint64_t key = random_detail::splitmix(seed, 0);
  ((key = random_detail::splitmix(key, static_cast<uint64_t>(parts))), ...);
  return key;
}

/// Two independent N(0, 1) variates from 64 random bits (Box and Muller 1958): sqrt(-2 ln u) (cos a, sin a).
/// float32 with 31 bits of u (|x| <= 6.7) and 32 bits of angle: for bulk data.
/// Branch-free: a loop over it vectorises with -fno-math-errno -fno-trapping-math.
inline std::pair<float, float> normal_pair(uint32_t radius_bits, uint32_t angle_bits);

/// A stream of random numbers. Draw d of a stream is the Philox block with counter {d_lo, d_hi, stream_lo,
/// stream_hi}: four 32-bit words; `next_*` consume the words of draws 0, 1, 2, ... in order. Period 2^66
/// words. A value type; not thread-safe, but any number of objects may use the same key and stream.
class Philox {
 public:
  using Block = std::array<uint32_t, 4>;

  constexpr explicit Philox(uint64_t key, uint64_t stream = 0) : key_(key), stream_(stream) {}

  /// The Philox4x32-10 bijection. Words from least to most significant.
  static constexpr Block block(Block counter, std::array<uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
      uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
      uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
      counter = {high(product1) ^ counter[1] ^ key[0], low(product1), high(product0) ^ counter[3] ^ key[1],
                 low(product0)};
      key[0] += 0x9E3779B9u;
      key[1] += 0xBB67AE85u;
    }
    return counter;
  }

  /// The four words of one draw: random access that leaves the position of `next_*` alone.
  constexpr Block at(uint64_t draw) const {
    return block({low(draw), high(draw), low(stream_), high(stream_)}, {low(key_), high(key_)});
  }

  constexpr uint32_t next_u32() {
    if (used_ == words_.size()) {
      words_ = at(draw_++);
      used_ = 0;
    }
    return words_[used_++];
  }

  /// Two words, the low one first.
  constexpr uint64_t next_u64() {
    uint64_t low_word = next_u32();
    return low_word | uint64_t{next_u32()} << 32;
  }

  /// Uniform in [0, 1), a multiple of 2^-53.
  constexpr double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }

  /// N(0, 1) by Box and Muller in double. Variates come in pairs: the first call of a pair takes two uint64
  /// and keeps the second variate for the next call, whatever else is drawn in between.
  double normal();

  /// Uniform integer in [0, n), without bias (Lemire 2019, ACM TOMACS 29(1)); 0 for n = 0.
  constexpr uint64_t below(uint64_t n) {
    Product product = Product{next_u64()} * n;
    if (static_cast<uint64_t>(product) < n) {
      // Of the 2^64 inputs, 2^64 mod n are too many: those whose low half lies below that are drawn again.
      uint64_t surplus = (0 - n) % n;
      while (static_cast<uint64_t>(product) < surplus) product = Product{next_u64()} * n;
    }
    return static_cast<uint64_t>(product >> 64);
  }

 private:
  __extension__ typedef unsigned __int128 Product;

  static constexpr uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
  static constexpr uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }

  uint64_t key_;
  uint64_t stream_;
  uint64_t draw_ = 0;
  Block words_{};
  size_t used_ = 4;
  double second_normal_ = 0;
  bool has_second_normal_ = false;
};

namespace random_detail {

/// cos and sin of (quadrant mod 4 + fraction) quarter turns, |fraction| <= 1/2, by Taylor series of `Terms`
/// terms on
/// [-pi/4, pi/4]. 6 terms are exact to float32, 9 to double.
template <int Terms, class Real>
inline std::pair<Real, Real> cos_sin(uint32_t quadrant, Real fraction) {
  Real angle = fraction * static_cast<Real>(1.57079632679489661923);
  Real square = angle * angle;
  Real cosine = 1;
  Real sine = 1;
  // Horner from the last term: cos = 1 - x^2/(1*2) (1 - x^2/(3*4) (...)), sin = x (1 - x^2/(2*3) (...)).
  for (int term = Terms; term >= 1; --term) {
    cosine = 1 - square * (1 / static_cast<Real>((2 * term - 1) * (2 * term))) * cosine;
    sine = 1 - square * (1 / static_cast<Real>((2 * term) * (2 * term + 1))) * sine;
  }
  sine *= angle;
  Real c = (quadrant & 1) != 0 ? sine : cosine;
  Real s = (quadrant & 1) != 0 ? cosine : sine;
  return {((quadrant + 1) & 2) != 0 ? -c : c, (quadrant & 2) != 0 ? -s : s};
}

/// ln(2^exponent mantissa) for mantissa in [sqrt(1/2), sqrt(2)]: 2 artanh(z), z = (m - 1)/(m + 1), |z| <
/// 0.172.
template <int Terms, class Real>
inline Real logarithm(Real exponent, Real mantissa) {
  Real z = (mantissa - 1) / (mantissa + 1);
  Real square = z * z;
  Real series = 0;
  for (int term = Terms; term >= 1; --term) series = (series + 1 / static_cast<Real>(2 * term + 1)) * square;
  return exponent * static_cast<Real>(0.69314718055994530942) + (z + z * series) * 2;
}

}  // namespace random_detail

inline std::pair<float, float> normal_pair(uint32_t radius_bits, uint32_t angle_bits) {
  // u = (bits + 1/2) 2^-31 in (0, 1]: signed conversions, because SIMD has no unsigned ones.
  float u = (static_cast<float>(static_cast<int32_t>(radius_bits >> 1)) + 0.5f) * 0x1p-31f;
  int32_t u_bits = std::bit_cast<int32_t>(u);
  int32_t exponent = (u_bits - 0x3f3504f3) >> 23;  // bits of sqrt(1/2): the mantissa starts there
  float mantissa = std::bit_cast<float>(u_bits - exponent * (1 << 23));
  float radius = std::sqrt(-2.0f * random_detail::logarithm<5>(static_cast<float>(exponent), mantissa));
  // The nearest quarter turn (modulo 4), and the signed rest in the low 30 bits.
  float fraction = static_cast<float>(static_cast<int32_t>(angle_bits << 2)) * 0x1p-32f;
  auto [c, s] = random_detail::cos_sin<6>((angle_bits + (1u << 29)) >> 30, fraction);
  return {radius * c, radius * s};
}

inline double Philox::normal() {
  if (has_second_normal_) {
    has_second_normal_ = false;
    return second_normal_;
  }
  double u = 1 - uniform();  // in (0, 1]
  uint64_t u_bits = std::bit_cast<uint64_t>(u);
  int64_t exponent = static_cast<int64_t>(u_bits - 0x3fe6a09e667f3bcdu) >> 52;  // bits of sqrt(1/2), as above
  double mantissa = std::bit_cast<double>(u_bits - (static_cast<uint64_t>(exponent) << 52));
  double radius = std::sqrt(-2 * random_detail::logarithm<11>(static_cast<double>(exponent), mantissa));
  uint64_t angle = next_u64();
  double fraction = static_cast<double>(static_cast<int64_t>(angle << 2)) * 0x1p-64;
  auto [c, s] =
      random_detail::cos_sin<9>(static_cast<uint32_t>((angle + (uint64_t{1} << 61)) >> 62), fraction);
  second_normal_ = radius * s;
  has_second_normal_ = true;
  return radius * c;
}

}  // namespace attnlab
