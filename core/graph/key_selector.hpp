// Attention to selected keys, as the graph asks for it: rooms above answer with a pipeline of maskers.
#pragma once

#include <cstdint>

#include "core/graph/array.hpp"

namespace attnlab::graph {

/// One attention of a layer.
struct SelectorCall {
  Array q;  ///< float32 [B, Hq, Sq, d], channels adjacent; row i sits at position i + Sk - Sq
  Array k;  ///< float32 [B, Hkv, Sk, d]
  Array v;  ///< float32 [B, Hkv, Sk, dv]
  bool causal = true;
  double scale = 1;  ///< of the logits
  int layer = 0;
  uint64_t random_key = 0;        ///< of what the selector draws
  bool dense_when_empty = false;  ///< a row that selects nothing attends to all it sees; else an error
  bool keep_rows = false;         ///< the selected keys are wanted, for gradients
};

struct SelectedAttention {
  Array out;  ///< float32 [B, Hq, Sq, dv]
  Array lse;  ///< float32 [B, Hq, Sq], natural logarithm
  /// With keep_rows: row r of B Hq Sq, row-major, attends to the keys [row_begin[r], row_begin[r + 1]) of
  /// `key`.
  Array row_begin;   ///< i64 [rows + 1]
  Array key;         ///< i64 [n]
  Array log_weight;  ///< float32 [n], -log of the inclusion probability
};

/// What the attribute "selector" of the op "attend" points at. Thread-safe.
class KeySelector {
 public:
  virtual ~KeySelector() = default;
  /// Softmax attention over the keys that it selects for each row, weights 1/p. Throws OperandError for a row
  /// without keys, base::UserError for what a masker refuses.
  virtual SelectedAttention attend(const SelectorCall& call) const = 0;
};

}  // namespace attnlab::graph
