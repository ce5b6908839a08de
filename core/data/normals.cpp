#include "core/data/normals.hpp"

#include <algorithm>
#include <array>
#include <attnlab/philox.hpp>

#include "core/base/parallel.hpp"

namespace attnlab::data {

void fill_normals(uint64_t key, uint64_t stream, std::span<float> out) {
  constexpr size_t draws = 64;
  const Philox philox(key, stream);
  // All bits of a part first, then all variates: both loops vectorise (the second with -fno-math-errno and
  // -fno-trapping-math, which change no result: 2.6 times as fast).
  std::array<uint32_t, 2 * draws> radius, angle;
  std::array<float, 4 * draws> normal;
  for (size_t begin = 0; begin < out.size(); begin += normal.size()) {
    size_t count = std::min(normal.size(), out.size() - begin);
    size_t used_draws = (count + 3) / 4;
    for (size_t draw = 0; draw < used_draws; ++draw) {
      Philox::Block words = philox.at(begin / 4 + draw);
      radius[2 * draw] = words[0];
      angle[2 * draw] = words[1];
      radius[2 * draw + 1] = words[2];
      angle[2 * draw + 1] = words[3];
    }
    for (size_t pair = 0; pair < 2 * used_draws; ++pair) {
      auto [x, y] = normal_pair(radius[pair], angle[pair]);
      normal[2 * pair] = x;
      normal[2 * pair + 1] = y;
    }
    std::copy_n(normal.begin(), count, out.begin() + static_cast<std::ptrdiff_t>(begin));
  }
}

void fill_normals(uint64_t key, tensor::Tensor& tensor) {
  constexpr size_t block = 1 << 14;
  auto values = tensor.mutable_values<float>();
  auto blocks = static_cast<int64_t>((values.size() + block - 1) / block);
  base::parallel_for(blocks, [&](int64_t index, int) {
    size_t begin = static_cast<size_t>(index) * block;
    fill_normals(key, static_cast<uint64_t>(index),
                 values.subspan(begin, std::min(block, values.size() - begin)));
  });
}

}  // namespace attnlab::data
