// Pipelines at work on one layer: keys are appended, queries are attended, tile by tile.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/attention/pipeline.hpp"
#include "core/attention/step_mass.hpp"

namespace attnlab::attention {

/// Key-side states of several pipelines on one layer. The layer's tensors stay where they are: appending
/// means that more of their keys exist. Moves and forks; not thread-safe. Of a problem that is a part, which
/// must hold all keys, only the part's KV heads get keys.
class Session {
 public:
  /// Last queries of the prompt that a method may see at its end.
  static constexpr int64_t prompt_queries = 64;

  Session(const std::vector<Pipeline>& pipelines, const data::LayerProblem& problem,
          const data::Geometry& geometry, const AttentionOptions& options);

  /// Keys [0, keys) of every sequence exist now (fewer where the sequence's valid length is shorter).
  void append(int64_t keys);
  void truncate(int64_t keys);
  /// The prompt is complete: methods that fit on all of it do so now.
  void end_prompt();
  /// A step is over (the prompt, an appended chunk or a decoded token, with all its queries attended):
  /// methods that want feedback learn how much attention each key received in it.
  void end_step();
  /// What a pipeline's keys received since the last `end_step`; null when no stage asks for it.
  StepMass* received(size_t pipeline) { return received_[pipeline].get(); }
  /// Some pipeline wants feedback.
  bool wants_feedback() const;
  /// An independent continuation, between two steps.
  Session fork() const;

  /// The problem holds the KV head of this state, `head` = b Hkv + h.
  bool holds(int64_t head) const {
    const int64_t kv_head = head % geometry_.kv_heads - problem_->kv_head_begin;
    return kv_head >= 0 && kv_head < problem_->key.heads;
  }
  int64_t key_count() const { return key_count_; }
  const std::vector<Pipeline>& pipelines() const { return *pipelines_; }
  const PipelineState& state(size_t pipeline) const { return states_[pipeline]; }
  const data::LayerProblem& problem() const { return *problem_; }
  const data::Geometry& geometry() const { return geometry_; }
  const AttentionOptions& options() const { return options_; }
  /// Bytes of key-side state of each stage of a pipeline, all heads of the problem together.
  std::vector<IndexBytes> index_bytes(size_t pipeline) const;
  /// Their sum.
  uint64_t state_bytes(size_t pipeline) const;

 private:
  template <class Body>
  void for_each_state(const Body& body);
  attnlab_key_block block_of(int64_t head) const;
  int64_t valid_keys(int64_t head, int64_t keys) const;

  const std::vector<Pipeline>* pipelines_;
  const data::LayerProblem* problem_;
  data::Geometry geometry_;
  AttentionOptions options_;
  int64_t key_count_ = 0;
  std::vector<PipelineState> states_;
  std::vector<std::unique_ptr<StepMass>> received_;
};

/// What a pipeline did on a tile. Pointers are valid during the call.
struct TileOutcome {
  Tile* tile = nullptr;
  size_t pipeline = 0;
  const Selection* selection = nullptr;  ///< null for dense attention
  const float* out = nullptr;            ///< [rows, value_dim]; null when only selecting
  const float* lse = nullptr;            ///< [rows]
  const float* exact_out = nullptr;      ///< dense attention on the same rows; null unless asked for
  const float* exact_lse = nullptr;
  const std::vector<uint8_t>* empty = nullptr;  ///< [rows] 1: visible keys, but the stages selected none
};

/// The active keys of a row, whatever the pipeline; `dense` is memory for the list of a dense row.
const RowList& active_list(const TileOutcome& outcome, int64_t row, RowList& dense);

/// Called for each tile and pipeline, from worker threads; different tiles hold different rows.
using Visitor = std::function<void(const TileOutcome&)>;

/// Summed over threads, in seconds. Exact logits and dense rows are shared by all pipelines of a run.
struct Clocks {
  double logits = 0, exact_rows = 0, visit = 0;
  std::vector<std::vector<double>> stages;  ///< [pipeline][stage]
  std::vector<double> attend;               ///< [pipeline]
  /// Search cost [pipeline][stage]: bytes that the stage read to choose, each query for itself.
  std::vector<std::vector<uint64_t>> search_bytes;
  std::vector<uint64_t> queries;  ///< [pipeline] queries of KV heads, dense ones included

  /// Zeros for these pipelines; keeps memory.
  void clear(const std::vector<Pipeline>& pipelines);
  void add(const Clocks& other);
};

/// How to execute. None of it changes results.
struct Execution {
  const kernels::KernelTable* kernels = nullptr;
  int64_t tile_bytes = int64_t{4} << 20;  ///< logits of a tile should fit in this
  bool exact = true;                      ///< dense rows for every tile, for comparison
  bool select_only = false;               ///< outcomes hold no outputs
};

/// Runs sessions; keeps the workers' memory between calls. [main thread]
class Engine {
 public:
  explicit Engine(const Execution& execution);
  ~Engine();

  /// Attends queries [begin, begin + count) of every sequence. Skips KV heads that `kv_heads` leaves out
  /// (empty: all). Results depend neither on the tiles nor on the threads.
  /// What keys receive is added to `session.received`.
  void attend(Session& session, int64_t begin, int64_t count, const std::vector<int64_t>& kv_heads,
              const Visitor& visit);
  /// Attends the prompt's queries [0, count) densely, for nothing but what the pipelines that want feedback
  /// receive: what is sparse begins after the prompt. Leaves the clocks alone.
  void attend_prompt(Session& session, int64_t count, const std::vector<int64_t>& kv_heads);
  const Clocks& clocks() const { return clocks_; }
  /// Scratch memory of all workers.
  uint64_t scratch_bytes() const;

 private:
  struct Worker;
  template <class Body>
  void for_each_tile(Session& session, int64_t begin, int64_t count, const std::vector<int64_t>& kv_heads,
                     const Body& body);
  void attend_tile(Worker& worker, Session& session, const TileIndex& index, const Visitor& visit);
  void attend_prompt_tile(Worker& worker, Session& session, const TileIndex& index);
  Execution execution_;
  std::vector<TileIndex> tiles_;  ///< of the call
  std::vector<std::unique_ptr<Worker>> workers_;
  Clocks clocks_;
};

}  // namespace attnlab::attention
