// What `attnlab bench --suite kernels` times: cases, and the memory that they share.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/kernels/table.hpp"
#include "core/plugin/catalog.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::measure {

/// Shape of the keys and values of one layer, float32.
struct KvShape {
  int64_t kv_heads = 0, keys = 0, head_dim = 0;
  auto operator<=>(const KvShape&) const = default;

  int64_t floats() const { return 2 * kv_heads * keys * head_dim; }
};

/// Keys and values of several layers. Read by one call after another in turn, they come from memory and not
/// from the caches, as they do when a model decodes.
class KvPool {
 public:
  /// Fills them with N(0, 1) values.
  KvPool(const KvShape& shape, int64_t layers);

  int64_t layers() const { return layers_; }
  const KvShape& shape() const { return shape_; }
  const float* key(int64_t layer, int64_t head) const { return at(2 * layer, head); }
  const float* value(int64_t layer, int64_t head) const { return at(2 * layer + 1, head); }

 private:
  const float* at(int64_t plane, int64_t head) const {
    return values_.values<float>().data() + (plane * shape_.kv_heads + head) * shape_.keys * shape_.head_dim;
  }
  KvShape shape_;
  int64_t layers_;
  tensor::Tensor values_;
};

/// What the cases of a run work with. [main thread]
struct CaseContext {
  const kernels::KernelTable* kernels = nullptr;
  int64_t pool_bytes = 0;                    ///< of each pool of keys and values
  const plugin::Catalog* catalog = nullptr;  ///< for pipelines

  /// A pool of as many layers as fit, at least one; the same one while a case of this shape holds it.
  std::shared_ptr<const KvPool> kv(const KvShape& shape);
  std::map<KvShape, std::weak_ptr<const KvPool>> pools;
};

/// N(0, 1) values, the same for the same `seed`.
std::shared_ptr<float[]> normals(int64_t count, uint64_t seed);

/// A case with its memory.
struct PreparedCase {
  std::function<void()> call;  ///< the work, on the next place of its pool
  int64_t places = 0;          ///< calls after which the pool begins again; 0: caches may hold its memory
  std::string note;
  double bytes = 0;  ///< as KernelCase::bytes, where only the memory tells
};

/// One kernel on one shape.
struct KernelCase {
  std::string name;         ///< "decode/f32/q32kv8/d128/k32768"
  std::string family;       ///< cases of a family alternate, round by round
  double flops = 0;         ///< useful floating-point operations of a call; 0: not counted
  double bytes = 0;         ///< bytes that a call reads from memory; 0: memory is not what limits it
  std::string baseline;     ///< the case of the family against which its time is held, or ""
  bool one_thread = false;  ///< always runs on one thread
  std::function<PreparedCase(CaseContext&)> make;
};

/// All kernels, family by family. `quick`: tiny shapes, to see that everything runs.
std::vector<KernelCase> kernel_cases(bool quick);
/// Whole pipelines, each against the bare kernel on the lists that it chooses. They need a catalog.
std::vector<KernelCase> pipeline_cases(bool quick);

// The families of kernels, one file each.
void add_prefill_cases(bool quick, std::vector<KernelCase>& cases);
void add_decode_cases(bool quick, std::vector<KernelCase>& cases);
void add_logits_cases(bool quick, std::vector<KernelCase>& cases);
void add_backward_cases(bool quick, std::vector<KernelCase>& cases);
void add_scoring_cases(bool quick, std::vector<KernelCase>& cases);
void add_selection_cases(bool quick, std::vector<KernelCase>& cases);
void add_gemm_cases(bool quick, std::vector<KernelCase>& cases);
void add_linear_cases(bool quick, std::vector<KernelCase>& cases);

}  // namespace attnlab::measure
