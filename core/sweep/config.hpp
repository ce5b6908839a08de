// The config of `attnlab sweep`: a base config, what is varied in it, who chooses, and what is best.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/plugin/catalog.hpp"
#include "core/sweep/objective.hpp"
#include "core/sweep/space.hpp"
#include "core/sweep/zygote.hpp"

namespace attnlab::sweep {

struct SamplerPlan {
  enum class Kind { grid, random, sobol, halton, tpe, successive_halving };
  Kind kind = Kind::grid;
  int64_t trials = 0;  ///< of the first rung in successive halving; a grid has as many as it has points
  uint64_t seed = 1;
  int64_t batch = 16;           ///< tpe: trials between decisions
  int64_t startup = 16;         ///< tpe: trials before the first decision
  double good = 0.1;            ///< tpe: share of the trials that count as good
  Kind first = Kind::sobol;     ///< successive_halving: who chooses the points of the first rung
  double keep = 0.25;           ///< successive_halving: share that goes on to the next rung
  std::vector<io::Json> rungs;  ///< successive_halving: {pointer: value} over base and point, in order
};
std::string name_of(SamplerPlan::Kind kind);

struct SweepConfig {
  std::string title;
  config::Document document;  ///< the sweep's config
  config::Document base;      ///< the run's config
  std::string pipeline;       ///< of the base: the one that is measured, and the only one that runs
  Space space;
  SamplerPlan sampler;
  Goal goal;
  Limits limits;        ///< of a trial; memory_bytes 0: a share of the machine's
  int64_t workers = 0;  ///< 0: as many as cores and memory allow
};

/// "plugin_path" of the base, absolute.
std::vector<std::string> sweep_plugin_folders(const config::Document& document);

/// Validates the sweep's config itself; its points are validated by a Planner. Throws UserError.
SweepConfig resolve_sweep(const config::Document& document, const plugin::Catalog& catalog);

/// Reads "space", "conditions", "default_space" and those "constraints" that need no metric. The other
/// constraints go to `sweep.goal`. `sweep` has its documents and pipeline. Throws UserError.
void resolve_space(const plugin::Catalog& catalog, SweepConfig& sweep);

/// `sweep.base` with a point, and a rung's values over it. What is said is said by the sweep's config.
config::Document apply(const SweepConfig& sweep, const Point& point, int rung);

/// The error of a point's config as one of the sweep: at the place where the sweep's config says it.
base::UserError in_sweep(const base::UserError& error, const SweepConfig& sweep, const Point& point,
                         int rung);

/// Tables of the objects, for the reference page.
const std::vector<plugin::Parameter>& sweep_parameters();
std::vector<plugin::Parameter> sampler_parameters(SamplerPlan::Kind kind);
const std::vector<plugin::Parameter>& limit_parameters();
const std::vector<plugin::Parameter>& executor_parameters();

}  // namespace attnlab::sweep
