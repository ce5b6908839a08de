// What subjects of a comparison take: decode state, time and memory.
#pragma once

#include "core/train/compare.hpp"

namespace attnlab::train {

/// Bytes of one sequence's decode state at two lengths, and the line through them.
struct MeasuredState {
  std::string refusal;  ///< why it does not decode, or ""
  int64_t short_tokens = 0, long_tokens = 0;
  uint64_t short_bytes = 0, long_bytes = 0;

  double per_token() const;
  double per_sequence() const;  ///< of the line at no token
};
/// At half a window and at a whole one.
MeasuredState measure_state(const Study& study);

/// Against the clock: not equal from run to run.
struct SubjectClock {
  double update_seconds = 0;               ///< median
  double update_low = 0, update_high = 0;  ///< quartiles
  double tokens_per_second = 0;            ///< of updates
  double decode_tokens_per_second = 0;     ///< of all sequences together; 0: it does not decode
  uint64_t memory_bytes = 0;  ///< parameters, moments, and the most that an update holds beside them
};

/// Updates of all subjects in turn, then decoding in turn, so that what the machine does beside reaches all
/// alike. Empty when `interrupted` said so. [main thread]
std::vector<SubjectClock> measure_clocks(const config::ComparePlan& plan, const plugin::Catalog& catalog,
                                         const config::Document& comparison,
                                         const std::function<void(int64_t done, int64_t all)>& progress,
                                         const std::function<bool()>& interrupted);

}  // namespace attnlab::train
