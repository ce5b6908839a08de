// Floating-point operations of a pass, counted from shapes: the same on every machine and for any threads.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "core/graph/array.hpp"
#include "core/graph/attributes.hpp"

namespace attnlab::graph {

/// Counts what ops of this thread do while it lives; counts do not nest. A multiply-add counts two.
/// Products count: "matmul", "linear", "attend" (the pairs that causality and window leave visible) and
/// "linear_attend" (as the recurrence: its state's update and reading). Pointwise ops, norms, softmax and
/// sums do not. An op counts once, whether it is evaluated fused or by its parts.
class FlopCount {
 public:
  FlopCount();
  ~FlopCount();
  FlopCount(const FlopCount&) = delete;
  FlopCount& operator=(const FlopCount&) = delete;

  double total() const;
  const std::map<std::string, double>& by_op() const { return by_op_; }
  /// Work whose size shapes do not tell: ops of plugins, decompositions, selections.
  const std::set<std::string>& uncounted() const { return uncounted_; }

 private:
  friend class CountedOp;
  std::map<std::string, double> by_op_;
  std::set<std::string> uncounted_;
  int inside_ = 0;  ///< of counted ops: their parts count nothing
};

/// One op on its way through `apply_op`; free of cost where nothing counts.
class CountedOp {
 public:
  CountedOp(std::string_view name, std::span<const Array> inputs, const Attributes& attributes);
  /// An op of a plugin.
  explicit CountedOp(std::string_view custom);
  ~CountedOp();
  CountedOp(const CountedOp&) = delete;
  CountedOp& operator=(const CountedOp&) = delete;

 private:
  FlopCount* count_ = nullptr;
};

}  // namespace attnlab::graph
