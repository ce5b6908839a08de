#include "core/sweep/samplers/sequence.hpp"

#include <attnlab/philox.hpp>
#include <boost/random/sobol.hpp>
#include <cmath>

namespace attnlab::sweep {
namespace {

/// Keys of the streams of random numbers.
constexpr uint64_t shift_stream = 1, point_stream = 2;

double unit(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

class Random : public Sequence {
 public:
  Random(size_t dimensions, uint64_t seed) : place_(dimensions), seed_(seed) {}
  std::vector<double> next() override {
    Philox random(mix_key(seed_, point_stream), index_++);
    for (double& coordinate : place_) coordinate = random.uniform();
    return place_;
  }

 private:
  std::vector<double> place_;
  uint64_t seed_, index_ = 0;
};

class Sobol : public Sequence {
 public:
  Sobol(size_t dimensions, uint64_t seed) : engine_(dimensions), shift_(dimensions, 0) {
    Philox random(mix_key(seed, shift_stream));
    if (seed == 0) return;
    for (uint64_t& digits : shift_) digits = random.next_u64();
  }
  std::vector<double> next() override {
    std::vector<double> place;
    // An exclusive or of all places with one number keeps what makes the sequence even.
    for (const uint64_t digits : shift_) place.push_back(unit(engine_() ^ digits));
    return place;
  }

 private:
  boost::random::sobol engine_;
  std::vector<uint64_t> shift_;
};

class Halton : public Sequence {
 public:
  Halton(size_t dimensions, uint64_t seed) : shift_(dimensions, 0) {
    Philox random(mix_key(seed, shift_stream));
    for (int candidate = 2; bases_.size() < dimensions; ++candidate) {
      bool prime = true;
      for (const int base : bases_) prime = prime && candidate % base != 0;
      if (prime) bases_.push_back(candidate);
    }
    if (seed == 0) return;
    for (double& shift : shift_) shift = random.uniform();
  }
  std::vector<double> next() override {
    ++index_;
    std::vector<double> place;
    for (size_t d = 0; d < bases_.size(); ++d) {
      double inverse = 0, weight = 1.0 / bases_[d];
      for (auto rest = index_; rest > 0; rest /= bases_[d], weight /= bases_[d])
        inverse += static_cast<double>(rest % bases_[d]) * weight;
      const double shifted = inverse + shift_[d];
      place.push_back(std::min(shifted - std::floor(shifted), 1 - 0x1p-53));
    }
    return place;
  }

 private:
  std::vector<int> bases_;
  std::vector<double> shift_;
  int64_t index_ = 0;
};

}  // namespace

std::unique_ptr<Sequence> make_sequence(SamplerPlan::Kind kind, size_t dimensions, uint64_t seed) {
  if (kind == SamplerPlan::Kind::sobol) return std::make_unique<Sobol>(dimensions, seed);
  if (kind == SamplerPlan::Kind::halton) return std::make_unique<Halton>(dimensions, seed);
  return std::make_unique<Random>(dimensions, seed);
}

}  // namespace attnlab::sweep
