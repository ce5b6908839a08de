// Key-side state of one stage for one (layer, batch, KV head): columns that the host owns, and the opaque
// escape.
#pragma once

#include <attnlab/abi.h>

#include <vector>

#include "core/plugin/masker.hpp"

namespace attnlab::attention {

/// Bytes of key-side state.
struct IndexBytes {
  uint64_t tokens = 0;    ///< records per token and per page
  uint64_t sequence = 0;  ///< records per sequence
  uint64_t opaque = 0;    ///< opaque state, by its own account

  uint64_t total() const { return tokens + sequence + opaque; }
  IndexBytes& operator+=(const IndexBytes& other);
};

/// Columns and opaque state of one KV head. Append, truncate and fork give what a fresh state fed with the
/// same keys would hold, whatever the chunks: records are encoded page by page, and a page that grows is
/// encoded again from its first key. Copying is `fork`. Not thread-safe; different states are independent.
class KeyState {
 public:
  KeyState(const plugin::Masker& masker, const attnlab_geometry& geometry, uint64_t rng_key);
  KeyState(KeyState&&) = default;
  KeyState& operator=(KeyState&&) = default;

  /// Keys that have been appended.
  int64_t key_count() const { return key_count_; }
  /// Extends to keys [0, end). `block` gives layer, heads and pointers; its begin and end are set here.
  /// Encoding may use several threads.
  void append(attnlab_key_block block, int64_t end);
  /// Forgets keys from `key_count` on; the block is needed to encode a page that became partial.
  void truncate(attnlab_key_block block, int64_t key_count);
  KeyState fork() const;
  void end_prompt(const attnlab_prompt& prompt);
  void feedback(const attnlab_feedback& feedback);

  const attnlab_columns& columns() const { return view_; }
  void* opaque() const { return opaque_.get(); }
  IndexBytes bytes() const;

 private:
  explicit KeyState(const plugin::Masker& masker) : masker_(&masker) {}

  struct ColumnData {
    plugin::ColumnSpec spec;
    size_t record_bytes = 0;
    std::vector<std::byte> data;
  };

  void resize(int64_t key_count);
  void encode(attnlab_key_block block, int64_t begin, int64_t end);
  void refresh_view();

  const plugin::Masker* masker_;
  int64_t key_count_ = 0;
  int64_t page_multiple_ = 1;  // least common multiple of all page sizes
  std::vector<ColumnData> columns_;
  std::vector<attnlab_column> pointers_;
  attnlab_columns view_{};
  plugin::Masker::State opaque_;
};

}  // namespace attnlab::attention
