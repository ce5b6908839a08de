// Author API of maskers: methods that emit the keys a row attends to.
//
// A masker is a struct with parameters as members and
//   static void describe(attnlab::Description<T>&);
//   void select(const Tile&, [const Prior&,] RowWriter&) const;
// and, when it needs them,
//   void prepare();
//     checks parameters together, precomputes
//   void columns(Columns&, const Geometry&) const;
//     declares what the host keeps for each key
//   void encode(const KeyBlock&, ColumnsView&) const;
//     fills it, from keys, values and sequence records alone
//   void end_prompt(const Prompt&, ColumnsView&) const;
//     the only step that sees the whole prompt; writes sequence records, and may call encode(prompt.keys())
//   void feedback(const Feedback&, ColumnsView&) const;
//     attention mass of the last step; writes token records that encode leaves alone
//   using State = ...;
//     opaque state, see detail::StateTable
//
// Instances are immutable after prepare(): every method is const and runs on several threads at once.
#pragma once

#include <attnlab/plugin.hpp>
#include <attnlab/tile.hpp>

namespace attnlab {

namespace detail {

inline void writer_check(attnlab_status status, const char* what) {
  if (status != ATTNLAB_OK) throw HostError(status, what);
}

}  // namespace detail

inline void Columns::declare(std::string_view name, int32_t per, int32_t dtype, int64_t width,
                             int64_t page_size, int32_t initial) {
  attnlab_column_spec spec{to_abi(name), per, dtype, width, page_size, initial, 0};
  detail::checked([&](attnlab_error* error) { return sink_->declare(sink_->context, &spec, error); });
}

/// Where a masker writes. What several calls write for a row is united. Bounds, order and finiteness are
/// checked by the host, and keys that a row may not see are dropped.
class RowWriter {
 public:
  explicit RowWriter(const attnlab_row_writer* table) : table_(table) {}

  void range(Query query, Range range) { ranges(query, {&range, 1}); }
  void range(Query query, int64_t begin, int64_t end) {
    range(query, {static_cast<int32_t>(begin), static_cast<int32_t>(end)});
  }
  void ranges(Query query, std::span<const Range> ranges) {
    detail::writer_check(table_->ranges(table_->context, query.row, query.rows,
                                        static_cast<int64_t>(ranges.size()), ranges.data()),
                         "the host refused these ranges");
  }
  /// Ascending ids.
  void ids(Query query, std::span<const int32_t> ids) {
    auto slots = reserve(query, static_cast<int64_t>(ids.size()));
    std::copy(ids.begin(), ids.end(), slots.begin());
    commit(static_cast<int64_t>(ids.size()));
  }
  /// Space for `count` ids, in place: fill the first n, then commit(n).
  std::span<int32_t> reserve(Query query, int64_t count) { return reserve(query, count, false).ids; }

  struct Weighted {
    std::span<int32_t> ids;
    std::span<float> log_weight;  ///< -log p of each id, p its inclusion probability
  };
  Weighted reserve_weighted(Query query, int64_t count) { return reserve(query, count, true); }

  void commit(int64_t count) { commit(count, 0); }
  void commit_unsorted(int64_t count) { commit(count, ATTNLAB_UNSORTED); }

  void pages(Query query, int64_t page_size, std::span<const int32_t> pages) {
    detail::writer_check(table_->pages(table_->context, query.row, query.rows, page_size,
                                       static_cast<int64_t>(pages.size()), pages.data()),
                         "the host refused these pages");
  }
  /// Every visible key.
  void full(Query query) {
    detail::writer_check(table_->full(table_->context, query.row, query.rows), "the host refused full rows");
  }
  /// Inclusion probabilities by key, zero at first, to be filled before the next call.
  std::span<float> dense(Query query, int64_t key_count) {
    float* probability = nullptr;
    detail::writer_check(table_->dense(table_->context, query.row, query.rows, &probability),
                         "the host refused dense rows");
    return {probability, static_cast<size_t>(key_count)};
  }

