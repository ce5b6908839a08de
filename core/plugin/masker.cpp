#include "core/plugin/masker.hpp"

#include <fmt/core.h>

#include "core/plugin/crash.hpp"
#include "core/plugin/library.hpp"

namespace attnlab::plugin {
namespace {

constexpr int64_t max_page_size = 1 << 20;

const attnlab_method& find_method(const attnlab_library& library, const std::string& id) {
  for (uint64_t i = 0; i < library.method_count; ++i) {
    const attnlab_text& name = library.methods[i]->id;
    if (std::string_view(name.data, static_cast<size_t>(name.size)) == id) return *library.methods[i];
  }
  throw base::UserError("no longer holds the method \"" + id + "\"", {}, base::Exit::plugin_broken);
}

}  // namespace

Masker::Masker(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
               const std::string& pipeline, const std::string& stage, const base::Mistake& where)
    : descriptor_(entry.descriptor),
      where_(where),
      callee_(new Callee{base::escape_unprintable(entry.file), entry.descriptor.id, pipeline, stage}),
      host_(std::make_unique<HostContext>(stage)) {
  try {
    const Call mark(*callee_, "load");
    const attnlab_plugin_entry* linked = catalog.static_entry(entry.file);
    const attnlab_library& library =
        linked != nullptr ? library_of(*linked, entry.file) : load_library(entry.file, warnings_);
    table_ = find_method(library, descriptor_.method).masker;
  } catch (const base::UserError& error) {
    if (error.exit() == base::Exit::plugin_broken) record_failure(pipeline, error.summary(), error.what());
    throw;
  }
  if ((entry.note.flags & ATTNLAB_NOTE_FAST_MATH) != 0) {
    warnings_.push_back(
        entry.file +
        " was compiled with -ffast-math: its sums depend on its compiler, and it does not see NaN");
  }
  ATTNLAB_CHECK(table_ != nullptr, "the probe accepts only complete maskers");

  const ValuePack pack(descriptor_.parameters, values);
  void* instance = nullptr;
  call("create", {}, [&](attnlab_error* error) {
    return table_->create(host_->table(), pack.data(), pack.size(), &instance, error);
  });
  const Callee& callee = *callee_;
  self_ = {instance, [&callee, table = table_](void* self) {
             const Call mark(callee, "destroy");
             table->destroy(self);
           }};
}

template <class Body>
void Masker::call(const char* slot, const Place& place, const Body& body) const {
  attnlab_error error{};
  error.struct_size = sizeof error;
  FpuMode mode;
  attnlab_status status;
  {
    const Call mark(*callee_, slot, place);
    status = body(&error);
  }
  const bool changed = mode.restore();
  if (host_->take_fpu_change() || changed)
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

void Masker::fail(const std::string& rule, const char* slot, const Place& place) const {
  char text[1024];
  write_call(text, sizeof text, *callee_, slot, place, "failed");
  const base::UserError error(std::string(text) + ": " + rule, {.file = callee_->file},
                              base::Exit::plugin_broken);
  record_failure(callee_->pipeline, fmt::format("failed in {}: {}", slot, rule), error.what());
  throw error;
}

std::vector<ColumnSpec> Masker::columns(const attnlab_geometry& geometry) const {
  std::vector<ColumnSpec> specs;
  if (table_->columns == nullptr) return specs;
  attnlab_column_sink sink{};
  sink.struct_size = sizeof sink;
  sink.context = &specs;
  sink.declare = [](void* context, const attnlab_column_spec* spec, attnlab_error* error) -> attnlab_status {
    const bool token = spec->per == ATTNLAB_PER_TOKEN && spec->page_size == 1;
    const bool page =
        spec->per == ATTNLAB_PER_PAGE && spec->page_size >= 1 && spec->page_size <= max_page_size;
    const bool sequence = spec->per == ATTNLAB_PER_SEQUENCE && spec->page_size == 0;
    const bool known = spec->dtype >= ATTNLAB_F32 && spec->dtype <= ATTNLAB_U64;
    const bool zeros = spec->initial == ATTNLAB_ZEROS;
    const bool normal = spec->initial == ATTNLAB_NORMAL && sequence && spec->dtype == ATTNLAB_F32;
    if (!(token || page || sequence) || !(zeros || normal) || !known || spec->width < 1 ||
        spec->width > (1 << 24)) {
      std::snprintf(error->message, sizeof error->message, "a declared column has illegal extents");
      return ATTNLAB_CONTRACT;
    }
    static_cast<std::vector<ColumnSpec>*>(context)->push_back(
        {std::string(spec->name.data, static_cast<size_t>(spec->name.size)), spec->per, spec->dtype,
         spec->width, spec->page_size, normal});
    return ATTNLAB_OK;
  };
  call("columns", {},
       [&](attnlab_error* error) { return table_->columns(self_.get(), &geometry, &sink, error); });
  return specs;
}

void Masker::encode(const attnlab_key_block& block, const attnlab_columns& columns) const {
  call("encode", place_of(block),
       [&](attnlab_error* error) { return table_->encode(self_.get(), &block, &columns, error); });
}

void Masker::end_prompt(const attnlab_prompt& prompt, const attnlab_columns& columns, void* state) const {
  call("end_prompt", place_of(prompt.keys), [&](attnlab_error* error) {
    return table_->end_prompt(self_.get(), &prompt, &columns, state, error);
  });
}

void Masker::feedback(const attnlab_feedback& feedback, const attnlab_columns& columns, void* state) const {
  call(
      "feedback", {.layer = feedback.layer, .batch = feedback.batch, .kv_head = feedback.kv_head},
      [&](attnlab_error* error) { return table_->feedback(self_.get(), &feedback, &columns, state, error); });
}

void Masker::select(const attnlab_tile& tile, const attnlab_prior& prior,
                    const attnlab_row_writer& out) const {
  call("select", place_of(tile),
       [&](attnlab_error* error) { return table_->select(self_.get(), &tile, &prior, &out, error); });
}

void Masker::score(const attnlab_tile& tile, attnlab_scores& scores) const {
  call("score", place_of(tile),
       [&](attnlab_error* error) { return table_->score(self_.get(), &tile, &scores, error); });
}

int64_t Masker::page_size() const {
  int64_t size = 1;
  if (table_->page_size != nullptr) {
    call("page_size", {}, [&](attnlab_error*) {
      size = table_->page_size(self_.get());
      return ATTNLAB_OK;
    });
  }
  if (size >= 1 && size <= max_page_size) return size;
  fail(fmt::format("a page of {} keys", size), "page_size");
}

Masker::State Masker::own(void* state) const {
  return {state, [this](void* owned) {
            const Call mark(*callee_, "state.destroy");
            table_->state->destroy(self_.get(), owned);
          }};
}

Masker::State Masker::create_state(const attnlab_geometry& geometry, uint64_t rng_key) const {
  void* state = nullptr;
  call("state.create", {.layer = geometry.layer}, [&](attnlab_error* error) {
    return table_->state->create(self_.get(), &geometry, rng_key, &state, error);
  });
  return own(state);
}

void Masker::append_state(void* state, const attnlab_key_block& block, const attnlab_columns& columns) const {
  call("state.append", place_of(block), [&](attnlab_error* error) {
    return table_->state->append(self_.get(), state, &block, &columns, error);
  });
}

void Masker::truncate_state(void* state, int64_t key_count) const {
  call("state.truncate", {},
       [&](attnlab_error* error) { return table_->state->truncate(self_.get(), state, key_count, error); });
}

Masker::State Masker::fork_state(const void* state) const {
  void* copy = nullptr;
  call("state.fork", {},
       [&](attnlab_error* error) { return table_->state->fork(self_.get(), state, &copy, error); });
  return own(copy);
}

uint64_t Masker::state_bytes(const void* state) const {
  const Call mark(*callee_, "state.bytes");
  return table_->state->bytes(self_.get(), state);
}

}  // namespace attnlab::plugin
