#include "core/data/problem.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/data/archive_source.hpp"
#include "core/data/trace.hpp"
#include "core/data/workload.hpp"

namespace attnlab::data {

namespace {

/// Heads [head, head + heads) and tokens [token, token + tokens) of a view that may be absent.
tensor::HeadView cut_view(tensor::HeadView view, int64_t head, int64_t heads, int64_t token, int64_t tokens) {
  if (view.data == nullptr) return view;
  view.data = view.row(0, head, token);
  view.heads = heads;
  view.tokens = tokens;
  return view;
}

}  // namespace

tensor::Tensor cut_bias(const tensor::Tensor& bias, const Part& part, int64_t group) {
  const tensor::Shape& shape = bias.shape();
  const bool per_head = shape[1] != 1;
  const int64_t head = per_head ? part.kv_head_begin * group : 0;
  const int64_t heads = per_head ? part.kv_heads() * group : 1;
  const int64_t queries = shape[2] - part.query_begin;
  auto result = tensor::Tensor::zeros(tensor::DType::f32, {shape[0], heads, queries, part.keys()});
  const float* from = bias.values<float>().data();
  float* to = result.mutable_values<float>().data();
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t h = head; h < head + heads; ++h) {
      for (int64_t q = part.query_begin; q < shape[2]; ++q) {
        const int64_t row = ((b * shape[1] + h) * shape[2] + q) * shape[3];
        to = std::copy_n(from + row + part.key_begin, part.keys(), to);
      }
    }
  }
  return result;
}

LayerProblem cut(LayerProblem whole, const Part& part) {
  const int64_t group = whole.query.heads / whole.key.heads;
  LayerProblem problem = std::move(whole);
  const int64_t head = part.kv_head_begin, heads = part.kv_heads();
  const int64_t queries = problem.query.tokens - part.query_begin;
  problem.query = cut_view(problem.query, head * group, heads * group, part.query_begin, queries);
  problem.expected_output =
      cut_view(problem.expected_output, head * group, heads * group, part.query_begin, queries);
  problem.key = cut_view(problem.key, head, heads, part.key_begin, part.keys());
  problem.value = cut_view(problem.value, head, heads, part.key_begin, part.keys());
  if (!problem.bias.empty()) problem.bias = cut_bias(problem.bias, part, group);
  problem.true_mass = {};
  problem.kv_head_begin = part.kv_head_begin;
  problem.key_begin = part.key_begin;
  problem.query_begin = part.query_begin;
  return problem;
}

LayerProblem Source::load_part(int layer, const Part& part) const {
  return cut(load(layer), part);
}

std::unique_ptr<Source> open_source(const config::InputSpec& spec, bool in_parts) {
  switch (spec.kind) {
    case config::InputSpec::Kind::trace:
      return open_trace(spec.path);
    case config::InputSpec::Kind::archive:
      return open_archive(spec.path);
    case config::InputSpec::Kind::workload:
      return open_workload(spec.workload, in_parts);
  }
  ATTNLAB_CHECK(false, "unknown kind of input");
}

}  // namespace attnlab::data