 private:
  Weighted reserve(Query query, int64_t count, bool weighted) {
    int32_t* ids = nullptr;
    float* log_weight = nullptr;
    detail::writer_check(table_->reserve(table_->context, query.row, query.rows, count, weighted ? 1 : 0,
                                         &ids, weighted ? &log_weight : nullptr),
                         "the host refused to reserve ids");
    return {{ids, static_cast<size_t>(count)}, {log_weight, weighted ? static_cast<size_t>(count) : 0}};
  }
  void commit(int64_t count, int32_t flags) {
    detail::writer_check(table_->commit(table_->context, count, flags), "the host refused these ids");
  }

  const attnlab_row_writer* table_;
};

/// What earlier stages selected for a row.
struct RowPrior {
  bool nothing;
  std::span<const Range> runs;   ///< deterministic
  std::span<const int32_t> ids;  ///< deterministic, not in the runs
  std::span<const int32_t> sampled;
  std::span<const float> log_weight;  ///< -log p of each sampled key

  /// Deterministic keys.
  int64_t count() const {
    auto keys = static_cast<int64_t>(ids.size());
    for (Range run : runs) keys += run.end - run.begin;
    return keys;
  }
  /// Writes the deterministic keys to `out`, runs before ids, and returns the part that was written.
  std::span<int32_t> keys(std::span<int32_t> out) const {
    size_t n = 0;
    for (Range run : runs) {
      for (int32_t key = run.begin; key < run.end; ++key) out[n++] = key;
    }
    for (int32_t key : ids) out[n++] = key;
    return out.first(n);
  }
};

/// Keys a row may still choose: visible, not deterministically active, inside the retained set.
struct Candidates {
  std::span<const Range> runs;  ///< ascending, disjoint
  int64_t count = 0;            ///< keys in them
};

class Prior {
 public:
  explicit Prior(const attnlab_prior* table) : table_(table) {}
  RowPrior row(int64_t row) const {
    attnlab_row_prior p{};
    p.struct_size = sizeof p;
    table_->row(table_->context, row, &p);
    auto size = [](int64_t n) { return static_cast<size_t>(n); };
    return {p.nothing != 0,
            {p.runs, size(p.run_count)},
            {p.ids, size(p.id_count)},
            {p.sampled_ids, size(p.sampled_count)},
            {p.sampled_log_weight, size(p.sampled_count)}};
  }
  /// Valid until the next call.
  Candidates candidates(int64_t row) const {
    const attnlab_range* runs = nullptr;
    int64_t run_count = 0;
    int64_t count = table_->candidates(table_->context, row, &runs, &run_count);
    return {{runs, static_cast<size_t>(run_count)}, count};
  }

