// What the tests of the io room share: temporary folders, raw bytes, and "reads or is refused, never
// crashes".
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::io {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = ::testing::TempDir() + "attnlab_io_XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  size_t file_count() const {
    auto entries = std::filesystem::directory_iterator(path_);
    return static_cast<size_t>(std::distance(begin(entries), end(entries)));
  }

 private:
  std::string path_;
};

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A copy on the heap of exactly this size, so that the address sanitizer sees every read beyond it.
struct HeapBytes {
  explicit HeapBytes(const std::string& bytes) : storage(new std::byte[bytes.size()]), size(bytes.size()) {
    std::memcpy(storage.get(), bytes.data(), size);
  }
  std::shared_ptr<std::byte[]> storage;
  size_t size;
  std::span<const std::byte> span() const { return {storage.get(), size}; }
};

template <class T>
tensor::Tensor tensor_of(tensor::DType dtype, tensor::Shape shape, const std::vector<T>& values) {
  auto tensor = tensor::Tensor::zeros(dtype, std::move(shape));
  std::copy(values.begin(), values.end(), tensor.mutable_values<T>().begin());
  return tensor;
}

/// A tensor of pseudo-random bytes (booleans 0 and 1): NaN and infinity included.
inline tensor::Tensor noise(tensor::DType dtype, tensor::Shape shape) {
  auto tensor = tensor::Tensor::zeros(dtype, std::move(shape));
  std::mt19937 random(7);
  auto* bytes = const_cast<std::byte*>(tensor.bytes());
  unsigned mask = dtype == tensor::DType::boolean ? 1 : 255;
  for (size_t i = 0; i < tensor.byte_size(); ++i) bytes[i] = static_cast<std::byte>(random() & mask);
  return tensor;
}

inline void expect_same(const tensor::Tensor& a, const tensor::Tensor& b) {
  EXPECT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(std::memcmp(a.bytes(), b.bytes(), a.byte_size()), 0);
}

inline const std::vector<tensor::DType>& all_dtypes() {
  using enum tensor::DType;
  static const std::vector<tensor::DType> all = {f16, bf16, f32, f64, i8,  i16,    i32,
                                                 i64, u8,   u16, u32, u64, boolean};
  return all;
}

/// Runs `read` and touches every byte it returns. True when it read, false when it threw UserError; anything
/// else escapes and fails the test.
inline bool reads(const std::function<std::vector<tensor::Tensor>()>& read) {
  try {
    static volatile unsigned sink;
    for (const auto& tensor : read()) {
      for (size_t i = 0; i < tensor.byte_size(); ++i) sink = sink + static_cast<unsigned>(tensor.bytes()[i]);
    }
    return true;
  } catch (const base::UserError&) {
    return false;
  }
}

/// The text of the UserError that `action` throws; "" when it throws none.
template <class Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "";
}

/// `bytes` with 1 to 4 bytes replaced, removed or doubled; the same for the same seed.
inline std::string mutated(std::string bytes, unsigned seed) {
  std::mt19937 random(seed);
  for (unsigned changes = 1 + random() % 4; changes > 0 && !bytes.empty(); --changes) {
    size_t at = random() % bytes.size();
    switch (random() % 6) {
      case 0:
        bytes.erase(at, 1);
        break;
      case 1:
        bytes.insert(at, 1, bytes[at]);
        break;
      case 2:
        bytes[at] = static_cast<char>(0xff);
        break;
      case 3:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      default:
        bytes[at] = static_cast<char>(random());
        break;
    }
  }
  return bytes;
}

}  // namespace attnlab::io
