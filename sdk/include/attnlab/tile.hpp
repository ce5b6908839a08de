// What a method sees of the problem: tiles of query rows, key blocks, columns, prompts.
#pragma once

#include <attnlab/abi.h>
#include <attnlab/philox.hpp>

#include <atomic>
#include <bit>
#include <cstdint>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include <attnlab/params.hpp>

namespace attnlab {

/// Keys [begin, end).
using Range = attnlab_range;
/// Extents of the problem: layer, batch, query_heads, kv_heads, group, head_dim, value_dim.
using Geometry = attnlab_geometry;

/// A read-only matrix, rows `stride` elements apart. Does not own.
template <class T>
class Matrix {
 public:
  Matrix(const T* data, int64_t rows, int64_t columns, int64_t stride)
      : data_(data), rows_(rows), columns_(columns), stride_(stride) {}
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t stride() const { return stride_; }
  const T* data() const { return data_; }
  std::span<const T> row(int64_t r) const { return {data_ + r * stride_, static_cast<size_t>(columns_)}; }

 private:
  const T* data_;
  int64_t rows_, columns_, stride_;
};

/// Where rows of scores are written: element (r, j) at data + r * stride + j. Does not own.
struct Output {
  float* data;
  int64_t stride;

  /// From row r and element j on.
  Output from(int64_t r, int64_t j) const { return {data + r * stride + j, stride}; }
};

namespace detail {

/// Bytes that a method read. Loads and stores of their own: counting costs one addition, and threads that
/// share a tile may lose counts but not race.
class ReadCount {
 public:
  void add(size_t bytes) {
    bytes_.store(bytes_.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
  }
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace detail

/// The records of one column: `width` elements for each token, page or sequence. Reading those of a tile
/// counts as search cost.
template <class T>
class Column {
 public:
  Column(T* data, int64_t count, int64_t width, detail::ReadCount* read = nullptr)
      : data_(data), count_(count), width_(width), read_(read) {}
  int64_t size() const { return count_; }
  int64_t width() const { return width_; }
  std::span<T> operator[](int64_t record) const { return records(record, record + 1); }
  /// Records [begin, end), one after another.
  std::span<T> records(int64_t begin, int64_t end) const {
    const auto elements = static_cast<size_t>((end - begin) * width_);
    if (read_ != nullptr) read_->add(elements * sizeof(T));
    return {data_ + begin * width_, elements};
  }
  /// Records [begin, end), one in each row.
  Matrix<std::remove_const_t<T>> matrix(int64_t begin, int64_t end) const {
    return {records(begin, end).data(), end - begin, width_, width_};
  }

 private:
  T* data_;
  int64_t count_, width_;
  detail::ReadCount* read_;
};

namespace detail {

template <class T>
struct ElementCode;
template <>
struct ElementCode<float> : std::integral_constant<int32_t, ATTNLAB_F32> {};
template <>
struct ElementCode<double> : std::integral_constant<int32_t, ATTNLAB_F64> {};
template <>
struct ElementCode<int32_t> : std::integral_constant<int32_t, ATTNLAB_I32> {};
template <>
struct ElementCode<int64_t> : std::integral_constant<int32_t, ATTNLAB_I64> {};
template <>
struct ElementCode<uint8_t> : std::integral_constant<int32_t, ATTNLAB_U8> {};
template <>
struct ElementCode<uint64_t> : std::integral_constant<int32_t, ATTNLAB_U64> {};

template <class T>
Column<T> find_column(const attnlab_columns* columns, std::string_view name, ReadCount* read = nullptr) {
  for (uint64_t i = 0; columns != nullptr && i < columns->count; ++i) {
    const attnlab_column& column = columns->columns[i];
    if (from_abi(column.name) == name)
      return {static_cast<T*>(column.data), column.record_count, column.width, read};
  }
  throw std::logic_error("no column named \"" + std::string(name) + "\" was declared");
}

}  // namespace detail

/// Declares what the host keeps for each key: filled by `encode`, grown, truncated and forked by the host.
class Columns {
 public:
  explicit Columns(const attnlab_column_sink* sink) : sink_(sink) {}

  template <class T>
  void per_token(std::string_view name, int64_t width) {
    declare(name, ATTNLAB_PER_TOKEN, detail::ElementCode<T>::value, width, 1);
  }
  template <class T>
  void per_page(std::string_view name, int64_t page_size, int64_t width) {
    declare(name, ATTNLAB_PER_PAGE, detail::ElementCode<T>::value, width, page_size);
  }
  template <class T>
  void per_sequence(std::string_view name, int64_t width) {
    declare(name, ATTNLAB_PER_SEQUENCE, detail::ElementCode<T>::value, width, 0);
  }
  /// Per-sequence float32 record of independent N(0, 1) draws, one set for each layer and KV head, that
  /// depends on the seeds alone: random projections that `encode` and `score` share.
  void per_sequence_normal(std::string_view name, int64_t width) {
    declare(name, ATTNLAB_PER_SEQUENCE, ATTNLAB_F32, width, 0, ATTNLAB_NORMAL);
  }

 private:
  void declare(std::string_view name, int32_t per, int32_t dtype, int64_t width, int64_t page_size,
               int32_t initial = ATTNLAB_ZEROS);
  const attnlab_column_sink* sink_;
};

/// Columns with their data.
class ColumnsView {
 public:
  explicit ColumnsView(const attnlab_columns* columns, void* state = nullptr)
      : columns_(columns), state_(state) {}
  template <class T>
  Column<T> column(std::string_view name) const {
    return detail::find_column<T>(columns_, name);
  }
  /// The method's opaque state, in `end_prompt` and `feedback`.
  template <class State>
  State& state() const {
    return *static_cast<State*>(state_);
  }

 private:
  const attnlab_columns* columns_;
  void* state_;
};

/// New keys and values of one KV head. Indices are positions in the sequence, from begin() to end().
class KeyBlock {
 public:
  explicit KeyBlock(const attnlab_key_block& block) : block_(block) {}
  int64_t layer() const { return block_.layer; }
  int64_t kv_head() const { return block_.kv_head; }
  int64_t begin() const { return block_.begin; }
  int64_t end() const { return block_.end; }
  std::span<const float> key(int64_t j) const {
    return {block_.key + j * block_.key_stride, static_cast<size_t>(block_.head_dim)};
  }
  std::span<const float> value(int64_t j) const {
    return {block_.value + j * block_.value_stride, static_cast<size_t>(block_.value_dim)};
  }

 private:
  const attnlab_key_block& block_;
};

/// The complete prompt: all its keys and its last queries.
class Prompt {
 public:
  explicit Prompt(const attnlab_prompt* prompt) : prompt_(prompt), keys_(prompt->keys) {}
  const KeyBlock& keys() const { return keys_; }
  int64_t group() const { return prompt_->group; }
  float scale() const { return prompt_->scale; }
  /// [last queries * group, head_dim], query-major.
  Matrix<float> queries() const {
    return {prompt_->query, prompt_->query_count * prompt_->group, prompt_->keys.head_dim,
            prompt_->query_stride};
  }
  Philox random() const { return Philox(prompt_->rng_key, 0); }

 private:
  const attnlab_prompt* prompt_;
  KeyBlock keys_;
};

/// Attention mass that each key received in the last step.
class Feedback {
 public:
  explicit Feedback(const attnlab_feedback* feedback) : feedback_(feedback) {}
  std::span<const float> mass() const { return {feedback_->mass, static_cast<size_t>(feedback_->key_count)}; }
  int64_t rows() const { return feedback_->row_count; }

 private:
  const attnlab_feedback* feedback_;
};

/// Rows [row, row + rows) that see the same keys: the query heads of one query, or a single row when a bias
/// hides different keys from different heads.
struct Query {
  int64_t row = 0;
  int64_t rows = 1;
};

/// A sequence of equally long Query spans, for range-based loops.
class Queries {
 public:
  Queries(int64_t rows, int64_t step) : rows_(rows), step_(step) {}
  struct Iterator {
    int64_t row, step;
    Query operator*() const { return {row, step}; }
    Iterator& operator++() {
      row += step;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return row < other.row; }
  };
  Iterator begin() const { return {0, step_}; }
  Iterator end() const { return {rows_, step_}; }

 private:
  int64_t rows_, step_;
};

/// A block of query rows of one KV head: row = query * group + head in group.
class Tile {
 public:
  explicit Tile(const attnlab_tile* tile) : tile_(tile) {}
  Tile(const Tile&) = delete;
  Tile& operator=(const Tile&) = delete;
  ~Tile() { tile_->count_read(tile_->context, read_.bytes()); }

  int64_t layer() const { return tile_->layer; }
  int64_t kv_head() const { return tile_->kv_head; }
  int64_t group() const { return tile_->group; }
  int64_t row_count() const { return tile_->row_count; }
  int64_t key_count() const { return tile_->key_count; }
  int64_t head_dim() const { return tile_->head_dim; }
  float scale() const { return tile_->scale; }

  /// Spans of rows with the same visible keys; write a fixed pattern once for each.
  Queries queries() const { return {tile_->row_count, tile_->shared_visibility != 0 ? tile_->group : 1}; }
  /// Every row by itself.
  Queries rows() const { return {tile_->row_count, 1}; }

  /// Visible keys of the rows.
  int64_t visible(Query query) const { return tile_->visible_count[query.row]; }
  /// Position of the query in its sequence; later keys are not visible.
  int64_t position(Query query) const { return tile_->position[query.row]; }
  /// No key at or after this index is visible.
  int64_t visible_end(Query query) const { return tile_->visible_end[query.row]; }
  bool is_visible(Query query, int64_t key) const {
    if (key < 0 || key >= visible_end(query)) return false;
    const uint64_t* hidden = hidden_keys(query);
    return hidden == nullptr || ((hidden[key / 64] >> (key % 64)) & 1) == 0;
  }
  /// Every key of the range is visible.
  bool all_visible(Query query, Range range) const {
    if (range.begin < 0 || range.end > visible_end(query)) return false;
    if (hidden_keys(query) == nullptr) return true;
    for (int64_t key = range.begin; key < range.end; ++key) {
      if (!is_visible(query, key)) return false;
    }
    return true;
  }
  /// The shortest range from the first visible key that holds `count` visible keys (all, when there are
  /// fewer).
  Range first(Query query, int64_t count) const;
  /// The shortest range up to the last visible key that holds `count` visible keys.
  Range last(Query query, int64_t count) const;

  std::span<const float> query(int64_t row) const {
    return {tile_->query + row * tile_->query_stride, static_cast<size_t>(tile_->head_dim)};
  }
  /// [row_count, head_dim], all of them.
  Matrix<float> query_rows() const {
    return {tile_->query, tile_->row_count, tile_->head_dim, tile_->query_stride};
  }
  /// [query.rows, head_dim].
  Matrix<float> query_rows(Query query) const {
    return {tile_->query + query.row * tile_->query_stride, query.rows, tile_->head_dim, tile_->query_stride};
  }
  /// Reading keys, values, exact logits and columns counts as search cost.
  std::span<const float> key(int64_t j) const {
    read_.add(static_cast<size_t>(tile_->head_dim) * sizeof(float));
    return {tile_->key + j * tile_->key_stride, static_cast<size_t>(tile_->head_dim)};
  }
  std::span<const float> value(int64_t j) const {
    read_.add(static_cast<size_t>(tile_->value_dim) * sizeof(float));
    return {tile_->value + j * tile_->value_stride, static_cast<size_t>(tile_->value_dim)};
  }

  /// Exact logits of all rows and keys, -inf where not visible. Computed once per tile, for all who ask.
  Matrix<float> logits() const {
    int64_t stride = 0;
    const float* data = tile_->logits(tile_->context, &stride);
    if (data == nullptr) throw std::bad_alloc();
    return {data, tile_->row_count, tile_->key_count, stride};
  }
  /// Exact logits of some keys of one row.
  void logits(int64_t row, std::span<const int32_t> ids, std::span<float> out) const {
    tile_->gather_logits(tile_->context, row, static_cast<int64_t>(ids.size()), ids.data(), out.data());
  }

  /// Random numbers of one row: they depend on seed, stage, layer, batch, query head and position alone.
  Philox random(int64_t row) const { return Philox(tile_->rng_key, tile_->rng_stream[row]); }
  /// Memory for this call, 64-byte aligned and uninitialised.
  template <class T>
  std::span<T> scratch(int64_t count) const {
    void* memory = tile_->scratch(tile_->context, static_cast<uint64_t>(count) * sizeof(T));
    if (memory == nullptr) throw std::bad_alloc();
    return {static_cast<T*>(memory), static_cast<size_t>(count)};
  }
  /// Columns that this method declared.
  template <class T>
  Column<const T> column(std::string_view name) const {
    return detail::find_column<const T>(tile_->columns, name, &read_);
  }
  /// The same without counting, where one reading serves several queries: count_read says what each needs.
  template <class T>
  Column<const T> uncounted_column(std::string_view name) const {
    return detail::find_column<const T>(tile_->columns, name);
  }
  /// The method's opaque state.
  template <class State>
  const State& state() const {
    return *static_cast<const State*>(tile_->state);
  }
  /// Search cost of opaque state and of memory reached through table().
  void count_read(int64_t bytes) const { read_.add(static_cast<size_t>(bytes)); }
  const attnlab_tile* table() const { return tile_; }

 private:
  const uint64_t* hidden_keys(Query query) const {
    return tile_->hidden == nullptr ? nullptr : tile_->hidden[query.row];
  }

  const attnlab_tile* tile_;
  mutable detail::ReadCount read_;
};

inline Range Tile::first(Query query, int64_t count) const {
  auto end = static_cast<int32_t>(visible_end(query));
  if (count >= visible(query)) return {0, end};
  if (hidden_keys(query) == nullptr) return {0, static_cast<int32_t>(count)};
  int32_t key = 0;
  while (key < end && count > 0) count -= is_visible(query, key++) ? 1 : 0;
  return {0, key};
}

inline Range Tile::last(Query query, int64_t count) const {
  auto end = static_cast<int32_t>(visible_end(query));
  if (count >= visible(query)) return {0, end};
  if (hidden_keys(query) == nullptr) return {static_cast<int32_t>(end - count), end};
  int32_t key = end;
  while (key > 0 && count > 0) count -= is_visible(query, --key) ? 1 : 0;
  return {key, end};
}

}  // namespace attnlab
