// Laws of masks over random shapes, extents, states and probabilities.

// rapidcheck/gtest.h needs GoogleTest before it.
#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

#include "core/mask/density.hpp"
#include "core/mask/mask_file.hpp"
#include "core/mask/merge.hpp"
#include "tests/unit/mask_test_support.hpp"

namespace attnlab::mask {
namespace {

template <class T>
T any_of(const std::vector<T>& values) {
  return *rc::gen::elementOf(values);
}

Shape any_shape() {
  return {*rc::gen::inRange<int64_t>(1, 3), any_of<int64_t>({1, 2, 4, 6}), *rc::gen::inRange<int64_t>(1, 5),
          *rc::gen::inRange<int64_t>(1, 9)};
}

Extents any_extents(const Shape& shape) {
  std::vector<int64_t> heads;
  for (int64_t h = 1; h <= shape.heads; ++h) {
    if (shape.heads % h == 0) heads.push_back(h);
  }
  return {any_of<int64_t>({1, shape.batch}), any_of(heads)};
}

/// A float in [from, to], both positive, uniform over the bit patterns: every exponent, subnormal numbers
/// too.
float any_float(float from, float to) {
  return std::bit_cast<float>(
      *rc::gen::inRange<uint32_t>(std::bit_cast<uint32_t>(from), std::bit_cast<uint32_t>(to) + 1));
}

enum class Sampling { none, allowed };

/// Any state; numbers are given as p, or as -log p for half of the sparse ones.
Mask any_mask(const Shape& shape, Sampling sampling) {
  const int kind = *rc::gen::inRange(0, 10);
  if (kind == 0) return Mask::empty(shape);
  if (kind == 1) return Mask::full(shape);
  const Extents extents = any_extents(shape);
  const int64_t entries = extents.batch * extents.heads * shape.queries * shape.keys;
  const bool all_active = kind == 2;
  std::vector<float> p;
  for (int64_t i = 0; i < entries; ++i) {
    const int choice = all_active ? 1 : *rc::gen::inRange(0, 3);
    const bool sampled = choice == 2 && sampling == Sampling::allowed;
    p.push_back(sampled ? any_float(std::numeric_limits<float>::denorm_min(), 1) : choice > 0 ? 1.0f : 0.0f);
  }
  const Mask dense = Mask::dense(shape, extents, std::move(p));
  if (kind < 6) return dense;
  const Mask sparse = dense.to_sparse();
  if (kind < 8 || !sparse.has_sampled()) return sparse;
  std::vector<float> weights;
  for (float w : sparse.log_weight()) weights.push_back(w == 0 ? 0.0f : any_float(0x1p-24f, 1e30f));
  const Mask weighted =
      Mask::sparse(shape, extents, vector_of(sparse.row_ptr()), vector_of(sparse.column()), weights);
  return kind == 8 ? weighted : weighted.to_dense();
}

Visibility any_visibility(const Shape& shape) {
  std::vector<int64_t> valid;
  for (int64_t b = 0; b < shape.batch; ++b) valid.push_back(*rc::gen::inRange<int64_t>(0, shape.keys + 1));
  if (*rc::gen::arbitrary<bool>()) valid.clear();
  tensor::Tensor bias;
  if (*rc::gen::arbitrary<bool>()) {
    const Extents extents = any_extents(shape);
    bias =
        tensor::Tensor::zeros(tensor::DType::f32, {extents.batch, extents.heads, shape.queries, shape.keys});
    for (float& value : bias.mutable_values<float>()) {
      value = any_of<float>(
          {0, -3, std::numeric_limits<float>::lowest(), -std::numeric_limits<float>::infinity()});
    }
  }
  return Visibility(shape, *rc::gen::arbitrary<bool>(), valid, bias);
}

/// Calls visit(b, h, q, k) for every entry of the shape.
template <class Visit>
void for_each_entry(const Shape& shape, Visit visit) {
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t q = 0; q < shape.queries; ++q) {
        for (int64_t k = 0; k < shape.keys; ++k) visit(b, h, q, k);
      }
    }
  }
}

std::optional<Mask> try_merge(const std::optional<Mask>& a, const std::optional<Mask>& b) {
  if (!a || !b) return std::nullopt;
  try {
    return merge(*a, *b);
  } catch (const base::UserError&) {
    return std::nullopt;
  }
}

RC_GTEST_PROP(MaskProperties, ConversionsAreTheIdentity, ()) {
  const Mask mask = any_mask(any_shape(), Sampling::allowed);
  RC_ASSERT(mask.to_dense() == mask);
  RC_ASSERT(mask.to_sparse() == mask);
  RC_ASSERT(same_storage(mask.to_sparse().to_dense(), mask.to_dense()));
  RC_ASSERT(same_storage(mask.to_dense().to_sparse(), mask.to_sparse()));
  RC_ASSERT(plane(mask.to_sparse()) == plane(mask.to_dense()));
}

