#include "tests/golden/hub_compare.hpp"

#include <algorithm>
#include <cmath>

namespace attnlab::golden {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

namespace {

AssertionResult same_size(const Plane& expected, const Plane& ours) {
  if (expected.columns == ours.columns && expected.values.size() == ours.values.size())
    return AssertionSuccess();
  return AssertionFailure() << "expected " << expected.rows() << " rows of " << expected.columns
                            << ", ours are " << ours.rows() << " of " << ours.columns;
}

}  // namespace

AssertionResult same_mask(const HubCase& golden, const Plane& expected, const Plane& ours) {
  if (AssertionResult same = same_size(expected, ours); !same) return same;
  for (int64_t row = 0; row < expected.rows(); ++row) {
    for (int64_t key = 0; key < golden.visible_end(row); ++key) {
      const auto j = static_cast<size_t>(key);
      if (expected.row(row)[j] == ours.row(row)[j]) continue;
      return AssertionFailure() << "row " << row << ", key " << key << ": expected probability "
                                << expected.row(row)[j] << ", ours is " << ours.row(row)[j];
    }
  }
  return AssertionSuccess();
}

AssertionResult close(const Plane& expected, const Plane& ours, double tolerance) {
  if (AssertionResult same = same_size(expected, ours); !same) return same;
  for (int64_t row = 0; row < expected.rows(); ++row) {
    double largest = 0;
    for (float value : expected.row(row)) largest = std::max(largest, std::abs(double{value}));
    for (size_t i = 0; i < static_cast<size_t>(expected.columns); ++i) {
      const double want = double{expected.row(row)[i]}, got = double{ours.row(row)[i]};
      if (std::abs(want - got) <= tolerance * largest) continue;
      return AssertionFailure() << "row " << row << ", element " << i << ": expected " << want << ", ours is "
                                << got << ", off by " << std::abs(want - got) / largest
                                << " of the row's largest";
    }
  }
  return AssertionSuccess();
}

Plane attend(const HubCase& golden, const Plane& mask) {
  Plane output(mask.rows(), golden.shape().value_dim, 0);
  for (int64_t row = 0; row < mask.rows(); ++row) {
    const auto exact = golden.attend(row, mask.row(row));
    std::transform(exact.begin(), exact.end(), output.row(row).begin(),
                   [](double value) { return static_cast<float>(value); });
  }
  return output;
}

AssertionResult lawful(const HubCase& golden, const Outcome& outcome) {
  if (outcome.empty_rows != 0) return AssertionFailure() << outcome.empty_rows << " rows selected no key";
  for (int64_t row = 0; row < outcome.mask.rows(); ++row) {
    const auto mask = outcome.mask.row(row);
    const auto end = static_cast<size_t>(golden.visible_end(row));
    for (size_t key = end; key < mask.size(); ++key) {
      if (mask[key] != 0)
        return AssertionFailure() << "row " << row << " attends to the invisible key " << key;
    }
    if (std::any_of(mask.begin(), mask.end(), [](float p) { return !(p >= 0 && p <= 1); })) {
      return AssertionFailure() << "row " << row << " holds a value that is no probability";
    }
    if (std::all_of(mask.begin(), mask.end(), [](float p) { return p == 0; })) {
      return AssertionFailure() << "row " << row << " has no active key";
    }
  }
  return close(attend(golden, outcome.mask), outcome.output);
}

}  // namespace attnlab::golden
