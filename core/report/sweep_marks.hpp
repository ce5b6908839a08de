// What the figures of a sweep say of one trial.
#pragma once

#include <string>

#include "core/report/sweep_figures.hpp"

namespace attnlab::report {

inline bool is_feasible(const SweepTrial& trial) {
  return trial.judgement.kind == sweep::Judgement::Kind::feasible;
}

/// Escaped: its id and what became of it, then a line for each objective, the density and each axis.
std::string trial_tip(const DrawnSweep& drawn, size_t trial);

}  // namespace attnlab::report
