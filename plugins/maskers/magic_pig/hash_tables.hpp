// Hash tables of key ids that grow, shrink and copy with the key cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace magic_pig {

/// Tables of buckets: a code of up to 64 bits -> the keys that have it, ascending. Different tables may be
/// filled by different threads at once.
class HashTables {
 public:
  explicit HashTables(int64_t count) : tables_(static_cast<size_t>(count)) {}

  /// Keys must come in ascending order.
  void insert(int64_t table, uint64_t code, int32_t key) {
    tables_[static_cast<size_t>(table)][code].push_back(key);
  }
  /// The keys with this code; empty when there are none.
  std::span<const int32_t> bucket(int64_t table, uint64_t code) const {
    const Table& buckets = tables_[static_cast<size_t>(table)];
    const auto found = buckets.find(code);
    if (found == buckets.end()) return {};
    return found->second;
  }
  /// Forgets keys from `key_count` on. O(buckets).
  void truncate(int64_t key_count) {
    for (Table& buckets : tables_) {
      for (auto& [code, keys] : buckets) {
        keys.erase(std::lower_bound(keys.begin(), keys.end(), key_count), keys.end());
      }
      std::erase_if(buckets, [](const auto& bucket) { return bucket.second.empty(); });
    }
  }
  /// Ids and bucket entries; free space that a container keeps in reserve is not counted.
  uint64_t bytes() const {
    uint64_t total = 0;
    for (const Table& buckets : tables_) {
      for (const auto& bucket : buckets) total += bucket_bytes + bucket.second.size() * sizeof(int32_t);
    }
    return total;
  }

 private:
  using Table = std::unordered_map<uint64_t, std::vector<int32_t>>;

  static constexpr uint64_t bucket_bytes = sizeof(Table::value_type) + sizeof(void*);  // a node and its link

  std::vector<Table> tables_;
};

}  // namespace magic_pig
