#include "core/data/workload_streams.hpp"

#include <algorithm>
#include <attnlab/philox.hpp>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/data/normals.hpp"

namespace attnlab::data {

uint64_t key_of(const config::WorkloadSpec& spec, int layer, Purpose purpose) {
  return mix_key(spec.seed, static_cast<uint64_t>(layer), static_cast<uint64_t>(purpose));
}

namespace {

/// b * H + h of head `index` of the part, an index into its flattened [B, heads].
size_t head_of(const TensorPart& part, size_t index) {
  const auto heads = static_cast<size_t>(part.tensor.shape()[1]);
  return index / heads * static_cast<size_t>(part.heads) + index % heads +
         static_cast<size_t>(part.head_begin);
}

}  // namespace

void for_each_row(TensorPart& part, const std::function<void(size_t, size_t, std::span<float>)>& body) {
  constexpr size_t block = 256;
  auto values = part.tensor.mutable_values<float>();
  if (values.empty()) return;
  auto tokens = static_cast<size_t>(part.tensor.shape()[2]);
  auto channels = static_cast<size_t>(part.tensor.shape()[3]);
  size_t rows = values.size() / channels;
  base::parallel_for(static_cast<int64_t>((rows + block - 1) / block), [&](int64_t index, int) {
    size_t begin = static_cast<size_t>(index) * block;
    for (size_t row = begin; row < std::min(rows, begin + block); ++row) {
      const size_t head = head_of(part, row / tokens);
      const size_t token = row % tokens + static_cast<size_t>(part.token_begin);
      body(head, head * static_cast<size_t>(part.tokens) + token, values.subspan(row * channels, channels));
    }
  });
}

void fill_normals(uint64_t key, TensorPart& part) {
  auto values = part.tensor.mutable_values<float>();
  const tensor::Shape& shape = part.tensor.shape();
  const auto size = static_cast<size_t>(shape[2] * shape[3]);
  for (size_t i = 0; i < static_cast<size_t>(shape[0] * shape[1]); ++i) {
    const size_t row =
        head_of(part, i) * static_cast<size_t>(part.tokens) + static_cast<size_t>(part.token_begin);
    fill_normals_from(key, row * static_cast<size_t>(shape[3]), values.subspan(i * size, size));
  }
}

void refuse_workload(const std::string& summary, const std::string& found, const std::string& allowed) {
  throw base::UserError("workload: " + summary, {.found = found, .allowed = allowed});
}

}  // namespace attnlab::data
