// What a scorer gave, before any selection.
#pragma once

#include <attnlab/tile.hpp>
#include <limits>
#include <vector>

#include "core/attention/session.hpp"

namespace attnlab::test {

/// Key-side state of a stage of the session's first pipeline.
inline const attention::KeyState& key_state(const attention::Session& session, size_t stage,
                                            int64_t batch = 0, int64_t kv_head = 0) {
  return session.state(0)[stage][static_cast<size_t>(batch * session.geometry().kv_heads + kv_head)];
}

/// The records of a column, to read or to overwrite.
template <class T>
std::span<T> column_of(const attention::KeyState& state, const char* name) {
  const auto column = attnlab::detail::find_column<T>(&state.columns(), name);
  return column.records(0, column.size());
}

/// Scores [queries * group, keys] of a stage of the session's first pipeline for one KV head; NaN where the
/// method left them alone.
inline std::vector<float> stage_scores(const attention::Session& session, size_t stage, int64_t batch = 0,
                                       int64_t kv_head = 0) {
  const data::Geometry& g = session.geometry();
  attention::Tile tile;
  tile.load(session.problem(), g, session.options(), kernels::best_table(), {batch, kv_head, 0, g.queries});
  std::vector<float> values(static_cast<size_t>(tile.rows() * g.keys),
                            std::numeric_limits<float>::quiet_NaN());
  attnlab_scores scores{};
  scores.struct_size = sizeof scores;
  scores.page_size = 1;
  scores.unit_count = g.keys;
  scores.stride = g.keys;
  scores.values = values.data();
  const auto& columns = key_state(session, stage, batch, kv_head).columns();
  session.pipelines()[0].stages()[stage].masker.score(tile.view(0, &columns, nullptr), scores);
  return values;
}

}  // namespace attnlab::test
