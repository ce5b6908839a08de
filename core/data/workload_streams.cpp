#include "core/data/workload_streams.hpp"

#include <algorithm>
#include <attnlab/philox.hpp>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"

namespace attnlab::data {

uint64_t key_of(const config::WorkloadSpec& spec, int layer, Purpose purpose) {
  return mix_key(spec.seed, static_cast<uint64_t>(layer), static_cast<uint64_t>(purpose));
}

void for_each_row(tensor::Tensor& tensor, const std::function<void(size_t, size_t, std::span<float>)>& body) {
  constexpr size_t block = 256;
  auto values = tensor.mutable_values<float>();
  auto tokens = static_cast<size_t>(tensor.shape()[2]);
  auto channels = static_cast<size_t>(tensor.shape()[3]);
  size_t rows = values.size() / channels;
  base::parallel_for(static_cast<int64_t>((rows + block - 1) / block), [&](int64_t index, int) {
    size_t begin = static_cast<size_t>(index) * block;
    for (size_t row = begin; row < std::min(rows, begin + block); ++row) {
      body(row / tokens, row, values.subspan(row * channels, channels));
    }
  });
}

void refuse_workload(const std::string& summary, const std::string& found, const std::string& allowed) {
  throw base::UserError("workload: " + summary, {.found = found, .allowed = allowed});
}

}  // namespace attnlab::data
