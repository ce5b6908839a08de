#include "core/kernels/attention/backward_reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attnlab::kernels::reference {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

double dot(const float* a, const float* b, int64_t size) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += double{a[i]} * b[i];
  return sum;
}

/// One key of a row: its operands and where their gradients go.
struct Entry {
  const float* key;
  const float* value;
  double bias;
  double* grad_key;
  double* grad_value;
  double* grad_log_weight;  ///< or null
};

struct Row {
  const float* query;
  const float* grad_out;
  double grad_lse;
  double sink_logit;
  double* grad_query;
};

/// Adds a row's gradients and returns that at the sink logit.
double add_row(const Row& row, const std::vector<Entry>& entries, int64_t head_dim, int64_t value_dim,
               double scale) {
  std::vector<double> logit, grad_weight;
  double maximum = row.sink_logit;
  for (const Entry& entry : entries) {
    logit.push_back(scale * dot(row.query, entry.key, head_dim) + entry.bias);
    grad_weight.push_back(dot(row.grad_out, entry.value, value_dim));
    maximum = std::max(maximum, logit.back());
  }
  if (maximum == kMinusInfinity) return 0;
  double denominator = std::exp(row.sink_logit - maximum);
  for (const double l : logit) denominator += std::exp(l - maximum);
  double delta = -row.grad_lse;
  for (size_t e = 0; e < entries.size(); ++e)
    delta += std::exp(logit[e] - maximum) / denominator * grad_weight[e];
  for (size_t e = 0; e < entries.size(); ++e) {
    const Entry& entry = entries[e];
    const double weight = std::exp(logit[e] - maximum) / denominator;
    const double grad_logit = weight * (grad_weight[e] - delta);
    for (int64_t c = 0; c < value_dim; ++c) entry.grad_value[c] += weight * row.grad_out[c];
    for (int64_t c = 0; c < head_dim; ++c) {
      row.grad_query[c] += scale * grad_logit * entry.key[c];
      entry.grad_key[c] += scale * grad_logit * row.query[c];
    }
    if (entry.grad_log_weight != nullptr) *entry.grad_log_weight += grad_logit;
  }
  return -std::exp(row.sink_logit - maximum) / denominator * delta;
}

}  // namespace

DenseGradients dense_backward(const DenseBackwardArguments& a) {
  const auto zeros = [&](int64_t heads, int64_t rows, int64_t size) {
    return std::vector<double>(static_cast<size_t>(a.batches * heads * rows * size));
  };
  DenseGradients result{zeros(a.query_heads, a.queries, a.head_dim), zeros(a.kv_heads, a.keys, a.head_dim),
                        zeros(a.kv_heads, a.keys, a.value_dim), std::vector<double>(a.query_heads)};
  for (int64_t index = 0; index < a.batches * a.query_heads * a.queries; ++index) {
    const int64_t batch = index / (a.query_heads * a.queries);
    const int64_t head = index / a.queries % a.query_heads;
    const int64_t kv_head = head / (a.query_heads / a.kv_heads);
    const int64_t i = index % a.queries;
    const int64_t valid = a.valid == nullptr ? a.keys : a.valid[batch];
    std::vector<Entry> entries;
    for (int64_t j = 0; j < valid; ++j) {
      if (a.causal && j > i + valid - a.queries) continue;
      const int64_t at = (batch * a.kv_heads + kv_head) * a.keys + j;
      entries.push_back({a.key.row(batch, kv_head, j), a.value.row(batch, kv_head, j),
                         a.bias.data == nullptr ? 0.0 : a.bias.row(batch, head, i)[j],
                         result.key.data() + at * a.head_dim, result.value.data() + at * a.value_dim,
                         nullptr});
    }
    const Row row{a.query.row(batch, head, i), a.grad_out.row(batch, head, i),
                  a.grad_lse == nullptr ? 0.0 : a.grad_lse[index],
                  a.sink_logit == nullptr ? kMinusInfinity : a.sink_logit[head],
                  result.query.data() + index * a.head_dim};
    result.sink_logit[head] += add_row(row, entries, a.head_dim, a.value_dim, a.scale);
  }
  return result;
}

AttendGradients attend_backward(const AttendBackwardArguments& a, int64_t keys) {
  const AttendArguments& f = a.forward;
  AttendGradients result;
  result.query.resize(f.rows * f.head_dim);
  for (int64_t s = 0; s < f.segment_count; ++s) {
    result.key.emplace_back(keys * f.head_dim);
    result.value.emplace_back(keys * f.value_dim);
    result.log_weight.emplace_back(f.segments[s].id_count);
  }
  for (int64_t r = 0; r < f.rows; ++r) {
    std::vector<Entry> entries;
    const auto add = [&](int64_t s, int64_t id, double log_weight, double* grad_log_weight) {
      const Segment& segment = f.segments[s];
      const double bias = f.bias == nullptr || f.bias[r] == nullptr ? 0.0 : f.bias[r][id];
      entries.push_back({segment.key + id * segment.key_stride, segment.value + id * segment.value_stride,
                         bias + log_weight, result.key[s].data() + id * f.head_dim,
                         result.value[s].data() + id * f.value_dim, grad_log_weight});
    };
    for (int64_t s = 0; s < f.segment_count; ++s) {
      const Segment& segment = f.segments[s];
      for (int64_t i = 0; i < segment.run_count; ++i) {
        for (int64_t id = segment.runs[i].begin; id < segment.runs[i].end; ++id) add(s, id, 0, nullptr);
      }
      for (int64_t i = 0; i < segment.id_count; ++i) {
        add(s, segment.ids[i], segment.log_weight == nullptr ? 0.0 : segment.log_weight[i],
            &result.log_weight[s][i]);
      }
    }
    const Row row{f.query + r * f.query_stride, a.grad_out + r * a.grad_out_stride,
                  a.grad_lse == nullptr ? 0.0 : a.grad_lse[r],
                  f.sink_logit == nullptr ? kMinusInfinity : f.sink_logit[r],
                  result.query.data() + r * f.head_dim};
    result.sink_logit.push_back(add_row(row, entries, f.head_dim, f.value_dim, f.scale));
  }
  return result;
}

}  // namespace attnlab::kernels::reference
