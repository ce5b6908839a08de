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
  /// `count` tables of codes below 2^bits.
  HashTables(int64_t count, int64_t bits) : tables_(static_cast<size_t>(count)) {
    if (bits > direct_bits) return;
    for (Table& table : tables_) table.direct.resize(size_t{1} << bits);
  }

  /// Keys must come in ascending order.
  void insert(int64_t table, uint64_t code, int32_t key) {
    Table& buckets = tables_[static_cast<size_t>(table)];
    (buckets.direct.empty() ? buckets.sparse[code] : buckets.direct[code]).push_back(key);
  }
  /// The keys with this code; empty when there are none.
  std::span<const int32_t> bucket(int64_t table, uint64_t code) const {
    const Table& buckets = tables_[static_cast<size_t>(table)];
    if (!buckets.direct.empty()) return buckets.direct[code];
    const auto found = buckets.sparse.find(code);
    if (found == buckets.sparse.end()) return {};
    return found->second;
  }
  /// Announces that the bucket will be asked for.
  void prefetch(int64_t table, uint64_t code) const {
    const Table& buckets = tables_[static_cast<size_t>(table)];
    if (!buckets.direct.empty()) __builtin_prefetch(&buckets.direct[code]);
  }
  /// Forgets keys from `key_count` on. O(buckets).
  void truncate(int64_t key_count) {
    const auto cut = [key_count](std::vector<int32_t>& keys) {
      keys.erase(std::lower_bound(keys.begin(), keys.end(), key_count), keys.end());
    };
    for (Table& buckets : tables_) {
      std::for_each(buckets.direct.begin(), buckets.direct.end(), cut);
      for (auto& [code, keys] : buckets.sparse) cut(keys);
      std::erase_if(buckets.sparse, [](const auto& bucket) { return bucket.second.empty(); });
    }
  }
  /// Ids and bucket entries; free space that a container keeps in reserve is not counted.
  uint64_t bytes() const {
    uint64_t total = 0;
    for (const Table& buckets : tables_) {
      for (const auto& keys : buckets.direct) total += sizeof keys + keys.size() * sizeof(int32_t);
      for (const auto& bucket : buckets.sparse)
        total += sparse_bucket_bytes + bucket.second.size() * sizeof(int32_t);
    }
    return total;
  }

 private:
  static constexpr int64_t direct_bits = 11;  // 48 KiB of empty buckets for each table

  struct Table {
    std::vector<std::vector<int32_t>> direct;                   // by code, for short codes
    std::unordered_map<uint64_t, std::vector<int32_t>> sparse;  // for long ones
  };

  static constexpr uint64_t sparse_bucket_bytes =
      sizeof(decltype(Table::sparse)::value_type) + sizeof(void*);  // a node and its link

  std::vector<Table> tables_;
};

}  // namespace magic_pig
