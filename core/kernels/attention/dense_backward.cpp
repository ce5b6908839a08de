#include <algorithm>
#include <atomic>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/attention/backward.hpp"
#include "core/kernels/attention/backward_scratch.hpp"
#include "core/mask/seen_keys.hpp"

namespace attnlab::kernels {
namespace {

/// dense_backward. A cell is a block of query rows of one head with a block of keys. A task is the cells of
/// one block of keys, of all heads of the group one after the other; it owns dk and dv. Cells that add to the
/// same rows of dq run in the order of their keys: a cell waits until the task of the previous block of keys
/// has passed it. Tasks are claimed in an order that puts the awaited one first, so some claimed task can
/// always go on.
class DenseBackward {
 public:
  DenseBackward(const BackwardKernels& kernels, const DenseBackwardArguments& arguments)
      : kernels_(kernels),
        a_(arguments),
        group_(a_.query_heads / a_.kv_heads),
        row_blocks_((a_.queries + kBackwardRows - 1) / kBackwardRows),
        key_blocks_((a_.keys + kBackwardKeys - 1) / kBackwardKeys),
        scratch_(kernels.backward_scratch(a_.head_dim, a_.value_dim)),
        lse_(static_cast<size_t>(a_.batches * a_.query_heads * a_.queries)),
        delta_(lse_.size()),
        done_(static_cast<size_t>(key_blocks_ * a_.batches * a_.kv_heads)) {}

  void run() {
    base::parallel_for(a_.batches * a_.query_heads,
                       [&](int64_t i, int) { start_head(i / a_.query_heads, i % a_.query_heads); });
    if (a_.grad_sink_logit != nullptr) add_sinks();
    std::atomic<int64_t> claimed = 0;
    base::parallel_for(std::ssize(done_), [&](int64_t, int worker) { run_task(claimed++, worker); });
  }

 private:
  int64_t valid(int64_t batch) const { return a_.valid == nullptr ? a_.keys : a_.valid[batch]; }
  size_t row_index(int64_t batch, int64_t head, int64_t row) const {
    return static_cast<size_t>((batch * a_.query_heads + head) * a_.queries + row);
  }
  int64_t seen(int64_t batch, int64_t row) const {
    return mask::seen_keys(row, a_.queries, valid(batch), a_.causal);
  }

  void start_head(int64_t batch, int64_t head) {
    for (int64_t i = 0; i < a_.queries; ++i) {
      const size_t at = row_index(batch, head, i);
      lse_[at] = usable_lse(a_.lse[at]);
      delta_[at] =
          kernels_.backward_dot(a_.grad_out.row(batch, head, i), a_.out.row(batch, head, i), a_.value_dim);
      if (a_.grad_lse != nullptr) delta_[at] -= a_.grad_lse[at];
      std::fill_n(a_.grad_query.row(batch, head, i), a_.head_dim, 0.0F);
    }
    if (head % group_ != 0) return;
    for (int64_t j = 0; j < a_.keys; ++j) {
      std::fill_n(a_.grad_key.row(batch, head / group_, j), a_.head_dim, 0.0F);
      std::fill_n(a_.grad_value.row(batch, head / group_, j), a_.value_dim, 0.0F);
    }
  }

  void add_sinks() const {
    for (int64_t head = 0; head < a_.query_heads; ++head) {
      double sum = 0;
      for (int64_t batch = 0; batch < a_.batches; ++batch) {
        for (int64_t i = 0; i < a_.queries; ++i) {
          const size_t at = row_index(batch, head, i);
          sum += sink_gradient(a_.sink_logit[head], lse_[at], delta_[at]);
        }
      }
      a_.grad_sink_logit[head] = static_cast<float>(sum);
    }
  }

