#include "core/attention/tile.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <new>

#include "core/attention/row_list.hpp"
#include "core/base/error.hpp"
#include "core/base/stopwatch.hpp"
#include "core/mask/seen_keys.hpp"
#include "core/mask/visibility.hpp"

namespace attnlab::attention {
namespace {

constexpr float negative_infinity = -std::numeric_limits<float>::infinity();
}  // namespace

void* Arena::allocate(uint64_t bytes) {
  if (bytes > (uint64_t{1} << 48)) throw std::bad_alloc();
  bytes = (std::max<uint64_t>(bytes, 1) + 63) / 64 * 64;
  for (Block& block : blocks_) {
    if (block.size - block.used < bytes) continue;
    void* result = block.memory.get() + block.used;
    block.used += bytes;
    return result;
  }
  const uint64_t size = std::max<uint64_t>(bytes, uint64_t{1} << 16);
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, size));
  if (memory == nullptr) throw std::bad_alloc();
  blocks_.push_back({{memory, [](std::byte* p) { std::free(p); }}, size, bytes});
  return memory;
}

void Arena::clear() {
  for (Block& block : blocks_) block.used = 0;
}

uint64_t Arena::capacity() const {
  uint64_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.size;
  return bytes;
}

void Tile::load(const data::LayerProblem& problem, const data::Geometry& geometry,
                const AttentionOptions& options, const kernels::KernelTable& kernels,
                const TileIndex& index) {
  problem_ = &problem;
  kernels_ = &kernels;
  options_ = options;
  index_ = index;
  group_ = geometry.group();
  head_dim_ = geometry.head_dim;
  value_dim_ = geometry.value_dim;
  const int64_t head_in_part = index.kv_head - problem.kv_head_begin;
  key_ = problem.key.row(index.batch, head_in_part, 0);
  value_ = problem.value.row(index.batch, head_in_part, 0);
  key_stride_ = problem.key.token_stride;
  value_stride_ = problem.value.token_stride;
  logits_ready_ = false;
  logits_seconds_ = 0;
  scratch_.clear();

  query_.resize(at(rows() * head_dim_));
  for (int64_t row = 0; row < rows(); ++row) {
    const float* from = problem.query.row(index.batch, head_in_part * group_ + row % group_,
                                          query_of(row) - problem.query_begin);
    std::copy_n(from, head_dim_, query_.begin() + row * head_dim_);
  }
  sink_logit_.clear();
  for (int64_t row = 0; row < rows() && !problem.sink_logit.empty(); ++row) {
    sink_logit_.push_back(problem.sink_logit[at(head_of(row))]);
  }
  load_visibility(geometry);
}

void Tile::load_visibility(const data::Geometry& geometry) {
  const size_t count = at(rows());
  const int64_t valid = problem_->valid[at(index_.batch)];
  position_.resize(count);
  visible_end_.resize(count);
  visible_count_.resize(count);
  rng_stream_.resize(count);
  bias_.clear();
  hidden_.clear();
  shared_visibility_ = true;
  for (int64_t row = 0; row < rows(); ++row) {
    const int64_t position = query_of(row) + valid - geometry.queries;
    position_[at(row)] = position;
    const int64_t seen = mask::seen_keys(query_of(row), geometry.queries, valid, options_.causal);
    visible_end_[at(row)] = std::clamp<int64_t>(seen - problem_->key_begin, 0, problem_->key.tokens);
    visible_count_[at(row)] = visible_end_[at(row)];
    rng_stream_[at(row)] = (static_cast<uint64_t>(head_of(row)) << 40) |
                           static_cast<uint64_t>(position & ((int64_t{1} << 40) - 1));
  }
  if (!problem_->bias.empty()) {
    const auto& shape = problem_->bias.shape();
    const float* data = problem_->bias.values<float>().data();
    shared_visibility_ = shape[1] == 1;
    const size_t words = at((geometry.keys + 63) / 64);
    hidden_words_.assign(words * count, 0);
    bool any_hidden = false;
    for (int64_t row = 0; row < rows(); ++row) {
      const int64_t b = shape[0] == 1 ? 0 : index_.batch;
      const int64_t h = shape[1] == 1 ? 0 : head_of(row) - problem_->kv_head_begin * group_;
      const int64_t query = query_of(row) - problem_->query_begin;
      const float* bias = data + ((b * shape[1] + h) * shape[2] + query) * shape[3];
      bias_.push_back(bias);
      uint64_t* hidden = hidden_words_.data() + words * at(row);
      int64_t& end = visible_end_[at(row)];
      while (end > 0 && mask::hides(bias[end - 1])) --end;
      int64_t hidden_count = 0;
      for (int64_t key = 0; key < end; ++key) {
        if (!mask::hides(bias[key])) continue;
        hidden[key / 64] |= uint64_t{1} << (key % 64);
        ++hidden_count;
      }
      visible_count_[at(row)] = end - hidden_count;
      any_hidden = any_hidden || hidden_count > 0;
    }
    for (size_t row = 0; row < count && any_hidden; ++row)
      hidden_.push_back(hidden_words_.data() + words * row);
  }
  key_count_ = *std::max_element(visible_end_.begin(), visible_end_.end());
}

