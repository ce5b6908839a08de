// One instance of a method with its parameters, of whatever facet: loading, creation, marked calls.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/plugin/call.hpp"
#include "core/plugin/catalog.hpp"
#include "core/plugin/host_table.hpp"

namespace attnlab::plugin {

/// Where a method is used: for messages, and for the config's place in errors.
struct Usage {
  std::string pipeline, stage;
  base::Mistake where;  ///< of the method in the config
};

/// Owns what a plugin made. Movable; calls in progress keep their own references. Thread-safe after
/// construction.
class Instance final {
 public:
  /// Loads the library if needed and constructs the instance. A parameter that the method itself refuses is a
  /// UserError (Exit::invalid) at `usage.where.pointer` + its own pointer. [main thread]
  Instance(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
           const Usage& usage);

  Instance(Instance&&) = default;
  /// The old instance would be destroyed after what it refers to.
  Instance& operator=(Instance&&) = delete;

  const attnlab_method& method() const { return *method_; }
  void* self() const { return self_.get(); }
  const Descriptor& descriptor() const { return descriptor_; }
  const Callee& callee() const { return *callee_; }
  const HostContext& host() const { return *host_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  /// Runs body(attnlab_error*), which calls one slot, as a marked call. Throws UserError: a parameter that
  /// the method refuses is Exit::invalid at its place in the config; another error that it reports, and a
  /// changed floating-point mode, is Exit::plugin_broken with file, method, pipeline, stage and `place`.
  template <class Body>
  void call(const char* slot, const Place& place, const Body& body) const {
    attnlab_error error{};
    error.struct_size = sizeof error;
    FpuMode mode;
    attnlab_status status;
    {
      const Call mark(*callee_, slot, place);
      status = body(&error);
    }
    const bool changed = mode.restore();
    finish(slot, place, status, error, changed);
  }

  /// Throws UserError (Exit::plugin_broken): this method broke `rule` in `slot` at `place`.
  [[noreturn]] void fail(const std::string& rule, const char* slot, const Place& place = {}) const;

 private:
  void finish(const char* slot, const Place& place, attnlab_status status, const attnlab_error& error,
              bool fpu_changed) const;

  Descriptor descriptor_;
  base::Mistake where_;
  std::vector<std::string> warnings_;
  std::vector<Value> values_;  // keeps the pipelines among them alive
  // In memory of their own: calls refer to them, and this object may move.
  std::unique_ptr<const Callee> callee_;
  std::unique_ptr<HostContext> host_;
  const attnlab_method* method_ = nullptr;
  std::unique_ptr<void, std::function<void(void*)>> self_;
};

}  // namespace attnlab::plugin
