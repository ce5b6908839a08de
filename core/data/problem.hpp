// Attention problems: q, k, v of each layer, streamed one layer at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/config/input_spec.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::data {

/// Extents shared by all layers of a source. Query head h reads KV head h / group().
struct Geometry {
  int64_t batch = 1;
  int64_t query_heads = 1;
  int64_t kv_heads = 1;
  int64_t queries = 0;  ///< Sq
  int64_t keys = 0;     ///< Sk
  int64_t head_dim = 0;
  int64_t value_dim = 0;

  int64_t group() const { return query_heads / kv_heads; }
};

/// KV heads [kv_head_begin, kv_head_end) of a layer with their query heads, keys [key_begin, key_end) and
/// queries from query_begin on, of every sequence.
struct Part {
  int64_t kv_head_begin = 0, kv_head_end = 0;
  int64_t key_begin = 0, key_end = 0;
  int64_t query_begin = 0;

  static Part all(const Geometry& geometry) { return {0, geometry.kv_heads, 0, geometry.keys, 0}; }
  int64_t kv_heads() const { return kv_head_end - kv_head_begin; }
  int64_t keys() const { return key_end - key_begin; }
  bool operator==(const Part&) const = default;
};

/// One layer, or a part of it. Views point into `storage`; everything is finite (bias may hold -inf).
/// Immutable after loading. The extents below are those of the whole layer.
struct LayerProblem {
  int layer = 0;
  /// What the first KV head, key and query of the tensors are in the layer; `valid` and `sink_logit` are
  /// those of the whole layer.
  int64_t kv_head_begin = 0, key_begin = 0, query_begin = 0;
  tensor::HeadView query;         ///< [B, Hq, Sq, D]
  tensor::HeadView key;           ///< [B, Hkv, Sk, D]
  tensor::HeadView value;         ///< [B, Hkv, Sk, Dv]
  tensor::Tensor bias;            ///< float32 [B or 1, Hq or 1, Sq, Sk], or empty
  std::vector<int64_t> valid;     ///< [B] valid length of each sequence, in [1, Sk]
  std::vector<float> sink_logit;  ///< [Hq] learned sink logits, or empty
  tensor::HeadView
      expected_output;       ///< [B, Hq, Sq, Dv] the trace's own dense output; data == nullptr when absent
  tensor::Tensor true_mass;  ///< float32 [B, Hkv, Sk]: unnormalised softmax mass of each key, exact ground
                             ///< truth of a generated workload; the row's softmax is mass_j / sum over
                             ///< visible keys. Or empty, as in parts.
  std::vector<tensor::Tensor> storage;
};

/// A source of layers. `load` may be called in any order and from one thread at a time.
class Source {
 public:
  virtual ~Source() = default;
  virtual const Geometry& geometry() const = 0;
  virtual const std::vector<int>& layers() const = 0;
  virtual LayerProblem load(int layer) const = 0;
  /// The bits that `load` gives there. Holds, and from files reads, little more than the part; of deflated
  /// archives the whole. Unless a source knows better, the whole layer is loaded and kept.
  virtual LayerProblem load_part(int layer, const Part& part) const;
  /// One line for people: "trace stories260K-long1769, 5 layers, 8/4 heads, ...".
  virtual std::string description() const = 0;
  /// Files read, for provenance hashes; empty for generated workloads.
  virtual std::vector<std::string> files() const = 0;
  /// Softmax scale and causality that the source itself states (a trace manifest, a workload's construction).
  virtual std::optional<double> scale() const { return std::nullopt; }
  virtual std::optional<bool> causal() const { return std::nullopt; }
};

/// Opens and checks shapes, dtypes and manifest before any work; tensor contents are read and checked for NaN
/// and infinities by `load`. Throws UserError naming file, tensor and index. `in_parts`: no layer will be
/// loaded whole, so that it may exceed the machine's memory.
std::unique_ptr<Source> open_source(const config::InputSpec& spec, bool in_parts = false);

/// A part of a layer whose tensors are whole: views of the same storage, and a copy of the part's bias.
LayerProblem cut(LayerProblem whole, const Part& part);
/// A part of a bias [B or 1, Hq or 1, Sq, Sk], copied; `group` query heads share a KV head.
tensor::Tensor cut_bias(const tensor::Tensor& bias, const Part& part, int64_t group);

}  // namespace attnlab::data