void Tile::visible_runs(int64_t row, std::vector<kernels::Range>& runs) const {
  runs.assign(1, {0, static_cast<int32_t>(visible_end(row))});
  clip_runs(runs, visible_end(row), hidden(row));
}

const float* Tile::logits() {
  if (logits_ready_) return logits_.data();
  const base::Stopwatch watch;
  logits_stride_ = (key_count_ + 15) / 16 * 16;
  // At least one element: a tile whose rows see nothing still has an address, and null means "no memory".
  const size_t size = at(std::max<int64_t>(1, rows() * logits_stride_));
  if (logits_.size() < size) logits_.resize(size);
  kernels::LogitsArguments arguments;
  arguments.query = query_.data();
  arguments.query_stride = head_dim_;
  arguments.rows = rows();
  arguments.head_dim = head_dim_;
  arguments.key = key_;
  arguments.key_stride = key_stride_;
  arguments.key_begin = 0;
  arguments.key_end = key_count_;
  arguments.scale = options_.scale;
  arguments.bias = bias();
  arguments.logits = logits_.data();
  arguments.logits_stride = logits_stride_;
  kernels_->logits(arguments);
  for (int64_t row = 0; row < rows(); ++row) {
    float* out = logits_.data() + row * logits_stride_;
    std::fill(out + visible_end(row), out + key_count_, negative_infinity);
    const uint64_t* bits = hidden(row);
    for (int64_t word = 0; bits != nullptr && word < (visible_end(row) + 63) / 64; ++word) {
      for (uint64_t left = bits[word]; left != 0; left &= left - 1) {
        out[word * 64 + std::countr_zero(left)] = negative_infinity;
      }
    }
  }
  logits_ready_ = true;
  logits_seconds_ = watch.seconds();
  return logits_.data();
}

void Tile::gather_logits(int64_t row, int64_t count, const int32_t* ids, float* out) const {
  kernels::GatherLogitsArguments arguments;
  arguments.query = query() + row * head_dim_;
  arguments.head_dim = head_dim_;
  arguments.key = key_;
  arguments.key_stride = key_stride_;
  arguments.ids = ids;
  arguments.count = count;
  arguments.scale = options_.scale;
  arguments.bias = bias() == nullptr ? nullptr : bias()[row];
  arguments.out = out;
  kernels_->gather_logits(arguments);
}

/// The keys that each query sees, once for all heads of the group: a query alone would read as much, whatever
/// tile it shares logits in.
void Tile::count_logits() {
  if (read_->logits.exchange(true)) return;
  uint64_t keys = 0;
  for (int64_t row = 0; row < rows(); row += group_) {
    keys += static_cast<uint64_t>(
        *std::max_element(visible_count_.begin() + row, visible_count_.begin() + row + group_));
  }
  read_->bytes += keys * static_cast<uint64_t>(head_dim_) * sizeof(float);
}

const attnlab_tile& Tile::view(uint64_t rng_key, const attnlab_columns* columns, void* state) {
  read_->bytes = 0;
  read_->logits = false;
  view_ = {};
  view_.struct_size = sizeof view_;
  view_.layer = problem_->layer;
  view_.batch = index_.batch;
  view_.kv_head = index_.kv_head;
  view_.group = group_;
  view_.row_count = rows();
  view_.key_count = key_count_;
  view_.head_dim = head_dim_;
  view_.value_dim = value_dim_;
  view_.scale = options_.scale;
  view_.shared_visibility = shared_visibility_ ? 1 : 0;
  view_.query = query_.data();
  view_.query_stride = head_dim_;
  view_.key = key_;
  view_.key_stride = key_stride_;
  view_.value = value_;
  view_.value_stride = value_stride_;
  view_.position = position_.data();
  view_.visible_end = visible_end_.data();
  view_.visible_count = visible_count_.data();
  view_.hidden = hidden_.empty() ? nullptr : hidden_.data();
  view_.bias = bias();
  view_.columns = columns;
  view_.state = state;
  view_.rng_key = rng_key;
  view_.rng_stream = rng_stream_.data();
  view_.context = this;
  // Nothing unwinds through the boundary: null says that there is no memory.
  view_.logits = [](void* context, int64_t* stride) -> const float* {
    auto* tile = static_cast<Tile*>(context);
    try {
      const float* data = tile->logits();
      *stride = tile->logits_stride();
      tile->count_logits();
      return data;
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  };
  view_.gather_logits = [](void* context, int64_t row, int64_t count, const int32_t* ids, float* out) {
    auto* tile = static_cast<Tile*>(context);
    tile->gather_logits(row, count, ids, out);
    tile->read_->bytes += static_cast<uint64_t>(count * tile->head_dim()) * sizeof(float);
  };
  view_.count_read = [](void* context, uint64_t bytes) {
    static_cast<Tile*>(context)->read_->bytes += bytes;
  };
  view_.scratch = [](void* context, uint64_t bytes) -> void* {
    try {
      return static_cast<Tile*>(context)->scratch_.allocate(bytes);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  };
  return view_;
}

uint64_t Tile::bytes() const {
  return scratch_.capacity() + (query_.capacity() + logits_.capacity()) * sizeof(float) +
         hidden_words_.capacity() * sizeof(uint64_t);
}

}  // namespace attnlab::attention