  /// Key blocks ascend slowest: the longest tasks of a causal problem first, and neighbours rarely at the
  /// same time.
  void run_task(int64_t task, int worker) {
    const int64_t heads = a_.batches * a_.kv_heads;
    const int64_t batch = task % heads / a_.kv_heads;
    const int64_t kv_head = task % a_.kv_heads;
    const int64_t key_begin = task / heads * kBackwardKeys;
    const float* key[kBackwardKeys];
    const float* value[kBackwardKeys];
    float* grad_key[kBackwardKeys];
    float* grad_value[kBackwardKeys];
    const int64_t count = std::clamp<int64_t>(valid(batch) - key_begin, 0, kBackwardKeys);
    for (int64_t j = 0; j < count; ++j) {
      key[j] = a_.key.row(batch, kv_head, key_begin + j);
      value[j] = a_.value.row(batch, kv_head, key_begin + j);
      grad_key[j] = a_.grad_key.row(batch, kv_head, key_begin + j);
      grad_value[j] = a_.grad_value.row(batch, kv_head, key_begin + j);
    }
    const BackwardKeys keys{key, value, count, a_.head_dim, a_.value_dim, a_.scale};
    float* scratch = scratch_.of(worker);
    if (count > 0) kernels_.backward_begin(keys, scratch);
    std::atomic<int64_t>& done = done_[static_cast<size_t>(task)];
    for (int64_t cell = 0; count > 0 && cell < group_ * row_blocks_; ++cell) {
      const int64_t first = cell % row_blocks_ * kBackwardRows;
      const int64_t last = std::min(first + kBackwardRows, a_.queries) - 1;
      if (seen(batch, last) > key_begin) {
        if (key_begin > 0) wait_for(done_[static_cast<size_t>(task - heads)], cell);
        run_cell(keys, batch, kv_head * group_ + cell / row_blocks_, first, last + 1 - first, key_begin,
                 scratch);
      }
      done.store(cell + 1, std::memory_order_release);
      done.notify_all();
    }
    if (count > 0) kernels_.backward_end(keys, scratch, grad_key, grad_value);
  }

  static void wait_for(const std::atomic<int64_t>& done, int64_t cell) {
    for (int64_t now = done.load(std::memory_order_acquire); now <= cell;
         now = done.load(std::memory_order_acquire))
      done.wait(now, std::memory_order_acquire);
  }

  void run_cell(const BackwardKeys& keys, int64_t batch, int64_t head, int64_t first, int64_t rows,
                int64_t key_begin, float* scratch) {
    int64_t visible[kBackwardRows];
    for (int64_t r = 0; r < rows; ++r)
      visible[r] = std::clamp<int64_t>(seen(batch, first + r) - key_begin, 0, keys.count);
    BackwardRows block;
    block.query = a_.query.row(batch, head, first);
    block.query_stride = a_.query.row_stride;
    block.grad_out = a_.grad_out.row(batch, head, first);
    block.grad_out_stride = a_.grad_out.row_stride;
    block.rows = rows;
    block.lse = lse_.data() + row_index(batch, head, first);
    block.delta = delta_.data() + row_index(batch, head, first);
    block.seen = visible;
    if (a_.bias.data != nullptr) block.bias = a_.bias.row(batch, head, first) + key_begin;
    block.bias_stride = a_.bias.row_stride;
    block.grad_query = a_.grad_query.row(batch, head, first);
    block.grad_query_stride = a_.grad_query.row_stride;
    kernels_.backward_rows(keys, block, scratch);
  }

  const BackwardKernels& kernels_;
  const DenseBackwardArguments& a_;
  const int64_t group_;
  const int64_t row_blocks_;
  const int64_t key_blocks_;
  WorkerScratch scratch_;
  std::vector<float> lse_, delta_;          ///< [batches, query_heads, queries]
  std::vector<std::atomic<int64_t>> done_;  ///< [key_blocks, batches, kv_heads]: cells that a task has passed
};

}  // namespace

void dense_backward(const BackwardKernels& kernels, const DenseBackwardArguments& arguments) {
  DenseBackward(kernels, arguments).run();
}

}  // namespace attnlab::kernels
