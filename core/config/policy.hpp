// Which pipeline each layer and query head uses, as a policy of the config says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace attnlab::config {

/// Layers or heads that a key of a policy names: "0,16", "2,4-7", or "*", which is every other.
struct IndexList {
  std::string text;                                ///< the key
  std::vector<std::pair<int64_t, int64_t>> spans;  ///< closed, ascending, disjoint; none: "*"

  bool is_rest() const { return spans.empty(); }
  bool contains(int64_t index) const;
};

/// Regular expression of such a key, and its largest length.
inline constexpr const char* index_list_pattern =
    "^(\\*|[0-9]{1,7}(-[0-9]{1,7})?(,[0-9]{1,7}(-[0-9]{1,7})?)*)$";
inline constexpr size_t index_list_length = 1024;

/// Stages [begin, end) of the policy's pipeline, which run for some heads; none: dense attention.
struct VariantPlan {
  std::string name;      ///< of the pipeline, or "layers 0,16" for a list of stages in the policy itself
  bool is_named = true;  ///< the policy names a pipeline
  size_t begin = 0, end = 0;
};

struct HeadRule {
  IndexList heads;
  size_t variant = 0;
};

struct LayerRule {
  IndexList layers;
  std::optional<size_t> variant;  ///< unset: `heads` say
  std::vector<HeadRule> heads;
};

struct PolicyPlan {
  std::vector<VariantPlan> variants;
  std::vector<LayerRule> layers;
  std::vector<HeadRule> heads;  ///< in every layer

  /// Index of the variant that a query head uses: what the heads of its layer's rule say, else what the heads
  /// of every layer say, else its layer's rule. Nothing: the policy does not say.
  std::optional<size_t> variant_of(int64_t layer, int64_t head) const;
};

}  // namespace attnlab::config
