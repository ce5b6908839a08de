#include "tests/golden/hub_injected.hpp"

#include <algorithm>
#include <cmath>

#include "core/io/npy.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::golden {

Injected::Injected(const HubCase& golden, const io::Json& stages)
    : document_(test::document_with(io::Json({{"case", stages}}).dump())), pipelines_(test::bind(document_)) {
  const HubShape& s = golden.shape();
  const auto &q = golden.inputs().at("q"), &k = golden.inputs().at("k"), &v = golden.inputs().at("v");
  problem_.query = tensor::view_bhsd(q);
  problem_.key = tensor::view_bhsd(k);
  problem_.value = tensor::view_bhsd(v);
  problem_.valid.assign(static_cast<size_t>(s.batch), s.keys);
  problem_.storage = {q, k, v};
  attention::AttentionOptions options;
  options.causal = golden.causal();
  options.scale = static_cast<float>(golden.scale());
  session_ = std::make_unique<attention::Session>(
      pipelines_, problem_,
      data::Geometry{s.batch, s.query_heads, s.kv_heads, s.queries, s.keys, s.head_dim, s.value_dim},
      options);
}

Plane Injected::scores(int64_t first_key) const {
  const data::Geometry& g = session_->geometry();
  Plane plane(g.query_heads * g.queries, g.keys - first_key, 0);
  for (int64_t kv_head = 0; kv_head < g.kv_heads; ++kv_head) {
    const std::vector<float> scores = test::stage_scores(*session_, stage(), 0, kv_head);
    for (int64_t row = 0; row < g.queries * g.group(); ++row) {
      const int64_t head = kv_head * g.group() + row % g.group();
      std::copy_n(scores.begin() + row * g.keys + first_key, plane.columns,
                  plane.row(head * g.queries + row / g.group()).begin());
    }
  }
  return plane;
}

Outcome Injected::attend() const {
  const data::Geometry& g = session_->geometry();
  Outcome ours{
      Plane(g.query_heads * g.queries, g.keys, 0), {}, Plane(g.query_heads * g.queries, g.value_dim, 0)};
  attention::Engine engine({&kernels::best_table(), int64_t{1} << 22, false});
  engine.attend(*session_, 0, g.queries, {}, [&](const attention::TileOutcome& outcome) {
    attention::Tile& tile = *outcome.tile;
    for (int64_t row = 0; row < tile.rows(); ++row) {
      const int64_t line = tile.head_of(row) * g.queries + tile.query_of(row);
      attention::RowList dense;
      const attention::RowList& list = attention::active_list(outcome, row, dense);
      const auto mask = ours.mask.row(line);
      for (const auto& run : list.runs) std::fill(mask.begin() + run.begin, mask.begin() + run.end, 1.0f);
      for (int32_t key : list.ids) mask[static_cast<size_t>(key)] = 1;
      std::copy_n(outcome.out + row * g.value_dim, g.value_dim, ours.output.row(line).begin());
    }
  });
  return ours;
}

std::vector<float> dumped_floats(const HubCase& golden, const std::string& file) {
  const tensor::Tensor tensor = io::read_npy(golden.result(file));
  const auto values = tensor.values<float>();
  return {values.begin(), values.end()};
}

std::vector<int32_t> dumped_integers(const HubCase& golden, const std::string& file) {
  const tensor::Tensor tensor = io::read_npy(golden.result(file));
  const auto values = tensor.values<int32_t>();
  return {values.begin(), values.end()};
}

}  // namespace attnlab::golden