 private:
  const attnlab_prior* table_;
};

namespace detail {

/// Thunks of opaque state: State needs append(const T&, const KeyBlock&, const ColumnsView&),
/// truncate(int64_t), a copy constructor, bytes(), and a constructor State(const T&, const Geometry&,
/// Philox).
template <class T>
const attnlab_state_table* state_table() {
  using State = typename T::State;
  static const attnlab_state_table table = {
      sizeof(attnlab_state_table),
      0,
      [](const void* self, const attnlab_geometry* geometry, uint64_t rng_key, void** state,
         attnlab_error* error) noexcept {
        return guard(
            error, [&] { *state = new State(*static_cast<const T*>(self), *geometry, Philox(rng_key, 0)); });
      },
      [](const void* self, void* state, const attnlab_key_block* block, const attnlab_columns* columns,
         attnlab_error* error) noexcept {
        return guard(error, [&] {
          static_cast<State*>(state)->append(*static_cast<const T*>(self), KeyBlock(*block),
                                             ColumnsView(columns));
        });
      },
      [](const void*, void* state, int64_t key_count, attnlab_error* error) noexcept {
        return guard(error, [&] { static_cast<State*>(state)->truncate(key_count); });
      },
      [](const void*, const void* state, void** copy, attnlab_error* error) noexcept {
        return guard(error, [&] { *copy = new State(*static_cast<const State*>(state)); });
      },
      [](const void*, const void* state) noexcept -> uint64_t {
        return static_cast<const State*>(state)->bytes();
      },
      [](const void*, void* state) noexcept { delete static_cast<State*>(state); }};
  return &table;
}

template <class T>
void fill_lifecycle(attnlab_masker_table& table) {
  table.struct_size = sizeof table;
  table.create = &create<T>;
  table.destroy = &destroy<T>;
  if constexpr (ATTNLAB_HAS_METHOD(T, columns, std::declval<Columns&>(), std::declval<const Geometry&>())) {
    table.columns = [](const void* self, const attnlab_geometry* geometry, const attnlab_column_sink* sink,
                       attnlab_error* error) noexcept {
      return guard(error, [&] {
        Columns columns(sink);
        static_cast<const T*>(self)->columns(columns, *geometry);
      });
    };
    // Columns that feedback alone fills have nothing to encode.
    table.encode = [](const void*, const attnlab_key_block*, const attnlab_columns*,
                      attnlab_error*) noexcept { return attnlab_status{ATTNLAB_OK}; };
  }
  if constexpr (ATTNLAB_HAS_METHOD(T, encode, std::declval<const KeyBlock&>(),
                                   std::declval<ColumnsView&>())) {
    static_assert(
        requires { &T::columns; },
        "encode fills columns: declare them with columns(Columns&, const Geometry&)");
    table.encode = [](const void* self, const attnlab_key_block* block, const attnlab_columns* columns,
                      attnlab_error* error) noexcept {
      return guard(error, [&] {
        ColumnsView view(columns);
        static_cast<const T*>(self)->encode(KeyBlock(*block), view);
      });
    };
  }
  if constexpr (ATTNLAB_HAS_METHOD(T, end_prompt, std::declval<const Prompt&>(),
                                   std::declval<ColumnsView&>())) {
    table.end_prompt = [](const void* self, const attnlab_prompt* prompt, const attnlab_columns* columns,
                          void* state, attnlab_error* error) noexcept {
      return guard(error, [&] {
        ColumnsView view(columns, state);
        static_cast<const T*>(self)->end_prompt(Prompt(prompt), view);
      });
    };
  }
  if constexpr (ATTNLAB_HAS_METHOD(T, feedback, std::declval<const Feedback&>(),
                                   std::declval<ColumnsView&>())) {
    table.feedback = [](const void* self, const attnlab_feedback* feedback, const attnlab_columns* columns,
                        void* state, attnlab_error* error) noexcept {
      return guard(error, [&] {
        ColumnsView view(columns, state);
        static_cast<const T*>(self)->feedback(Feedback(feedback), view);
      });
    };
  }
  if constexpr (requires { typename T::State; }) table.state = state_table<T>();
}

}  // namespace detail

/// Base of maskers. See the top of this file for the methods to write.
class Masker {
 public:
  static constexpr int32_t facet = ATTNLAB_MASKER;
  void attach(Host host) { host_ = host; }
  const Host& host() const { return host_; }

  template <class T>
  static void fill_table(attnlab_method& method, const T*) {
    static attnlab_masker_table table{};
    detail::fill_lifecycle<T>(table);
    table.select = [](const void* self, const attnlab_tile* tile, const attnlab_prior* prior,
                      const attnlab_row_writer* out, attnlab_error* error) noexcept {
      return detail::guard(error, [&] {
        const T& masker = *static_cast<const T*>(self);
        RowWriter writer(out);
        if constexpr (requires(const Tile& t, const Prior& p) { masker.select(t, p, writer); }) {
          masker.select(Tile(tile), Prior(prior), writer);
        } else {
          masker.select(Tile(tile), writer);
        }
      });
    };
    method.masker = &table;
  }

 private:
  Host host_;
};

}  // namespace attnlab
