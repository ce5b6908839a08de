#include "core/plugin/instance.hpp"

#include <fmt/core.h>

#include "core/plugin/crash.hpp"
#include "core/plugin/library.hpp"

namespace attnlab::plugin {
namespace {

const attnlab_method& find_method(const attnlab_library& library, const std::string& id) {
  for (uint64_t i = 0; i < library.method_count; ++i) {
    const attnlab_text& name = library.methods[i]->id;
    if (std::string_view(name.data, static_cast<size_t>(name.size)) == id) return *library.methods[i];
  }
  throw base::UserError("no longer holds the method \"" + id + "\"", {}, base::Exit::plugin_broken);
}

/// The slots that every facet has.
struct Lifetime {
  attnlab_status (*create)(const attnlab_host*, const attnlab_value*, uint64_t, void**, attnlab_error*);
  void (*destroy)(void*);
};
Lifetime lifetime_of(const attnlab_method& method) {
  if (method.masker != nullptr) return {method.masker->create, method.masker->destroy};
  ATTNLAB_CHECK(method.scheme != nullptr, "the probe accepts only complete methods");
  return {method.scheme->create, method.scheme->destroy};
}

}  // namespace

Instance::Instance(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
                   const Usage& usage)
    : descriptor_(entry.descriptor),
      where_(usage.where),
      values_(values),
      callee_(
          new Callee{base::escape_unprintable(entry.file), entry.descriptor.id, usage.pipeline, usage.stage}),
      host_(std::make_unique<HostContext>(usage.stage)) {
  try {
    const Call mark(*callee_, "load");
    const attnlab_plugin_entry* linked = catalog.static_entry(entry.file);
    const attnlab_library& library =
        linked != nullptr ? library_of(*linked, entry.file) : load_library(entry.file, warnings_);
    method_ = &find_method(library, descriptor_.method);
  } catch (const base::UserError& error) {
    if (error.exit() == base::Exit::plugin_broken)
      record_failure(usage.pipeline, error.summary(), error.what());
    throw;
  }
  if ((entry.note.flags & ATTNLAB_NOTE_FAST_MATH) != 0) {
    warnings_.push_back(
        entry.file +
        " was compiled with -ffast-math: its sums depend on its compiler, and it does not see NaN");
  }
  const ValuePack pack(descriptor_.parameters, values);
  const Lifetime lifetime = lifetime_of(*method_);
  void* instance = nullptr;
  call("create", {}, [&](attnlab_error* error) {
    return lifetime.create(host_->table(), pack.data(), pack.size(), &instance, error);
  });
  const Callee& callee = *callee_;
  self_ = {instance, [&callee, lifetime](void* self) {
             const Call mark(callee, "destroy");
             lifetime.destroy(self);
           }};
}

void Instance::finish(const char* slot, const Place& place, attnlab_status status, const attnlab_error& error,
                      bool fpu_changed) const {
  if (host_->take_fpu_change() || fpu_changed)
    fail("it changed the floating-point mode of its thread", slot, place);
  if (status == ATTNLAB_OK) return;
  if (status == ATTNLAB_INVALID_PARAMETER) {
    // The method refuses the user's value: at creation, or once it knows the geometry.
    base::Mistake mistake = where_;
    mistake.pointer += error.pointer;
    throw base::UserError(descriptor_.id + ": " + error.message, mistake);
  }
  fail(error.message[0] != '\0' ? error.message : "no message", slot, place);
}

void Instance::fail(const std::string& rule, const char* slot, const Place& place) const {
  char text[1024];
  write_call(text, sizeof text, *callee_, slot, place, "failed");
  const base::UserError error(std::string(text) + ": " + rule, {.file = callee_->file},
                              base::Exit::plugin_broken);
  record_failure(callee_->pipeline, fmt::format("failed in {}: {}", slot, rule), error.what());
  throw error;
}

}  // namespace attnlab::plugin
