// A pipeline bound to its plugins: stages that run one after another on a tile.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "core/attention/columns.hpp"
#include "core/attention/policy.hpp"
#include "core/attention/row_writer.hpp"
#include "core/attention/selector.hpp"

namespace attnlab::attention {

/// A stage and its plugin instance.
struct Stage {
  plugin::Masker masker;
  std::optional<config::SelectorPlan> selector;
  uint64_t seed = 0;

  /// It emits keys with p < 1.
  bool samples() const {
    return masker.descriptor().has(ATTNLAB_SAMPLES) || (selector.has_value() && selector->samples());
  }
};

/// Key-side state of a pipeline for one layer: [stage][batch * kv_heads + kv_head]; empty for stages without
/// any.
using PipelineState = std::vector<std::vector<KeyState>>;

/// Memory of one worker.
struct PipelineWorkspace {
  Selection current, next;
  RowWriter writer;
  Selector selector;
  std::vector<Range> candidates;
  std::vector<double> stage_seconds;       ///< filled by `select`
  std::vector<uint64_t> stage_read_bytes;  ///< search cost, filled by `select`
  /// Filled by `select` when the tile's query heads use several variants, else empty: whose heads are dense
  /// [group].
  std::vector<uint8_t> dense_heads;
  std::vector<size_t> head_variants;
  Selection assembled;
  RowList kept, all;  ///< for rows that attend to whatever stays in the cache
};

/// Immutable after construction; `select` is safe from any thread with its own workspace and tile.
class Pipeline {
 public:
  /// Loads plugins and constructs instances. `document` locates errors.
  Pipeline(const config::PipelinePlan& plan, const plugin::Catalog& catalog,
           const config::Document& document);

  const std::string& name() const { return name_; }
  const std::vector<Stage>& stages() const { return stages_; }
  /// No stages run for any row of the tile: dense attention.
  bool is_dense(const Tile& tile) const { return policy_.is_dense(tile); }
  /// The place of a stage in its own variant, which decides its random draws: the same alone and in a policy.
  size_t place_of(size_t stage) const;
  /// A stage wants to know how much attention each key received.
  bool wants_feedback() const;

  /// Asks every stage of these layers whether the geometry suits it. Throws UserError at the stage's own
  /// pointer.
  void check_geometry(const std::vector<int>& layers, const data::Geometry& geometry) const;
  /// Fresh key-side state for a layer, of the stages that run in it.
  PipelineState make_state(int layer, const data::Geometry& geometry, uint64_t seed) const;
  /// Runs the stages on the tile; the result stays in `workspace.current`. Every variant that a query head of
  /// the tile uses runs on all its rows, so that it chooses what its pipeline would choose alone.
  void select(Tile& tile, const PipelineState& state, const data::Geometry& geometry,
              PipelineWorkspace& workspace) const;
  /// Appends warnings that loading gave.
  void collect_warnings(std::vector<std::string>& warnings) const;

 private:
  /// Runs the stages of a variant; the result is `workspace.current`.
  void run(const Variant& variant, Tile& tile, const PipelineState& state, const data::Geometry& geometry,
           PipelineWorkspace& workspace) const;

  std::string name_;
  std::vector<Stage> stages_;  ///< of all variants
  Policy policy_;
};

}  // namespace attnlab::attention
