#include "core/mask/merge.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "core/base/error.hpp"
#include "core/mask/builder.hpp"

namespace attnlab::mask {
namespace {

Entry merged(const Entry& a, const Entry& b, MergeRule rule) {
  if (b.probability == 0) return a;
  if (a.probability == 0) return b;
  if (rule == MergeRule::strict) return {a.key, 1, 0};
  const float p = std::min(1.0f, a.probability + b.probability);
  return {a.key, p, log_weight_of(p)};
}

}  // namespace

Mask merge(const Mask& a, const Mask& b, MergeRule rule) {
  const Shape& shape = a.shape();
  if (shape != b.shape()) {
    const auto words = [](const Shape& s) {
      return fmt::format("[{}, {}, {}, {}]", s.batch, s.heads, s.queries, s.keys);
    };
    throw base::UserError("masks of different shapes cannot be merged",
                          {.found = words(shape) + " and " + words(b.shape()), .allowed = "equal shapes"});
  }
  if (a.is_full() || b.is_full()) return Mask::full(shape);
  if (a.is_empty()) return b.normalized();
  if (b.is_empty()) return a.normalized();
  if (rule == MergeRule::strict && a.has_sampled() && b.has_sampled()) {
    throw base::UserError("two masks that both hold sampled entries cannot be merged",
                          {.found = "entries with inclusion probability below 1 in both",
                           .allowed = "at most one of the two masks sampled: the union's probability needs "
                                      "both masks' p at every key, "
                                      "and a mask knows p only for the keys that were drawn",
                           .suggestion = "keep one sampling stage"});
  }
  const Extents extents = combined(a.extents(), b.extents());
  const bool dense = a.state() == State::dense || b.state() == State::dense;
  Builder builder(shape, extents, dense ? State::dense : State::sparse);
  for_each_stored_row(shape, extents, [&](int64_t batch, int64_t head, int64_t query) {
    for_each_union(a.row(batch, head, query), b.row(batch, head, query),
                   [&](const Entry& left, const Entry& right) { builder.add(merged(left, right, rule)); });
    builder.end_row();
  });
  return builder.finish().normalized();
}

}  // namespace attnlab::mask
