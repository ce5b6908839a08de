// Methods that score by a summary of the keys: quest and double_sparsity.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/io/atomic_file.hpp"
#include "core/io/npy.hpp"
#include "core/io/npz.hpp"
#include "tests/golden/hub_checks.hpp"
#include "tests/golden/hub_compare.hpp"

namespace attnlab::golden {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// scale * sum over channels of max(q * least, q * greatest), over the keys [begin, end).
double page_bound(const HubCase& golden, int64_t row, int64_t begin, int64_t end) {
  const HubShape& s = golden.shape();
  const int64_t batch = row / s.queries / s.query_heads, head = row / s.queries % s.query_heads;
  const int64_t kv_row = batch * s.kv_heads + head / (s.query_heads / s.kv_heads);
  const auto q = golden.inputs().at("q").values<float>(), k = golden.inputs().at("k").values<float>();
  double bound = 0;
  for (int64_t d = 0; d < s.head_dim; ++d) {
    double least = infinity, greatest = -infinity;
    for (int64_t key = begin; key < end; ++key) {
      const auto x = double{k[static_cast<size_t>((kv_row * s.keys + key) * s.head_dim + d)]};
      least = std::min(least, x);
      greatest = std::max(greatest, x);
    }
    const auto x = double{q[static_cast<size_t>(row * s.head_dim + d)]};
    bound += std::max(x * least, x * greatest);
  }
  return golden.scale() * bound;
}

/// The keys of the `count` pages with the largest bounds, all of whose keys are visible or, where `leak`,
/// not.
Plane largest_pages(const HubCase& golden, int64_t count, bool leak) {
  const auto page_size = golden.parameter("quest", "page_size").get<int64_t>();
  return mask_of(golden, [&](int64_t row) {
    const int64_t visible = golden.visible_end(row);
    std::vector<double> bounds;
    for (int64_t begin = 0; begin < visible; begin += page_size) {
      const int64_t end = std::min(begin + page_size, leak ? golden.shape().keys : visible);
      bounds.push_back(page_bound(golden, row, begin, end));
    }
    std::vector<int64_t> keys;
    for (int64_t page : largest(bounds, static_cast<int64_t>(bounds.size()), count)) {
      for (int64_t key = page * page_size; key < std::min((page + 1) * page_size, visible); ++key) {
        keys.push_back(key);
      }
    }
    return keys;
  });
}

/// The channel lists of the case as our file holds them.
void convert_channels(const HubCase& golden, const std::string& path) {
  const auto lists = io::Json::parse(io::read_text(golden.path("channels.json"), size_t{1} << 20));
  const int64_t layers = static_cast<int64_t>(lists.size()) / 3;
  std::vector<io::NamedTensor> tensors;
  auto& ids = tensors.emplace_back("layers", tensor::Tensor::zeros(tensor::DType::i32, {layers})).second;
  for (int64_t layer = 0; layer < layers; ++layer) {
    ids.mutable_values<int32_t>()[static_cast<size_t>(layer)] = static_cast<int32_t>(layer);
  }
  for (const std::string name : {"q_proj", "k_proj", "qk_proj"}) {
    std::vector<int32_t> values;
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (const auto& head : lists.at("model.layers." + std::to_string(layer) + ".self_attn." + name)) {
        for (const auto& channel : head) values.push_back(channel.get<int32_t>());
      }
    }
    auto tensor = tensor::Tensor::zeros(tensor::DType::i32,
                                        {layers, golden.shape().query_heads, golden.shape().head_dim});
    ASSERT_EQ(static_cast<int64_t>(values.size()), tensor.size());
    std::copy(values.begin(), values.end(), tensor.mutable_values<int32_t>().begin());
    tensors.emplace_back(name, tensor);
  }
  io::write_npz(path, tensors);
}

}  // namespace

void pages_within_budget(const TableRow& row) {
  const HubCase golden(row.name);
  const auto page_size = golden.parameter("quest", "page_size").get<int64_t>();
  const int64_t pages =
      std::max<int64_t>(1, golden.parameter("quest", "heavy_size").get<int64_t>() / page_size);
  const Plane expected = largest_pages(golden, pages, false);
  const Plane reference = largest_pages(golden, std::max<int64_t>(3, pages), true);
  EXPECT_TRUE(same_mask(golden, reference, golden.mask())) << "the rule does not explain the reference";
  EXPECT_FALSE(same_mask(golden, expected, golden.mask())) << "compare the case exactly";
  const Outcome ours = run_case(golden);
  EXPECT_TRUE(same_mask(golden, expected, ours.mask));
  EXPECT_TRUE(lawful(golden, ours));
}

void exactly_with_channels(const TableRow& row) {
  const HubCase golden(row.name);
  const io::TemporaryFolder folder;
  convert_channels(golden, folder / "channels.npz");
  io::Json stages = golden.stages();
  stages.back()["sorted_channel_file"] = folder / "channels.npz";
  const Outcome ours = Product(golden, {{"case", stages}}).run().at("case");
  EXPECT_TRUE(same_mask(golden, golden.mask(), ours.mask));
  EXPECT_TRUE(lawful(golden, ours));
  EXPECT_TRUE(close(golden.output(), ours.output));
  EXPECT_TRUE(close(golden.weights(), ours.weights));
}

}  // namespace attnlab::golden
