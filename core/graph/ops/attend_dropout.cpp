// Attention whose weights are dropped at random: the plane of weights exists, a sequence at a time.
#include <algorithm>

#include "core/base/parallel.hpp"
#include "core/graph/ops/attend.hpp"
#include "core/graph/ops/gemm.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

using kernels::GemmArguments;

/// Head h of sequence b of an array [B, H, T, channels] whose channels are adjacent.
Matrix head_of(const Array& x, int64_t b, int64_t h) {
  return {x.data<float>() + b * x.stride()[0] + h * x.stride()[1], x.stride()[2]};
}
float* head_data(Array& x, int64_t b, int64_t h) {
  return x.mutable_data<float>() + b * x.stride()[0] + h * x.stride()[1];
}

/// softmax over the keys that each row sees, zeros behind, in place.
void softmax_planes(const AttendProblem& p, float* planes) {
  constexpr int64_t rows_per_task = 32;
  const int64_t rows = p.query_heads * p.queries;
  const auto& table = kernels::active_table();
  base::parallel_for((rows + rows_per_task - 1) / rows_per_task, [&](int64_t task, int) {
    for (int64_t row = task * rows_per_task; row < std::min(rows, (task + 1) * rows_per_task); ++row) {
      float* values = planes + row * p.keys;
      const int64_t position = row % p.queries + p.keys - p.queries;
      const int64_t seen = p.causal ? std::clamp<int64_t>(position + 1, 0, p.keys) : p.keys;
      if (seen > 0) table.softmax({1, seen, values, p.keys, values, p.keys});
      std::fill(values + seen, values + p.keys, 0.0F);
    }
  });
}

/// A sequence's planes dropped: those of sequence b begin at element b Hq Sq Sk of the stream.
void drop(const AttendProblem& p, int64_t b, const float* from, float* to) {
  const int64_t size = p.query_heads * p.queries * p.keys;
  kernels::dropout(kernels::active_table(),
                   {size, from, static_cast<float>(p.dropout), p.dropout_key, b * size, to});
}

}  // namespace

Array attend_with_dropout(Evaluation& e, const AttendProblem& p) {
  const Array q = adjacent(e.input(0)), k = adjacent(e.input(1)), v = adjacent(e.input(2));
  const int64_t group = p.query_heads / p.kv_heads, plane = p.queries * p.keys;
  Array weights(Element::f32, {p.batch, p.query_heads, p.queries, p.keys});
  Array dropped(Element::f32, {p.query_heads, p.queries, p.keys});
  Array out = by_token(p.batch, p.query_heads, p.queries, p.value_dim);
  std::vector<GemmArguments> products(static_cast<size_t>(p.query_heads));
  auto each_head = [&](const auto& product_of) {
    for (int64_t h = 0; h < p.query_heads; ++h) products[static_cast<size_t>(h)] = product_of(h);
    kernels::gemm(kernels::active_table(), products);
  };
  for (int64_t b = 0; b < p.batch && out.size() > 0; ++b) {
    float* planes = weights.mutable_data<float>() + b * p.query_heads * plane;
    each_head([&](int64_t h) {
      return product(head_of(q, b, h), head_of(k, b, h / group).transposed(), p.queries, p.head_dim, p.keys,
                     planes + h * plane, p.keys, p.scale);
    });
    softmax_planes(p, planes);
    drop(p, b, planes, dropped.mutable_data<float>());
    each_head([&](int64_t h) {
      return product({dropped.data<float>() + h * plane, p.keys}, head_of(v, b, h / group), p.queries, p.keys,
                     p.value_dim, head_data(out, b, h), out.stride()[2]);
    });
  }
  if (e.watched) e.saved = {weights};
  return out;
}

std::vector<Array> attend_with_dropout_gradient(const AttendProblem& p, const Array& query, const Array& key,
                                                const Array& value, const Array& weights,
                                                const Array& gradient) {
  const Array q = adjacent(query), k = adjacent(key), v = adjacent(value), d_out = adjacent(gradient);
  const int64_t group = p.query_heads / p.kv_heads, plane = p.queries * p.keys,
                rows = p.query_heads * p.queries;
  Array dq = by_token(p.batch, p.query_heads, p.queries, p.head_dim);
  Array dk = by_token(p.batch, p.kv_heads, p.keys, p.head_dim),
        dv = by_token(p.batch, p.kv_heads, p.keys, p.value_dim);
  Array dropped(Element::f32, {p.query_heads, p.queries, p.keys}), d_weights(Element::f32, dropped.shape());
  const auto& table = kernels::active_table();
  std::vector<GemmArguments> products;
  // Query heads of a group add to the same keys: one member of each group at a time, in their order.
  auto each_member = [&](const auto& product_of) {
    for (int64_t member = 0; member < group; ++member) {
      products.clear();
      for (int64_t h = member; h < p.query_heads; h += group) products.push_back(product_of(h, member > 0));
      kernels::gemm(table, products);
    }
  };
  for (int64_t b = 0; b < p.batch; ++b) {
    const float* planes = weights.data<float>() + b * p.query_heads * plane;
    float* ds = d_weights.mutable_data<float>();
    drop(p, b, planes, dropped.mutable_data<float>());
    each_member([&](int64_t h, bool add) {
      const Matrix w{dropped.data<float>() + h * plane, p.keys};
      return product(w.transposed(), head_of(d_out, b, h), p.keys, p.queries, p.value_dim,
                     head_data(dv, b, h / group), dv.stride()[2], 1, add);
    });
    each_member([&](int64_t h, bool) {
      return product(head_of(d_out, b, h), head_of(v, b, h / group).transposed(), p.queries, p.value_dim,
                     p.keys, ds + h * plane, p.keys);
    });
    drop(p, b, ds, ds);
    kernels::softmax_gradient(table, {rows, p.keys, planes, p.keys, ds, p.keys, ds, p.keys});
    each_member([&](int64_t h, bool) {
      return product({ds + h * plane, p.keys}, head_of(k, b, h / group), p.queries, p.keys, p.head_dim,
                     head_data(dq, b, h), dq.stride()[2], p.scale);
    });
    each_member([&](int64_t h, bool add) {
      const Matrix s{ds + h * plane, p.keys};
      return product(s.transposed(), head_of(q, b, h), p.keys, p.queries, p.head_dim,
                     head_data(dk, b, h / group), dk.stride()[2], p.scale, add);
    });
  }
  return {dq, dk, dv};
}

}  // namespace attnlab::graph
