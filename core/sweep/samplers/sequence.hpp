// Sequences of places in the unit cube.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/sweep/config.hpp"

namespace attnlab::sweep {

/// Each place is a function of seed and index alone.
class Sequence {
 public:
  virtual ~Sequence() = default;
  /// The next place, each coordinate in [0, 1).
  virtual std::vector<double> next() = 0;
};

/// Sobol (directions of Joe and Kuo; without the origin) shifted digitally by the seed, Halton (bases are
/// primes, from index 1) shifted modulo 1, or Philox. Seed 0 leaves Sobol and Halton as they are.
std::unique_ptr<Sequence> make_sequence(SamplerPlan::Kind kind, size_t dimensions, uint64_t seed);

}  // namespace attnlab::sweep
