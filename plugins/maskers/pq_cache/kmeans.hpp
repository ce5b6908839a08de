// Lloyd's k-means on short vectors. One thread, one order of every sum: results depend on the points and the
// random stream alone.
#pragma once

#include <attnlab/philox.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace pq_cache {

/// `count` points of `dim` channels, one after another. Does not own.
struct Points {
  std::span<const float> values;
  int64_t count = 0, dim = 0;
  std::span<const float> operator[](int64_t i) const {
    return values.subspan(static_cast<size_t>(i * dim), static_cast<size_t>(dim));
  }
};

/// Room for `capacity` centres, of which the first `used` exist. Channel by channel, [dim, capacity], so that
/// the distances of one point to all centres vectorise without reordering a sum. Does not own.
template <class T>
struct Centres {
  std::span<T> values;
  int64_t capacity = 0, used = 0;
  T* channel(size_t d) const { return values.data() + static_cast<int64_t>(d) * capacity; }
};

struct Nearest {
  int32_t centre = 0;
  float squared_distance = std::numeric_limits<float>::infinity();
};

/// The nearest centre, ties to the lower index; centre 0 at an infinite distance where there is none.
/// `distances` is memory for `capacity` floats. O(dim * used).
template <class T>
Nearest nearest(std::span<const float> point, const Centres<T>& centres, std::span<float> distances) {
  const auto used = static_cast<size_t>(centres.used);
  std::fill_n(distances.begin(), used, 0.0f);
  for (size_t d = 0; d < point.size(); ++d) {
    const float* channel = centres.channel(d);
    for (size_t c = 0; c < used; ++c) {
      const float difference = point[d] - channel[c];
      distances[c] += difference * difference;
    }
  }
  Nearest best;
  for (size_t c = 0; c < used; ++c) {
    if (distances[c] < best.squared_distance) best = {static_cast<int32_t>(c), distances[c]};
  }
  return best;
}

/// Fits as many centres as there is room for, or as there are distinct points; returns their number.
/// Starts from distinct points drawn at random; a cluster that runs empty takes the point that is farthest
/// from its own centre. Stops after `iterations` updates or when no point changes its cluster.
/// O(count (log count + iterations * capacity) * dim).
inline int64_t fit(const Points& points, int64_t iterations, attnlab::Philox random, Centres<float> centres) {
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  std::vector<int64_t> distinct(at(points.count));
  std::iota(distinct.begin(), distinct.end(), 0);
  const auto compare = [&](int64_t a, int64_t b) {
    const auto x = points[a], y = points[b];
    return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
  };
  std::stable_sort(distinct.begin(), distinct.end(), compare);
  const auto equal = [&](int64_t a, int64_t b) { return !compare(a, b) && !compare(b, a); };
  distinct.erase(std::unique(distinct.begin(), distinct.end(), equal), distinct.end());

  centres.used = std::min(centres.capacity, static_cast<int64_t>(distinct.size()));
  const auto place = [&](int64_t c, std::span<const float> point) {
    for (size_t d = 0; d < point.size(); ++d) centres.channel(d)[c] = point[d];
  };
  for (int64_t c = 0; c < centres.used; ++c) {
    const auto left = static_cast<uint64_t>(static_cast<int64_t>(distinct.size()) - c);
    std::swap(distinct[at(c)], distinct[at(c + static_cast<int64_t>(random.below(left)))]);
    place(c, points[distinct[at(c)]]);
  }

  std::vector<float> distances(at(centres.capacity));
  std::vector<Nearest> assigned(at(points.count), Nearest{-1, 0});
  std::vector<int64_t> members(at(centres.used));
  std::vector<double> sums(at(centres.used * points.dim));
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    bool changed = false;
    std::fill(members.begin(), members.end(), 0);
    for (int64_t i = 0; i < points.count; ++i) {
      const Nearest found = nearest(points[i], centres, distances);
      changed |= found.centre != assigned[at(i)].centre;
      assigned[at(i)] = found;
      ++members[at(found.centre)];
    }
    for (int64_t c = 0; c < centres.used; ++c) {
      if (members[at(c)] > 0) continue;
      int64_t farthest = -1;
      for (int64_t i = 0; i < points.count; ++i) {
        const Nearest& own = assigned[at(i)];
        const float beat = farthest < 0 ? 0.0f : assigned[at(farthest)].squared_distance;
        if (members[at(own.centre)] > 1 && own.squared_distance > beat) farthest = i;
      }
      if (farthest < 0) continue;
      --members[at(assigned[at(farthest)].centre)];
      assigned[at(farthest)] = {static_cast<int32_t>(c), 0};
      ++members[at(c)];
      changed = true;
    }
    if (!changed) break;
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t i = 0; i < points.count; ++i) {
      double* sum = sums.data() + assigned[at(i)].centre * points.dim;
      for (float value : points[i]) *sum++ += double{value};
    }
    for (int64_t c = 0; c < centres.used; ++c) {
      if (members[at(c)] == 0) continue;
      for (int64_t d = 0; d < points.dim; ++d) {
        const double mean = sums[at(c * points.dim + d)] / static_cast<double>(members[at(c)]);
        centres.channel(at(d))[c] = static_cast<float>(mean);
      }
    }
  }
  return centres.used;
}

}  // namespace pq_cache
