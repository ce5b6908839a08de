#include "core/attention/selector.hpp"

#include <fmt/core.h>
#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>

namespace attnlab::attention {
namespace {

using config::SelectorPlan;

/// Parts the selector's draws from those of a scorer that draws itself.
constexpr uint64_t selection_draws = 1;

/// Runs of pages that hold a candidate key. Keys of one page stay together.
void to_pages(std::span<const Range> keys, int64_t page_size, std::vector<Range>& pages) {
  pages.clear();
  for (const Range& run : keys) {
    pages.push_back({static_cast<int32_t>(run.begin / page_size),
                     static_cast<int32_t>((run.end + page_size - 1) / page_size)});
  }
  normalise_runs(pages);
}

}  // namespace

void Selector::check_row(const plugin::Masker& scorer, const Tile& tile, int64_t row) const {
  const float* scores = row_scores(row);
  const int64_t units = (tile.visible_end(row) + page_size_ - 1) / page_size_;
  bool nan = false;
  for (int64_t i = 0; i < units; ++i) nan |= std::isnan(scores[i]);
  if (!nan) return;
  const int64_t key = std::find_if(scores, scores + units, [](float s) { return std::isnan(s); }) - scores;
  scorer.fail(fmt::format("it scored key {} of query head {}, position {} with NaN", key * page_size_,
                          tile.head_of(row), tile.position(row)),
              "score",
              {.layer = tile.problem().layer, .batch = tile.index().batch, .kv_head = tile.index().kv_head});
}

const float* Selector::reduce(const SelectorPlan& plan, const Tile& tile, int64_t row) {
  const auto units = static_cast<size_t>(scores_.unit_count);
  const bool maximum = plan.reduce == SelectorPlan::Reduce::max;
  if (!tile.shared_visibility()) return reduce_visible(maximum, tile, row);
  reduced_.assign(row_scores(row), row_scores(row) + units);
  for (int64_t other = row + 1; other < row + tile.group(); ++other) {
    const float* scores = row_scores(other);
    if (maximum) {
      for (size_t i = 0; i < units; ++i) reduced_[i] = std::max(reduced_[i], scores[i]);
    } else {
      for (size_t i = 0; i < units; ++i) reduced_[i] += scores[i];
    }
  }
  if (!maximum) {
    const float share = 1.0f / static_cast<float>(tile.group());
    for (float& score : reduced_) score *= share;
  }
  return reduced_.data();
}

const float* Selector::reduce_visible(bool maximum, const Tile& tile, int64_t row) {
  const auto units = static_cast<size_t>(scores_.unit_count);
  reduced_.assign(units, -std::numeric_limits<float>::infinity());
  std::vector<float> heads(units, 0);  // that see the unit
  for (int64_t member = row; member < row + tile.group(); ++member) {
    const float* scores = row_scores(member);
    tile.visible_runs(member, visible_);
    to_pages(std::vector<Range>(visible_), page_size_, visible_);
    for (const Range& run : visible_) {
      for (auto i = static_cast<size_t>(run.begin); i < static_cast<size_t>(run.end); ++i) {
        if (heads[i]++ == 0) {
          reduced_[i] = scores[i];
        } else {
          reduced_[i] = maximum ? std::max(reduced_[i], scores[i]) : reduced_[i] + scores[i];
        }
      }
    }
  }
  for (size_t i = 0; i < units && !maximum; ++i) {
    if (heads[i] > 0) reduced_[i] *= 1 / heads[i];
  }
  return reduced_.data();
}

void Selector::choose(const SelectorPlan& plan, const Tile& tile, int64_t row, const float* scores,
                      const Selection& prior, double start) {
  chosen_.clear();
  log_weight_.clear();
  candidates(prior.list(row), tile.visible_end(row), tile.hidden(row), candidates_);
  if (page_size_ > 1) {
    to_pages(candidates_, page_size_, units_);
  } else {
    units_ = candidates_;
  }
  switch (plan.kind) {
    case SelectorPlan::Kind::top_k: {
      const int64_t keys = plan.heavy_size.of(tile.visible_count(row));
      kernels::top_k(scores, units_, std::max<int64_t>(1, keys / page_size_), scratch_, chosen_,
                     tile.kernels());
      break;
    }
    case SelectorPlan::Kind::top_p: {
      std::span<const Range> of = units_;
      if (plan.of_total) {
        tile.visible_runs(row, visible_);
        of = visible_;
        if (page_size_ > 1) {
          to_pages(visible_, page_size_, visible_pages_);
          of = visible_pages_;
        }
      }
      // A share of 1 means all: rounding must not leave the last key out.
      const double mass = kernels::log_sum_exp(scores, of, tile.kernels());
      if (plan.top_p >= 1) {
        kernels::threshold(scores, units_, -std::numeric_limits<float>::infinity(), chosen_, tile.kernels());
      } else {
        kernels::top_p(scores, units_, plan.top_p, mass, scratch_, chosen_, tile.kernels());
      }
      break;
    }
    case SelectorPlan::Kind::threshold:
      kernels::threshold(scores, units_, static_cast<float>(plan.threshold), chosen_, tile.kernels());
      break;
    case SelectorPlan::Kind::importance: {
      const double units =
          static_cast<double>(plan.sample_size.of(tile.visible_count(row))) / static_cast<double>(page_size_);
      kernels::importance(scores, units_, std::max(1.0, units), plan.temperature, start, scratch_, chosen_,
                          log_weight_);
      return;
    }
  }
  // -inf excludes, also where the budget would reach that far.
  std::erase_if(chosen_,
                [&](int32_t unit) { return scores[unit] == -std::numeric_limits<float>::infinity(); });
}

bool Selector::write_sample(const Tile& tile, int64_t row, int64_t rows, RowWriter& out) const {
  int32_t* ids = nullptr;
  float* log_weight = nullptr;
  const int64_t keys = tile.key_count();
  if (out.reserve(row, rows, std::min(keys, static_cast<int64_t>(chosen_.size()) * page_size_), true, &ids,
                  &log_weight) != ATTNLAB_OK) {
    return false;
  }
  int64_t count = 0;
  for (size_t i = 0; i < chosen_.size(); ++i) {
    const int64_t begin = chosen_[i] * page_size_;
    for (int64_t key = begin; key < std::min(begin + page_size_, keys); ++key) {
      ids[count] = static_cast<int32_t>(key);
      log_weight[count++] = log_weight_[i];
    }
  }
  return out.commit(count, 0) == ATTNLAB_OK;
}

void Selector::run(const plugin::Masker& scorer, const SelectorPlan& plan, Tile& tile,
                   const attnlab_tile& view, const Selection& prior, RowWriter& out) {
  page_size_ = scorer.page_size();
  scores_ = {};
  scores_.struct_size = sizeof scores_;
  scores_.page_size = page_size_;
  scores_.unit_count = (tile.key_count() + page_size_ - 1) / page_size_;
  scores_.stride = (scores_.unit_count + 15) / 16 * 16;
  if (values_.size() < static_cast<size_t>(tile.rows() * scores_.stride)) {
    values_.resize(static_cast<size_t>(tile.rows() * scores_.stride));
  }
  scores_.values = values_.data();
  scorer.score(view, scores_);

  const bool shared = plan.share == SelectorPlan::Share::kv_group;
  const int64_t step = shared ? tile.group() : 1;
  for (int64_t row = 0; row < tile.rows(); row += step) {
    for (int64_t member = row; member < row + step; ++member) check_row(scorer, tile, member);
    const float* scores = shared ? reduce(plan, tile, row) : row_scores(row);
    // A group shares one list only if its rows had the same choice; otherwise each row picks by the common
    // scores.
    const bool alike = shared && tile.shared_visibility() && prior.span_end(row) >= row + step;
    const int64_t rows_per_choice = alike ? step : 1;
    for (int64_t member = row; member < row + step; member += rows_per_choice) {
      choose(plan, tile, member, scores, prior,
             Philox(mix_key(view.rng_key, selection_draws), view.rng_stream[member]).uniform());
      if (plan.samples()) {
        if (!write_sample(tile, member, rows_per_choice, out)) return;
        continue;
      }
      if (page_size_ > 1) {
        out.table().pages(out.table().context, member, rows_per_choice, page_size_,
                          static_cast<int64_t>(chosen_.size()), chosen_.data());
        continue;
      }
      int32_t* ids = nullptr;
      if (out.reserve(member, rows_per_choice, static_cast<int64_t>(chosen_.size()), false, &ids, nullptr) !=
          ATTNLAB_OK) {
        return;
      }
      std::copy(chosen_.begin(), chosen_.end(), ids);
      out.commit(static_cast<int64_t>(chosen_.size()), 0);
    }
  }
}

}  // namespace attnlab::attention
