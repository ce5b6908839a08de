#include "core/graph/flops.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace attnlab::graph {
namespace {

thread_local FlopCount* active = nullptr;

double product(std::initializer_list<int64_t> extents) {
  double result = 1;
  for (const int64_t extent : extents) result *= static_cast<double>(extent);
  return result;
}

double matmul(const Array& a, const Array& b) {
  if (a.rank() < 2 || b.rank() < 2) return 0;
  const Extents lead =
      broadcast_shape({a.shape().begin(), a.shape().end() - 2}, {b.shape().begin(), b.shape().end() - 2});
  return 2 * product({element_count(lead), a.extent(-2), a.extent(-1), b.extent(-1)});
}

double linear(const Array& x, const Array& weight) {
  return weight.rank() == 2 ? 2 * product({x.size(), weight.extent(0)}) : 0;
}

/// Query-key pairs of one head.
double visible_pairs(int64_t queries, int64_t keys, const Attributes& attributes) {
  const bool causal = attributes.integer("causal", 1) != 0;
  const int64_t window = attributes.integer("window", 0), prefix = attributes.integer("prefix", 0);
  double pairs = 0;
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t position = i + keys - queries;
    int64_t visible = causal ? std::clamp<int64_t>(position + 1, 0, keys) : keys;
    if (window > 0) visible -= std::clamp<int64_t>(position - window + 1 - prefix, 0, visible);
    pairs += static_cast<double>(visible);
  }
  return pairs;
}

/// q [B, Hq, Tq, d], k [B, Hkv, Tk, d], v [B, Hkv, Tk, dv]: logits and the weighted sum.
double attend(const Array& q, const Array& k, const Array& v, const Attributes& attributes) {
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4) return 0;
  return 2 * product({q.extent(0), q.extent(1), q.extent(3) + v.extent(3)}) *
         visible_pairs(q.extent(2), k.extent(2), attributes);
}

/// Each KV head adds k v^T (and k) to its state for each token; each query head reads q S (and q z).
double linear_attend(const Array& q, const Array& k, const Array& v, const Attributes& attributes) {
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4) return 0;
  const bool normalise = attributes.integer("normalise", 1) != 0;
  const double d = static_cast<double>(q.extent(3)), dv = static_cast<double>(v.extent(3));
  const double update = 2 * d * dv + (normalise ? d : 0), read = 2 * d * dv + (normalise ? 2 * d : 0);
  return product({k.extent(0), k.extent(1), k.extent(2)}) * update +
         product({q.extent(0), q.extent(1), q.extent(2)}) * read;
}

bool is_decomposition(std::string_view name) {
  return name == "low_rank" || name == "randomised_low_rank" || name == "row_projector" ||
         name == "singular_values" || name == "right_singular_vectors";
}

}  // namespace

FlopCount::FlopCount() {
  ATTNLAB_CHECK(active == nullptr, "counts do not nest");
  active = this;
}

FlopCount::~FlopCount() {
  active = nullptr;
}

double FlopCount::total() const {
  double sum = 0;
  for (const auto& [name, flops] : by_op_) sum += flops;
  return sum;
}

CountedOp::CountedOp(std::string_view name, std::span<const Array> inputs, const Attributes& attributes) {
  if (active == nullptr) return;
  double flops = 0;
  if (name == "matmul") {
    flops = matmul(inputs[0], inputs[1]);
  } else if (name == "linear") {
    flops = linear(inputs[0], inputs[1]);
  } else if (name == "attend") {
    flops = attend(inputs[0], inputs[1], inputs[2], attributes);
    if (active->inside_ == 0 && attributes.handle("selector") != nullptr)
      active->uncounted_.insert("the search of a selector, whose attention counts as dense");
  } else if (name == "linear_attend") {
    flops = linear_attend(inputs[0], inputs[1], inputs[2], attributes);
  } else {
    if (active->inside_ == 0 && is_decomposition(name)) active->uncounted_.insert(std::string(name));
    return;
  }
  count_ = active;
  if (count_->inside_++ == 0) count_->by_op_[std::string(name)] += flops;
}

CountedOp::CountedOp(std::string_view custom) {
  if (active != nullptr) active->uncounted_.insert(std::string(custom) + ", an op of a plugin");
}

CountedOp::~CountedOp() {
  if (count_ != nullptr) --count_->inside_;
}

}  // namespace attnlab::graph
