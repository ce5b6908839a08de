#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/kernels/attention/backward.hpp"
#include "core/kernels/attention/backward_scratch.hpp"

namespace attnlab::kernels {
namespace {

/// The backward of one call. Entries are collected into blocks of kBackwardKeys, each of which meets all
/// rows.
class SparseBackward {
 public:
  SparseBackward(const BackwardKernels& kernels, const AttendBackwardArguments& arguments, float* scratch)
      : kernels_(kernels),
        a_(arguments),
        f_(arguments.forward),
        scratch_(scratch),
        lse_(static_cast<size_t>(f_.rows)),
        delta_(lse_.size()) {}

  void run() {
    start_rows();
    for (int64_t s = 0; s < f_.segment_count; ++s) {
      const Segment& segment = f_.segments[s];
      const SegmentGradient& gradient = a_.segments[s];
      ATTNLAB_CHECK(segment.log_weight_stride == 0, "the backward knows log weights that rows share");
      for (int64_t i = 0; i < segment.run_count; ++i) {
        for (int32_t id = segment.runs[i].begin; id < segment.runs[i].end; ++id)
          add(segment, gradient, id, 0, nullptr);
      }
      for (int64_t i = 0; i < segment.id_count; ++i) {
        add(segment, gradient, segment.ids[i], segment.log_weight == nullptr ? 0.0F : segment.log_weight[i],
            gradient.log_weight == nullptr ? nullptr : gradient.log_weight + i);
      }
    }
    flush();
  }

 private:
  void start_rows() {
    for (int64_t r = 0; r < f_.rows; ++r) {
      const auto at = static_cast<size_t>(r);
      lse_[at] = usable_lse(f_.lse[r]);
      delta_[at] = kernels_.backward_dot(a_.grad_out + r * a_.grad_out_stride, f_.out + r * f_.out_stride,
                                         f_.value_dim);
      if (a_.grad_lse != nullptr) delta_[at] -= a_.grad_lse[r];
      std::fill_n(a_.grad_query + r * a_.grad_query_stride, f_.head_dim, 0.0F);
      if (a_.grad_sink_logit != nullptr)
        a_.grad_sink_logit[r] = sink_gradient(f_.sink_logit[r], lse_[at], delta_[at]);
    }
  }

  void add(const Segment& segment, const SegmentGradient& gradient, int32_t id, float log_weight,
           float* grad_log_weight) {
    key_[count_] = segment.key + id * segment.key_stride;
    value_[count_] = segment.value + id * segment.value_stride;
    grad_key_[count_] = gradient.key + id * gradient.key_stride;
    grad_value_[count_] = gradient.value + id * gradient.value_stride;
    id_[count_] = id;
    log_weight_[count_] = log_weight;
    grad_log_weight_[count_] = grad_log_weight;
    if (++count_ == kBackwardKeys) flush();
  }

  void flush() {
    if (count_ == 0) return;
    const BackwardKeys keys{key_, value_, count_, f_.head_dim, f_.value_dim, f_.scale};
    float grad_logit_sum[kBackwardKeys] = {};
    if (f_.rows <= kBackwardFewRows) {
      kernels_.backward_few(keys, rows_from(0, f_.rows, grad_logit_sum), grad_key_, grad_value_);
    } else {
      kernels_.backward_begin(keys, scratch_);
      for (int64_t first = 0; first < f_.rows; first += kBackwardRows) {
        const int64_t rows = std::min(kBackwardRows, f_.rows - first);
        kernels_.backward_rows(keys, rows_from(first, rows, grad_logit_sum), scratch_);
      }
      kernels_.backward_end(keys, scratch_, grad_key_, grad_value_);
    }
    for (int64_t e = 0; e < count_; ++e) {
      if (grad_log_weight_[e] != nullptr) *grad_log_weight_[e] += grad_logit_sum[e];
    }
    count_ = 0;
  }

  BackwardRows rows_from(int64_t first, int64_t rows, float* grad_logit_sum) {
    std::fill_n(seen_, rows, count_);
    BackwardRows block;
    block.query = f_.query + first * f_.query_stride;
    block.query_stride = f_.query_stride;
    block.grad_out = a_.grad_out + first * a_.grad_out_stride;
    block.grad_out_stride = a_.grad_out_stride;
    block.rows = rows;
    block.lse = lse_.data() + first;
    block.delta = delta_.data() + first;
    block.seen = seen_;
    if (gather_bias(first, rows)) block.bias = bias_.data();
    block.bias_stride = kBackwardKeys;
    block.grad_query = a_.grad_query + first * a_.grad_query_stride;
    block.grad_query_stride = a_.grad_query_stride;
    const auto wanted = [](const float* gradient) { return gradient != nullptr; };
    if (std::any_of(grad_log_weight_, grad_log_weight_ + count_, wanted))
      block.grad_logit_sum = grad_logit_sum;
    return block;
  }

  /// Bias plus log weight of each row and entry into bias_; false when all are 0.
  bool gather_bias(int64_t first, int64_t rows) {
    const auto weighted = [](float log_weight) { return log_weight != 0; };
    if (f_.bias == nullptr && std::none_of(log_weight_, log_weight_ + count_, weighted)) return false;
    bias_.resize(static_cast<size_t>(kBackwardRows * kBackwardKeys));
    for (int64_t r = 0; r < rows; ++r) {
      const float* bias = f_.bias == nullptr ? nullptr : f_.bias[first + r];
      float* to = bias_.data() + r * kBackwardKeys;
      for (int64_t e = 0; e < count_; ++e) to[e] = log_weight_[e] + (bias == nullptr ? 0.0F : bias[id_[e]]);
    }
    return true;
  }

  const BackwardKernels& kernels_;
  const AttendBackwardArguments& a_;
  const AttendArguments& f_;
  float* scratch_;
  std::vector<float> lse_, delta_;  ///< [rows]
  std::vector<float> bias_;         ///< [kBackwardRows, kBackwardKeys], once needed
  int64_t seen_[kBackwardRows];
  int64_t count_ = 0;  ///< entries collected
  const float* key_[kBackwardKeys];
  const float* value_[kBackwardKeys];
  float* grad_key_[kBackwardKeys];
  float* grad_value_[kBackwardKeys];
  int32_t id_[kBackwardKeys];
  float log_weight_[kBackwardKeys];
  float* grad_log_weight_[kBackwardKeys];
};

}  // namespace

void sparse_backward(const BackwardKernels& kernels,
                     std::span<const std::span<const AttendBackwardArguments>> heads) {
  int64_t floats = 0;
  for (const auto calls : heads) {
    for (const auto& call : calls)
      floats = std::max(floats, kernels.backward_scratch(call.forward.head_dim, call.forward.value_dim));
  }
  WorkerScratch scratch(floats);
  base::parallel_for(std::ssize(heads), [&](int64_t head, int worker) {
    for (const AttendBackwardArguments& call : heads[static_cast<size_t>(head)])
      SparseBackward(kernels, call, scratch.of(worker)).run();
  });
}

}  // namespace attnlab::kernels
