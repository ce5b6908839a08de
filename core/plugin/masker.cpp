#include "core/plugin/masker.hpp"

#include <fmt/core.h>

namespace attnlab::plugin {
namespace {

constexpr int64_t max_page_size = 1 << 20;

}  // namespace

Masker::Masker(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
               const std::string& pipeline, const std::string& stage, const base::Mistake& where)
    : instance_(catalog, entry, values, {pipeline, stage, where}), table_(instance_.method().masker) {
  ATTNLAB_CHECK(table_ != nullptr, "the probe accepts only complete maskers");
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
  instance_.call("columns", {}, [&](attnlab_error* error) {
    return table_->columns(instance_.self(), &geometry, &sink, error);
  });
  return specs;
}

void Masker::encode(const attnlab_key_block& block, const attnlab_columns& columns) const {
  instance_.call("encode", place_of(block), [&](attnlab_error* error) {
    return table_->encode(instance_.self(), &block, &columns, error);
  });
}

void Masker::end_prompt(const attnlab_prompt& prompt, const attnlab_columns& columns, void* state) const {
  instance_.call("end_prompt", place_of(prompt.keys), [&](attnlab_error* error) {
    return table_->end_prompt(instance_.self(), &prompt, &columns, state, error);
  });
}

void Masker::feedback(const attnlab_feedback& feedback, const attnlab_columns& columns, void* state) const {
  instance_.call("feedback", {.layer = feedback.layer, .batch = feedback.batch, .kv_head = feedback.kv_head},
                 [&](attnlab_error* error) {
                   return table_->feedback(instance_.self(), &feedback, &columns, state, error);
                 });
}

void Masker::select(const attnlab_tile& tile, const attnlab_prior& prior,
                    const attnlab_row_writer& out) const {
  instance_.call("select", place_of(tile), [&](attnlab_error* error) {
    return table_->select(instance_.self(), &tile, &prior, &out, error);
  });
}

void Masker::score(const attnlab_tile& tile, attnlab_scores& scores) const {
  instance_.call("score", place_of(tile), [&](attnlab_error* error) {
    return table_->score(instance_.self(), &tile, &scores, error);
  });
}

int64_t Masker::page_size() const {
  int64_t size = 1;
  if (table_->page_size != nullptr) {
    instance_.call("page_size", {}, [&](attnlab_error*) {
      size = table_->page_size(instance_.self());
      return ATTNLAB_OK;
    });
  }
  if (size >= 1 && size <= max_page_size) return size;
  instance_.fail(fmt::format("a page of {} keys", size), "page_size");
}

Masker::State Masker::own(void* state) const {
  return {state, [this](void* owned) {
            const Call mark(instance_.callee(), "state.destroy");
            table_->state->destroy(instance_.self(), owned);
          }};
}

Masker::State Masker::create_state(const attnlab_geometry& geometry, uint64_t rng_key) const {
  void* state = nullptr;
  instance_.call("state.create", {.layer = geometry.layer}, [&](attnlab_error* error) {
    return table_->state->create(instance_.self(), &geometry, rng_key, &state, error);
  });
  return own(state);
}

void Masker::append_state(void* state, const attnlab_key_block& block, const attnlab_columns& columns) const {
  instance_.call("state.append", place_of(block), [&](attnlab_error* error) {
    return table_->state->append(instance_.self(), state, &block, &columns, error);
  });
}

void Masker::truncate_state(void* state, int64_t key_count) const {
  instance_.call("state.truncate", {}, [&](attnlab_error* error) {
    return table_->state->truncate(instance_.self(), state, key_count, error);
  });
}

Masker::State Masker::fork_state(const void* state) const {
  void* copy = nullptr;
  instance_.call("state.fork", {}, [&](attnlab_error* error) {
    return table_->state->fork(instance_.self(), state, &copy, error);
  });
  return own(copy);
}

uint64_t Masker::state_bytes(const void* state) const {
  const Call mark(instance_.callee(), "state.bytes");
  return table_->state->bytes(instance_.self(), state);
}

}  // namespace attnlab::plugin
