#include "core/kernels/attention/reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

namespace attnlab::kernels::reference {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

struct Entry {
  double logit;
  const float* value;
};

double dot(const float* a, const float* b, int64_t size) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += double{a[i]} * b[i];
  return sum;
}

/// `bias` is one row of the bias argument, or null.
double logit(const float* query, const float* key, int64_t head_dim, float scale, const float* bias,
             int64_t id) {
  return scale * dot(query, key, head_dim) + (bias == nullptr ? 0.0 : bias[id]);
}

const float* bias_row(const float* const* bias, int64_t row) {
  return bias == nullptr ? nullptr : bias[row];
}

void softmax(const std::vector<Entry>& entries, double sink_logit, int64_t value_dim, double* out,
             double* lse) {
  double maximum = sink_logit;
  for (const Entry& entry : entries) maximum = std::max(maximum, entry.logit);
  std::fill_n(out, value_dim, 0.0);
  *lse = kMinusInfinity;
  if (maximum == kMinusInfinity) return;
  double denominator = std::exp(sink_logit - maximum);
  for (const Entry& entry : entries) {
    const double weight = std::exp(entry.logit - maximum);
    denominator += weight;
    for (int64_t c = 0; c < value_dim; ++c) out[c] += weight * entry.value[c];
  }
  for (int64_t c = 0; c < value_dim; ++c) out[c] /= denominator;
  *lse = maximum + std::log(denominator);
}

std::vector<Entry> entries_of_row(const AttendArguments& a, int64_t row) {
  const float* query = a.query + row * a.query_stride;
  const float* bias = bias_row(a.bias, row);
  std::vector<Entry> entries;
  for (const Segment& segment : std::span(a.segments, a.segment_count)) {
    const auto add = [&](int64_t id, double log_weight) {
      const double l = logit(query, segment.key + id * segment.key_stride, a.head_dim, a.scale, bias, id);
      entries.push_back({l + log_weight, segment.value + id * segment.value_stride});
    };
    for (const Range& run : std::span(segment.runs, segment.run_count)) {
      for (int32_t id = run.begin; id < run.end; ++id) add(id, 0);
    }
    for (int64_t i = 0; i < segment.id_count; ++i) {
      const double weight =
          segment.log_weight == nullptr ? 0.0 : segment.log_weight[row * segment.log_weight_stride + i];
      if (segment.log_weight_stride == 0 || weight != kMinusInfinity) add(segment.ids[i], weight);
    }
  }
  return entries;
}

}  // namespace

void logits(const LogitsArguments& a, double* out) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t j = a.key_begin; j < a.key_end; ++j) {
      out[r * a.logits_stride + j] = logit(a.query + r * a.query_stride, a.key + j * a.key_stride, a.head_dim,
                                           a.scale, bias_row(a.bias, r), j);
    }
  }
}

void attend(const AttendArguments& a, double* out, double* lse) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const double sink_logit = a.sink_logit == nullptr ? kMinusInfinity : a.sink_logit[r];
    softmax(entries_of_row(a, r), sink_logit, a.value_dim, out + r * a.out_stride, lse + r);
  }
}

void attend_logits(const AttendLogitsArguments& a, double* out, double* lse) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const double sink_logit = a.sink_logit == nullptr ? kMinusInfinity : a.sink_logit[r];
    std::vector<Entry> entries;
    for (int64_t j = 0; j < a.key_end[r]; ++j) {
      entries.push_back({a.logits[r * a.logits_stride + j], a.value + j * a.value_stride});
    }
    softmax(entries, sink_logit, a.value_dim, out + r * a.out_stride, lse + r);
  }
}

void dense_attention(const DenseArguments& a, double* out, double* lse) {
  for (int64_t i = 0; i < a.batch * a.query_heads * a.queries; ++i) {
    const int64_t batch = i / (a.query_heads * a.queries);
    const int64_t head = i / a.queries % a.query_heads;
    const int64_t query = i % a.queries;
    const int64_t kv_head = head / (a.query_heads / a.kv_heads);
    const int64_t valid = a.valid == nullptr ? a.keys : a.valid[batch];
    const int64_t end = a.causal ? std::clamp<int64_t>(query + valid - a.queries + 1, 0, valid) : valid;
    std::vector<Entry> entries;
    for (int64_t j = 0; j < end; ++j) {
      const float* bias = a.bias.data == nullptr ? nullptr : a.bias.row(batch, head, query);
      entries.push_back(
          {logit(a.query.row(batch, head, query), a.key.row(batch, kv_head, j), a.head_dim, a.scale, bias, j),
           a.value.row(batch, kv_head, j)});
    }
    softmax(entries, a.sink_logit == nullptr ? kMinusInfinity : a.sink_logit[head], a.value_dim,
            out + (a.out.row(batch, head, query) - a.out.data), lse + i);
  }
}

}  // namespace attnlab::kernels::reference
