// Attention to keys that a selector chooses: forward in the selector's engine, backward through what it
// chose.
#include <algorithm>
#include <limits>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/graph/ops/attend.hpp"
#include "core/kernels/attention/backward.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

SelectorCall call_of(const AttendProblem& p, std::span<const Array> inputs, bool keep_rows) {
  auto floats = [](const Array& x) { return adjacent(x.as(Element::f32)); };
  SelectorCall call;
  call.q = floats(inputs[0]), call.k = floats(inputs[1]), call.v = floats(inputs[2]);
  call.causal = p.causal, call.scale = p.scale;
  call.layer = p.layer, call.random_key = p.selector_key;
  call.dense_when_empty = p.dense_when_empty, call.keep_rows = keep_rows;
  return call;
}

/// The keys and log weights of rows, as the backward kernel wants them.
struct Rows {
  const int64_t* begin;
  std::vector<int32_t> ids;
  const float* log_weight;

  Rows(const Array& row_begin, const Array& key, const Array& weight)
      : begin(row_begin.data<int64_t>()),
        ids(key.data<int64_t>(), key.data<int64_t>() + key.size()),
        log_weight(weight.data<float>()) {}
};

}  // namespace

Array attend_selected(Evaluation& e, const AttendProblem& p) {
  const SelectedAttention found = p.selector->attend(call_of(p, e.inputs, e.watched));
  if (e.watched) e.saved = {found.lse, found.row_begin, found.key, found.log_weight};
  return found.out;
}

std::vector<Array> attend_selected_gradient(const AttendProblem& p, std::span<const Array> inputs,
                                            const Array& out, const std::vector<Array>& saved,
                                            const Array& gradient) {
  const Array q = adjacent(inputs[0]), k = adjacent(inputs[1]), v = adjacent(inputs[2]);
  const Array d_out = adjacent(gradient);
  const Rows rows(saved[1], saved[2], saved[3]);
  Array dq = by_token(p.batch, p.query_heads, p.queries, p.head_dim);
  Array dk = Array::zeros(Element::f32, {p.batch, p.kv_heads, p.keys, p.head_dim});
  Array dv = Array::zeros(Element::f32, {p.batch, p.kv_heads, p.keys, p.value_dim});
  const int64_t group = p.query_heads / p.kv_heads, count = p.batch * p.query_heads * p.queries;
  std::vector<kernels::Segment> segments(static_cast<size_t>(count));
  std::vector<kernels::SegmentGradient> targets(static_cast<size_t>(p.batch * p.kv_heads));
  std::vector<kernels::AttendBackwardArguments> calls(static_cast<size_t>(count));
  std::vector<std::span<const kernels::AttendBackwardArguments>> heads;
  const auto query = rows_of(q), key = rows_of(k), value = rows_of(v), result = rows_of(out);
  const auto d_result = rows_of(d_out);
  const auto d_query = rows_of(dq.mutable_data<float>(), dq);
  // Rows of a KV head add to the same keys: they are one list of calls. Query heads of a group lie together.
  for (int64_t head = 0; head < p.batch * p.kv_heads; ++head) {
    const int64_t b = head / p.kv_heads, kv = head % p.kv_heads;
    targets[static_cast<size_t>(head)] = {dk.mutable_data<float>() + head * p.keys * p.head_dim, p.head_dim,
                                          dv.mutable_data<float>() + head * p.keys * p.value_dim,
                                          p.value_dim};
    for (int64_t i = 0; i < group * p.queries; ++i) {
      const int64_t h = kv * group + i / p.queries, t = i % p.queries;
      const auto row = static_cast<size_t>(head * group * p.queries + i);
      kernels::Segment& segment = segments[row];
      segment.key = key.row(b, kv, 0), segment.key_stride = key.row_stride;
      segment.value = value.row(b, kv, 0), segment.value_stride = value.row_stride;
      segment.ids = rows.ids.data() + rows.begin[row];
      segment.id_count = rows.begin[row + 1] - rows.begin[row];
      segment.log_weight = rows.log_weight + rows.begin[row];
      kernels::AttendBackwardArguments& a = calls[row];
      a.forward.query = query.row(b, h, t), a.forward.query_stride = query.row_stride;
      a.forward.rows = 1, a.forward.head_dim = p.head_dim, a.forward.value_dim = p.value_dim;
      a.forward.scale = static_cast<float>(p.scale);
      a.forward.segments = &segment, a.forward.segment_count = 1;
      // Only read, whatever the type says.
      a.forward.out = const_cast<float*>(result.row(b, h, t)), a.forward.out_stride = result.row_stride;
      a.forward.lse = const_cast<float*>(saved[0].data<float>()) + row;
      a.grad_out = d_result.row(b, h, t), a.grad_out_stride = d_result.row_stride;
      a.grad_query = d_query.row(b, h, t), a.grad_query_stride = d_query.row_stride;
      a.segments = &targets[static_cast<size_t>(head)];
    }
    heads.emplace_back(calls.data() + head * group * p.queries, static_cast<size_t>(group * p.queries));
  }
  kernels::sparse_backward(kernels::active_table(), heads);
  return {dq, dk, dv};
}

Array selected_plane(const AttendProblem& p, std::span<const Array> inputs, Element element) {
  const SelectedAttention found = p.selector->attend(call_of(p, inputs, true));
  Array plane(element, {p.batch, p.query_heads, p.queries, p.keys});
  const Rows rows(found.row_begin, found.key, found.log_weight);
  with_type(element, [&](auto type) {
    using T = decltype(type);
    std::fill_n(plane.mutable_data<T>(), plane.size(), -std::numeric_limits<T>::infinity());
    for (int64_t row = 0; row < p.batch * p.query_heads * p.queries; ++row) {
      for (int64_t i = rows.begin[row]; i < rows.begin[row + 1]; ++i)
        plane.mutable_data<T>()[row * p.keys + rows.ids[static_cast<size_t>(i)]] =
            static_cast<T>(rows.log_weight[i]);
    }
  });
  return plane;
}

}  // namespace attnlab::graph