RC_GTEST_PROP(MaskProperties, ContentDoesNotDependOnStorage, ()) {
  const Mask mask = any_mask(any_shape(), Sampling::allowed);
  const auto values = plane(mask);
  const auto active = std::ranges::count_if(values, [](float p) { return p > 0; });
  RC_ASSERT(mask.active_count() == active);
  RC_ASSERT(mask.is_empty() == (active == 0));
  RC_ASSERT(mask.is_full() == std::ranges::all_of(values, [](float p) { return p == 1; }));
  RC_ASSERT(mask.has_sampled() == std::ranges::any_of(values, [](float p) { return p > 0 && p < 1; }));
  RC_ASSERT((mask.normalized().state() == State::full) == mask.is_full());
  RC_ASSERT((mask.normalized().state() == State::empty) == mask.is_empty());
}

RC_GTEST_PROP(MaskProperties, RowsListTheActiveKeysInOrder, ()) {
  const Mask mask = any_mask(any_shape(), Sampling::allowed);
  const Shape& shape = mask.shape();
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      int32_t next = 0;
      const RowView row = mask.row(b, h, shape.queries - 1);
      for (const Entry& entry : row) {
        for (; next < entry.key; ++next) RC_ASSERT(row.at(next).probability == 0);
        RC_ASSERT(row.at(entry.key) == entry);
        RC_ASSERT(entry.probability == mask.probability(b, h, shape.queries - 1, entry.key));
        RC_ASSERT((entry.probability == 1) == (entry.log_weight == 0));
        ++next;
      }
    }
  }
}

RC_GTEST_PROP(MaskProperties, BroadcastEqualsMaterialised, ()) {
  const Shape shape = any_shape();
  const Extents all{shape.batch, shape.heads};
  const Mask a = any_mask(shape, Sampling::allowed), b = any_mask(shape, Sampling::none);
  const Visibility visibility = any_visibility(shape);
  const Mask wide = a.expanded(all);
  RC_ASSERT(wide == a);
  RC_ASSERT(plane(wide) == plane(a));
  RC_ASSERT(merge(wide, b.expanded(all)) == merge(a, b));
  RC_ASSERT(clip(wide, visibility) == clip(a, visibility));
  RC_ASSERT(coverage(wide, visibility).active == coverage(a, visibility).active);
  RC_ASSERT(coverage(wide, visibility).visible == coverage(a, visibility).visible);
}

RC_GTEST_PROP(MaskProperties, StrictMergeIsCommutativeAndRefusesTwoSamples, ()) {
  const Shape shape = any_shape();
  const Mask a = any_mask(shape, Sampling::allowed), b = any_mask(shape, Sampling::allowed);
  const auto ab = try_merge(a, b), ba = try_merge(b, a);
  RC_ASSERT(ab == ba);
  RC_ASSERT(ab.has_value() == (!a.has_sampled() || !b.has_sampled()));
  if (!ab) return;
  for_each_entry(shape, [&](int64_t batch, int64_t h, int64_t q, int64_t k) {
    RC_ASSERT(ab->probability(batch, h, q, k) ==
              std::max(a.probability(batch, h, q, k), b.probability(batch, h, q, k)));
  });
}

RC_GTEST_PROP(MaskProperties, StrictMergeIsAssociativeWhereDefined, ()) {
  const Shape shape = any_shape();
  const Mask a = any_mask(shape, Sampling::allowed), b = any_mask(shape, Sampling::none),
             c = any_mask(shape, Sampling::allowed);
  const auto left = try_merge(try_merge(a, b), c), right = try_merge(a, try_merge(b, c));
  if (left && right) RC_ASSERT(*left == *right);
  const Mask d = any_mask(shape, Sampling::none);
  RC_ASSERT(merge(merge(a, b), d) == merge(a, merge(b, d)));
}

RC_GTEST_PROP(MaskProperties, FullAbsorbsEmptyIsNeutralAndMergeIsIdempotent, ()) {
  const Shape shape = any_shape();
  const Mask a = any_mask(shape, Sampling::allowed), d = any_mask(shape, Sampling::none);
  for (const MergeRule rule : {MergeRule::strict, MergeRule::reference_sum}) {
    RC_ASSERT(merge(a, Mask::full(shape), rule).state() == State::full);
    RC_ASSERT(merge(a, Mask::full(shape).to_dense(), rule).state() == State::full);
    RC_ASSERT(same_storage(merge(Mask::empty(shape), a, rule), a.normalized()));
    RC_ASSERT(same_storage(merge(a, Mask::empty(shape).to_sparse(), rule), a.normalized()));
    RC_ASSERT(merge(d, d, rule) == d);
  }
}

