#include "core/plugin/masker.hpp"

#include <fmt/core.h>

#include "core/plugin/library.hpp"

namespace attnlab::plugin {
namespace {

constexpr int64_t max_page_size = 1 << 20;

attnlab_error no_error() {
  attnlab_error error{};
  error.struct_size = sizeof error;
  return error;
}

const attnlab_method& find_method(const attnlab_library& library, const std::string& id) {
  for (uint64_t i = 0; i < library.method_count; ++i) {
    const attnlab_text& name = library.methods[i]->id;
    if (std::string_view(name.data, static_cast<size_t>(name.size)) == id) return *library.methods[i];
  }
  throw base::UserError("no longer holds the method \"" + id + "\"", {}, base::Exit::plugin_broken);
}

}  // namespace

Masker::Masker(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
               std::string stage, const base::Mistake& where)
    : descriptor_(entry.descriptor),
      file_(entry.file),
      stage_(std::move(stage)),
      where_(where),
      host_(std::make_unique<HostContext>(stage_)) {
  const attnlab_plugin_entry* linked = catalog.static_entry(entry.file);
  const attnlab_library& library =
      linked != nullptr ? library_of(*linked, file_) : load_library(file_, warnings_);
  table_ = find_method(library, descriptor_.id).masker;
  ATTNLAB_CHECK(table_ != nullptr, "the probe accepts only complete maskers");

  ValuePack pack(descriptor_.parameters, values);
  attnlab_error error = no_error();
  void* instance = nullptr;
  const CallMark mark(call("create"));
  attnlab_status status = table_->create(host_->table(), pack.data(), pack.size(), &instance, &error);
  check(status, error, "create");
  self_ = {instance, table_->destroy};
}

void Masker::check(attnlab_status status, const attnlab_error& error, const std::string& slot) const {
  if (status == ATTNLAB_OK) return;
  if (status == ATTNLAB_INVALID_PARAMETER) {
    // The method refuses the user's value: at creation, or once it knows the geometry.
    base::Mistake mistake = where_;
    mistake.pointer += error.pointer;
    throw base::UserError(descriptor_.id + ": " + error.message, mistake);
  }
  fail(error.message[0] != '\0' ? error.message : "no message", slot);
}

void Masker::fail(const std::string& rule, const std::string& slot) const {
  throw base::UserError(
      fmt::format("plugin {} failed in {} (stage \"{}\"): {}", descriptor_.id, slot, stage_, rule),
      {.file = file_}, base::Exit::plugin_broken);
}

PluginCall Masker::call(const char* slot, const attnlab_tile* tile) const {
  return {file_.c_str(), descriptor_.id.c_str(), stage_.c_str(), slot, tile};
}

std::string Masker::place(const attnlab_tile& tile) const {
  int64_t last = tile.row_count - 1;
  return fmt::format("layer {}, batch {}, KV head {}, positions {} to {}", tile.layer, tile.batch,
                     tile.kv_head, tile.position[0], tile.position[last]);
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
    if (!(token || page || sequence) || !known || spec->width < 1 || spec->width > (1 << 24)) {
      std::snprintf(error->message, sizeof error->message, "a declared column has illegal extents");
      return ATTNLAB_CONTRACT;
    }
    static_cast<std::vector<ColumnSpec>*>(context)->push_back(
        {std::string(spec->name.data, static_cast<size_t>(spec->name.size)), spec->per, spec->dtype,
         spec->width, spec->page_size});
    return ATTNLAB_OK;
  };
  attnlab_error error = no_error();
  const CallMark mark(call("columns"));
  check(table_->columns(self_.get(), &geometry, &sink, &error), error, "columns");
  return specs;
}

void Masker::encode(const attnlab_key_block& block, const attnlab_columns& columns) const {
  attnlab_error error = no_error();
  const CallMark mark(call("encode"));
  check(table_->encode(self_.get(), &block, &columns, &error), error,
        fmt::format("encode (layer {}, KV head {}, keys {} to {})", block.layer, block.kv_head, block.begin,
                    block.end));
}

void Masker::end_prompt(const attnlab_prompt& prompt, const attnlab_columns& columns, void* state) const {
  attnlab_error error = no_error();
  const CallMark mark(call("end_prompt"));
  check(table_->end_prompt(self_.get(), &prompt, &columns, state, &error), error, "end_prompt");
}

void Masker::feedback(const attnlab_feedback& feedback, const attnlab_columns& columns, void* state) const {
  attnlab_error error = no_error();
  const CallMark mark(call("feedback"));
  check(table_->feedback(self_.get(), &feedback, &columns, state, &error), error, "feedback");
}

void Masker::select(const attnlab_tile& tile, const attnlab_prior& prior,
                    const attnlab_row_writer& out) const {
  attnlab_error error = no_error();
  const CallMark mark(call("select", &tile));
  attnlab_status status = table_->select(self_.get(), &tile, &prior, &out, &error);
  if (status != ATTNLAB_OK) check(status, error, "select (" + place(tile) + ")");
}

void Masker::score(const attnlab_tile& tile, attnlab_scores& scores) const {
  attnlab_error error = no_error();
  const CallMark mark(call("score", &tile));
  attnlab_status status = table_->score(self_.get(), &tile, &scores, &error);
  if (status != ATTNLAB_OK) check(status, error, "score (" + place(tile) + ")");
}

int64_t Masker::page_size() const {
  const int64_t size = table_->page_size == nullptr ? 1 : table_->page_size(self_.get());
  if (size >= 1 && size <= max_page_size) return size;
  fail(fmt::format("a page of {} keys", size), "page_size");
}

}  // namespace attnlab::plugin
