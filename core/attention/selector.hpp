// From scores to keys.
#pragma once

#include <vector>

#include "core/attention/row_writer.hpp"
#include "core/config/run_plan.hpp"
#include "core/kernels/selection/select.hpp"
#include "core/plugin/masker.hpp"

namespace attnlab::attention {

/// Scores a tile with a scorer and writes the keys that its selector chooses. One per worker.
class Selector {
 public:
  /// Chooses among each row's candidates. Ties go to the lower key. Throws UserError when a score is NaN.
  void run(const plugin::Masker& scorer, const config::SelectorPlan& plan, Tile& tile,
           const attnlab_tile& view, const Selection& prior, RowWriter& out);

 private:
  const float* row_scores(int64_t row) const {
    return scores_.alias != nullptr ? scores_.alias + row * scores_.alias_stride
                                    : scores_.values + row * scores_.stride;
  }
  void check_row(const plugin::Masker& scorer, const Tile& tile, int64_t row) const;
  const float* reduce(const config::SelectorPlan& plan, const Tile& tile, int64_t row);
  /// Over the heads that see a unit: the others' scores mean nothing, and -inf would exclude it for all.
  const float* reduce_visible(bool maximum, const Tile& tile, int64_t row);
  /// `start`: uniform in [0, 1), for selectors that sample.
  void choose(const config::SelectorPlan& plan, const Tile& tile, int64_t row, const float* scores,
              const Selection& prior, double start);
  /// False when the writer refused.
  bool write_sample(const Tile& tile, int64_t row, int64_t rows, RowWriter& out) const;

  attnlab_scores scores_{};
  int64_t page_size_ = 1;
  std::vector<float> values_, reduced_;
  std::vector<Range> candidates_, units_, visible_, visible_pages_;
  std::vector<int32_t> chosen_;
  std::vector<float> log_weight_;  // of sampled units
  kernels::SelectScratch scratch_;
};

}  // namespace attnlab::attention