RC_GTEST_PROP(MaskProperties, ReferenceSumIsTheClampedSum, ()) {
  const Shape shape = any_shape();
  const Mask a = any_mask(shape, Sampling::allowed), b = any_mask(shape, Sampling::allowed),
             c = any_mask(shape, Sampling::allowed);
  const auto sum = [](const Mask& x, const Mask& y) { return merge(x, y, MergeRule::reference_sum); };
  RC_ASSERT(sum(a, b) == sum(b, a));
  const Mask ab = sum(a, b), left = sum(ab, c), right = sum(a, sum(b, c));
  for_each_entry(shape, [&](int64_t batch, int64_t h, int64_t q, int64_t k) {
    RC_ASSERT(ab.probability(batch, h, q, k) ==
              std::min(1.0f, a.probability(batch, h, q, k) + b.probability(batch, h, q, k)));
    const float p = left.probability(batch, h, q, k);
    RC_ASSERT(std::abs(p - right.probability(batch, h, q, k)) <= 3e-7f * p);
  });
}

RC_GTEST_PROP(MaskProperties, ClipKeepsTheVisibleAndIsIdempotent, ()) {
  const Shape shape = any_shape();
  const Mask mask = any_mask(shape, Sampling::allowed), other = any_mask(shape, Sampling::none);
  const Visibility visibility = any_visibility(shape);
  const Mask clipped = clip(mask, visibility);
  RC_ASSERT(same_storage(clip(clipped, visibility), clipped));
  for_each_entry(shape, [&](int64_t b, int64_t h, int64_t q, int64_t k) {
    RC_ASSERT(clipped.row(b, h, q).at(static_cast<int32_t>(k)) ==
              (visibility.visible(b, h, q, k) ? mask.row(b, h, q).at(static_cast<int32_t>(k))
                                              : Entry{static_cast<int32_t>(k), 0, 0}));
  });
  RC_ASSERT(clip(merge(mask, other), visibility) == merge(clipped, clip(other, visibility)));
}

RC_GTEST_PROP(MaskProperties, DensityCountsVisibleEntries, ()) {
  const Shape shape = any_shape();
  const Mask mask = any_mask(shape, Sampling::allowed);
  const Visibility visibility = any_visibility(shape);
  Coverage expected;
  for_each_entry(shape, [&](int64_t b, int64_t h, int64_t q, int64_t k) {
    expected.visible += visibility.visible(b, h, q, k);
    expected.active += visibility.visible(b, h, q, k) && mask.probability(b, h, q, k) > 0;
  });
  const Coverage total = coverage(mask, visibility);
  RC_ASSERT(total.active == expected.active);
  RC_ASSERT(total.visible == expected.visible);
  const double share = density(mask, visibility);
  RC_ASSERT(share >= 0 && share <= 1);
  RC_ASSERT(clip(mask, visibility).active_count() == expected.active);
  RC_ASSERT(density(Mask::full(shape), visibility) == 1);
  Coverage rows;
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (const Coverage& row : row_coverage(mask, visibility, b, h)) {
        rows.active += row.active;
        rows.visible += row.visible;
      }
    }
  }
  RC_ASSERT(rows.active == expected.active);
  RC_ASSERT(rows.visible == expected.visible);
}

RC_GTEST_PROP(MaskProperties, PicturesAverageTheirCells, ()) {
  const Shape shape = any_shape();
  const Mask mask = any_mask(shape, Sampling::allowed);
  const Visibility visibility = any_visibility(shape);
  const int64_t rows = *rc::gen::inRange<int64_t>(1, shape.queries + 1);
  const int64_t columns = *rc::gen::inRange<int64_t>(1, shape.keys + 1);
  const int64_t b = shape.batch - 1, h = shape.heads - 1;
  const BlockDensity picture = block_density(mask, visibility, b, h, rows, columns);
  const auto bound = [](int64_t cell, int64_t extent, int64_t cells) { return cell * extent / cells; };
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      double sum = 0;
      int64_t visible = 0, entries = 0;
      for (int64_t q = bound(i, shape.queries, rows); q < bound(i + 1, shape.queries, rows); ++q) {
        for (int64_t k = bound(j, shape.keys, columns); k < bound(j + 1, shape.keys, columns);
             ++k, ++entries) {
          if (!visibility.visible(b, h, q, k)) continue;
          ++visible;
          sum += mask.probability(b, h, q, k);
        }
      }
      const auto cell = static_cast<size_t>(i * columns + j);
      RC_ASSERT(picture.visible[cell] == static_cast<double>(visible) / static_cast<double>(entries));
      const double average = visible == 0 ? 0 : sum / static_cast<double>(visible);
      RC_ASSERT(std::abs(picture.inclusion[cell] - average) <= 1e-12);
    }
  }
}

RC_GTEST_PROP(MaskProperties, FilesKeepEveryBit, ()) {
  const Mask mask = any_mask(any_shape(), Sampling::allowed);
  const std::string path =
      ::testing::TempDir() + "attnlab_mask_property_" + std::to_string(::getpid()) + ".npz";
  save_mask(mask, path);
  RC_ASSERT(same_storage(load_mask(path), mask));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace attnlab::mask
