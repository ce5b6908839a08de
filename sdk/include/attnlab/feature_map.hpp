// Feature maps of linear attention: what queries and keys become, element by element, before their products.
#pragma once

#include <attnlab/var.hpp>

#include <array>
#include <string_view>

namespace attnlab {

/// A choice for a scheme's parameter; `names(kFeatureMapNames)` describes it.
enum class FeatureMap {
  identity,
  relu,
  elu_plus_one,        ///< x + 1 above 0, else e^x (arXiv:2006.16236, equation 7)
  exponential,         ///< e^x
  clamped_exponential  ///< e^min(x, 5)
};
inline constexpr std::array<std::string_view, 5> kFeatureMapNames = {"identity", "relu", "elu+1", "exp",
                                                                     "exp_clamped"};

inline Var feature_map(FeatureMap map, const Var& x) {
  switch (map) {
    case FeatureMap::identity:
      return x;
    case FeatureMap::relu:
      return relu(x);
    case FeatureMap::elu_plus_one:
      return relu(x) + exp(minimum(x, scalar(x, 0)));
    case FeatureMap::exponential:
      return exp(x);
    case FeatureMap::clamped_exponential:
      return exp(minimum(x, scalar(x, 5)));
  }
  return x;
}

}  // namespace attnlab
