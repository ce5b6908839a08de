// A masker or scorer of a plugin: a RAII handle over its table. There is no class hierarchy behind it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/plugin/instance.hpp"

namespace attnlab::plugin {

/// A column that a method declared.
struct ColumnSpec {
  std::string name;
  int32_t per = ATTNLAB_PER_TOKEN;
  int32_t dtype = ATTNLAB_F32;
  int64_t width = 0;
  int64_t page_size = 1;  ///< 0 for PER_SEQUENCE
  bool normal = false;    ///< filled with draws from N(0, 1)
};

/// An instance of a method with its parameters. All const calls are safe from any thread.
/// Calls throw UserError with Exit::plugin_broken that names file, method, pipeline, stage, layer, KV head
/// and positions or keys: for an error that the method reports, and for a changed floating-point mode.
class Masker final {
 public:
  /// Loads the library if needed and constructs the instance. A parameter that the method itself refuses is a
  /// UserError (Exit::invalid) at `where.pointer` + its own pointer. `pipeline` and `stage` are for messages.
  /// [main thread]
  Masker(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
         const std::string& pipeline, const std::string& stage, const base::Mistake& where);

  const Descriptor& descriptor() const { return instance_.descriptor(); }
  const std::string& stage() const { return instance_.callee().stage; }
  const std::string& file() const { return instance_.callee().file; }
  bool is_scorer() const { return table_->score != nullptr; }
  bool has_columns() const { return table_->columns != nullptr; }
  bool has_state() const { return table_->state != nullptr; }
  bool wants_end_prompt() const { return table_->end_prompt != nullptr; }
  bool wants_feedback() const { return table_->feedback != nullptr; }
  const HostContext& host() const { return instance_.host(); }
  const std::vector<std::string>& warnings() const { return instance_.warnings(); }

  std::vector<ColumnSpec> columns(const attnlab_geometry& geometry) const;
  void encode(const attnlab_key_block& block, const attnlab_columns& columns) const;
  void end_prompt(const attnlab_prompt& prompt, const attnlab_columns& columns, void* state) const;
  void feedback(const attnlab_feedback& feedback, const attnlab_columns& columns, void* state) const;
  void select(const attnlab_tile& tile, const attnlab_prior& prior, const attnlab_row_writer& out) const;
  void score(const attnlab_tile& tile, attnlab_scores& scores) const;
  /// Keys per score.
  int64_t page_size() const;

  /// Opaque state, freed by its method. Must not outlive this object.
  using State = std::unique_ptr<void, std::function<void(void*)>>;
  State create_state(const attnlab_geometry& geometry, uint64_t rng_key) const;
  void append_state(void* state, const attnlab_key_block& block, const attnlab_columns& columns) const;
  void truncate_state(void* state, int64_t key_count) const;
  State fork_state(const void* state) const;
  uint64_t state_bytes(const void* state) const;

  /// Throws UserError (Exit::plugin_broken): this method broke `rule` in `slot` at `place`.
  [[noreturn]] void fail(const std::string& rule, const char* slot, const Place& place = {}) const {
    instance_.fail(rule, slot, place);
  }

 private:
  State own(void* state) const;

  Instance instance_;
  const attnlab_masker_table* table_ = nullptr;
};

}  // namespace attnlab::plugin
