// Author API of scorers: methods that rank keys. The host selects from the scores (top-k, top-p, threshold
// ...).
//
// A scorer is a struct with parameters as members and
//   static void describe(attnlab::Description<T>&);
//   void score(const Tile&, Scores&) const;
// and, when it scores pages of keys, `int64_t score_page_size() const`. The optional methods are those of
// masker.hpp.
#pragma once

#include <attnlab/masker.hpp>

namespace attnlab {

/// One score per unit (key or page) of each row; larger is better, -inf excludes.
class Scores {
 public:
  explicit Scores(attnlab_scores* table) : table_(table) {}

  int64_t unit_count() const { return table_->unit_count; }
  std::span<float> row(int64_t r) {
    return {table_->values + r * table_->stride, static_cast<size_t>(table_->unit_count)};
  }
  /// From row r and a unit on, for <attnlab/kernels.hpp>.
  Output from(int64_t r, int64_t unit) const { return Output{table_->values, table_->stride}.from(r, unit); }
  /// Takes the tile's exact logits as scores, without a copy.
  Scores& operator=(const Matrix<float>& logits) {
    table_->alias = logits.data();
    table_->alias_stride = logits.stride();
    return *this;
  }

 private:
  attnlab_scores* table_;
};

/// Base of scorers.
class Scorer {
 public:
  static constexpr int32_t facet = ATTNLAB_SCORER;
  void attach(Host host) { host_ = host; }
  const Host& host() const { return host_; }

  template <class T>
  static void fill_table(attnlab_method& method, const T*) {
    static attnlab_masker_table table{};
    detail::fill_lifecycle<T>(table);
    table.score = [](const void* self, const attnlab_tile* tile, attnlab_scores* scores,
                     attnlab_error* error) noexcept {
      return detail::guard(error, [&] {
        Scores out(scores);
        static_cast<const T*>(self)->score(Tile(tile), out);
      });
    };
    if constexpr (ATTNLAB_HAS_METHOD(T, score_page_size)) {
      table.page_size = [](const void* self) noexcept -> int64_t {
        return static_cast<const T*>(self)->score_page_size();
      };
    }
    method.masker = &table;
  }

 private:
  Host host_;
};

}  // namespace attnlab
