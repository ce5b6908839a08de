// The config of a look at attention operators by themselves: what their weights are, what they cost.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/scheme_plan.hpp"

namespace attnlab::config {

struct OperatorPlan {
  std::string name;  ///< as the config calls it
  SchemePlan scheme;
};

/// How an operator's own parameters are drawn in place of what the scheme starts with.
struct ParameterDraw {
  enum class Kind { normal, uniform };
  Kind kind = Kind::normal;
  double scale = 1;          ///< normal: standard deviation
  double low = 0, high = 1;  ///< uniform
};

/// "spectrum": the weights of one head on normal queries and keys.
struct SpectrumPlan {
  std::vector<int64_t> tokens;  ///< ascending
  int64_t head_dim = 16;
  int64_t samples = 3;
  uint64_t seed = 1;  ///< of queries, keys and first parameters
  bool causal = false;
  bool hankel = false;                        ///< causal only
  std::map<std::string, ParameterDraw> draw;  ///< by operator
};

/// "scaling": time and state against length.
struct ScalingPlan {
  std::vector<int64_t> tokens;  ///< ascending
  int64_t heads = 4, head_dim = 64;
  int64_t repeats = 5;
  uint64_t seed = 1;
  double most_seconds = 10;  ///< of one operator at one length, in each mode
  bool causal = true;
  bool prefill = true, decode = true;
};

struct OperatorsPlan {
  std::string title;
  std::vector<std::string> plugin_path;  ///< absolute
  std::vector<OperatorPlan> operators;   ///< in the order of the config
  std::optional<SpectrumPlan> spectrum;
  std::optional<ScalingPlan> scaling;
};

/// Reads and validates the whole document. Throws UserError; an unknown scheme is Exit::plugin_missing.
OperatorsPlan resolve_operators(const Document& document, const plugin::Catalog& catalog);

/// The config with every default written out; it resolves to the same plan.
io::Json to_json(const OperatorsPlan& plan, const plugin::Catalog& catalog);

/// "spectrum" beside "tokens" and "draw", and "scaling" beside "tokens" and "mode".
const std::vector<plugin::Parameter>& spectrum_parameters();
const std::vector<plugin::Parameter>& scaling_parameters();

}  // namespace attnlab::config
