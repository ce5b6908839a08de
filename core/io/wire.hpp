// Numbers and arrays as bytes, for messages between processes of one job: of one program, on machines of one
// byte order.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/base/error.hpp"

namespace attnlab::io {

template <class T>
concept WireValue = std::is_trivially_copyable_v<T>;

class WireWriter {
 public:
  template <WireValue T>
  void value(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  /// The values alone: the reader knows how many.
  template <WireValue T>
  void values(std::span<const T> values) {
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  }
  template <WireValue T>
  void values(const std::vector<T>& list) {
    values(std::span<const T>(list));
  }
  const std::string& bytes() const { return bytes_; }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads what a WireWriter wrote, in its order; the bytes must outlive it.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  template <WireValue T>
  T value() {
    T value;
    copy(&value, sizeof value);
    return value;
  }
  template <WireValue T>
  void values(std::vector<T>& out, size_t count) {
    out.resize(count);
    copy(out.data(), count * sizeof(T));
  }
  std::string_view rest() const { return bytes_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  void copy(void* to, size_t size) {
    ATTNLAB_CHECK(size <= bytes_.size(), "a message is shorter than it says");
    if (size > 0) std::memcpy(to, bytes_.data(), size);
    bytes_.remove_prefix(size);
  }

  std::string_view bytes_;
};

}  // namespace attnlab::io
