// The union of id lists against a map, on every SIMD target.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/kernels/table.hpp"

namespace attnlab::kernels {
namespace {

using Lists = std::vector<std::vector<int32_t>>;

struct United {
  std::vector<int32_t> ids;
  std::vector<uint32_t> members;
  bool operator==(const United&) const = default;
};

United expected(const Lists& lists) {
  std::map<int32_t, uint32_t> all;
  for (size_t l = 0; l < lists.size(); ++l) {
    for (int32_t id : lists[l]) all[id] |= uint32_t{1} << l;
  }
  United result;
  for (const auto& [id, members] : all) {
    result.ids.push_back(id);
    result.members.push_back(members);
  }
  return result;
}

United unite(const KernelTable& table, const Lists& lists) {
  std::vector<std::span<const int32_t>> spans(lists.begin(), lists.end());
  size_t room = kUnitePadding;
  for (const auto& list : lists) room += list.size();
  constexpr int32_t guard = -77;
  United result{std::vector<int32_t>(room + 1, guard), std::vector<uint32_t>(room + 1, uint32_t(guard))};
  const int64_t size = table.unite(spans, result.ids.data(), result.members.data());
  EXPECT_EQ(result.ids.back(), guard) << "wrote beyond the padding";
  EXPECT_EQ(result.members.back(), static_cast<uint32_t>(guard));
  result.ids.resize(static_cast<size_t>(size));
  result.members.resize(static_cast<size_t>(size));
  return result;
}

std::vector<std::pair<std::string, Lists>> all_lists() {
  constexpr int32_t largest = std::numeric_limits<int32_t>::max();
  std::vector<std::pair<std::string, Lists>> all = {
      {"no list", {}},
      {"empty lists", {{}, {}}},
      {"one id", {{5}}},
      {"ends of the range", {{0, largest}, {}, {largest - 1, largest}, {0}}},
      {"across blocks", {{4095, 4096, 8191, 8192}, {0, 4096, 4097}, {4094, 100000}}},
  };
  std::mt19937 random(3);
  for (const size_t count : {1, 2, 4, 7, 31, 32}) {
    for (const int32_t range : {20, 5000, 40000}) {
      for (const uint32_t density : {2U, 10U, 300U}) {
        Lists lists(count);
        for (auto& list : lists) {
          for (int32_t id = 0; id < range; ++id) {
            if (random() % density == 0) list.push_back(id);
          }
        }
        all.push_back({std::to_string(count) + " lists, 1 of " + std::to_string(density) + " of " +
                           std::to_string(range),
                       lists});
      }
    }
  }
  Lists same(4, std::vector<int32_t>(10000));
  for (auto& list : same) {
    for (int32_t id = 0; id < 10000; ++id) list[static_cast<size_t>(id)] = id + 3;
  }
  all.push_back({"four times all", same});
  return all;
}

TEST(Unite, EqualsMapOnEveryTarget) {
  for (const auto& [name, lists] : all_lists()) {
    const United want = expected(lists);
    for (const KernelTable* table : all_tables())
      EXPECT_EQ(unite(*table, lists), want) << name << ", " << table->target;
  }
}

}  // namespace
}  // namespace attnlab::kernels
