// A masker or scorer of a plugin: a RAII handle over its table. There is no class hierarchy behind it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/plugin/catalog.hpp"
#include "core/plugin/crash.hpp"
#include "core/plugin/host_table.hpp"

namespace attnlab::plugin {

/// A column that a method declared.
struct ColumnSpec {
  std::string name;
  int32_t per = ATTNLAB_PER_TOKEN;
  int32_t dtype = ATTNLAB_F32;
  int64_t width = 0;
  int64_t page_size = 1;  ///< 0 for PER_SEQUENCE
};

/// An instance of a method with its parameters. Movable. All const calls are safe from any thread.
/// Calls throw UserError with Exit::plugin_broken that names file, method, stage, layer, KV head and
/// positions.
class Masker final {
 public:
  /// Loads the library if needed and constructs the instance. A parameter that the method itself refuses is a
  /// UserError (Exit::invalid) at `where.pointer` + its own pointer. [main thread]
  Masker(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
         std::string stage, const base::Mistake& where);

  const Descriptor& descriptor() const { return descriptor_; }
  const std::string& stage() const { return stage_; }
  const std::string& file() const { return file_; }
  bool is_scorer() const { return table_->score != nullptr; }
  bool has_columns() const { return table_->columns != nullptr; }
  const attnlab_state_table* state_table() const { return table_->state; }
  const HostContext& host() const { return *host_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  std::vector<ColumnSpec> columns(const attnlab_geometry& geometry) const;
  void encode(const attnlab_key_block& block, const attnlab_columns& columns) const;
  void end_prompt(const attnlab_prompt& prompt, const attnlab_columns& columns, void* state) const;
  void feedback(const attnlab_feedback& feedback, const attnlab_columns& columns, void* state) const;
  void select(const attnlab_tile& tile, const attnlab_prior& prior, const attnlab_row_writer& out) const;
  void score(const attnlab_tile& tile, attnlab_scores& scores) const;
  /// Keys per score.
  int64_t page_size() const;
  bool wants_end_prompt() const { return table_->end_prompt != nullptr; }
  bool wants_feedback() const { return table_->feedback != nullptr; }
  const void* self() const { return self_.get(); }
  /// Throws UserError (Exit::plugin_broken): this method broke `rule` in `slot`.
  [[noreturn]] void fail(const std::string& rule, const std::string& slot) const;
  /// Throws what a call of `slot` reported.
  void check(attnlab_status status, const attnlab_error& error, const std::string& slot) const;

 private:
  std::string place(const attnlab_tile& tile) const;
  PluginCall call(const char* slot, const attnlab_tile* tile = nullptr) const;

  Descriptor descriptor_;
  std::string file_, stage_;
  base::Mistake where_;  ///< the stage in the config
  std::vector<std::string> warnings_;
  std::unique_ptr<HostContext> host_;
  const attnlab_masker_table* table_ = nullptr;
  std::unique_ptr<void, void (*)(void*)> self_{nullptr, [](void*) {}};
};

}  // namespace attnlab::plugin
