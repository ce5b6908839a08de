#include "core/io/npy_header.hpp"

#include <fmt/core.h>

#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

#include "core/base/error.hpp"
#include "core/io/raw_tensor.hpp"

namespace attnlab::io {
namespace {

using tensor::DType;
using tensor::Shape;

constexpr std::string_view magic = "\x93NUMPY";
constexpr size_t max_header_bytes = 1 << 20;

struct TypeCode {
  std::string_view code;  ///< numpy's kind and bytes, without the byte order
  DType dtype;
};
constexpr TypeCode type_codes[] = {
    {"f2", DType::f16}, {"f4", DType::f32}, {"f8", DType::f64}, {"i1", DType::i8},
    {"i2", DType::i16}, {"i4", DType::i32}, {"i8", DType::i64}, {"u1", DType::u8},
    {"u2", DType::u16}, {"u4", DType::u32}, {"u8", DType::u64}, {"b1", DType::boolean},
};

/// Recursive descent over `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
class DictParser {
 public:
  DictParser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  NpyHeader parse() {
    expect('{');
    while (!accept('}')) {
      std::string_view key = string_literal();
      expect(':');
      if (key == "descr" && !descr_) {
        parse_descr();
      } else if (key == "fortran_order" && !fortran_order_) {
        fortran_order_ = boolean();
      } else if (key == "shape" && !shape_) {
        shape_ = tuple();
      } else {
        refuse("unexpected key " + printable(key), "'descr', 'fortran_order' and 'shape', once each");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) refuse("text after the dict", "spaces and a newline");
    if (!descr_ || !fortran_order_ || !shape_)
      refuse("a key is missing", "'descr', 'fortran_order' and 'shape'");
    return {*descr_, std::move(*shape_), *fortran_order_, big_endian_};
  }

 private:
  [[noreturn]] void refuse(const std::string& summary, std::string allowed) const {
    throw base::UserError("bad npy header: " + summary, {.file = file_,
                                                         .pointer = fmt::format("header byte {}", at_),
                                                         .found = printable(text_.substr(at_)),
                                                         .allowed = std::move(allowed)});
  }

  void skip_space() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) != nullptr && text_[at_] != '\0') ++at_;
  }

  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) refuse("syntax error", std::string("'") + c + "'");
  }

  bool accept_word(std::string_view word) {
    skip_space();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  std::string_view string_literal() {
    char quote = accept('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) refuse("a string does not end", "a closing quote");
    std::string_view content = text_.substr(at_, end - at_);
    at_ = end + 1;
    return content;
  }

  bool boolean() {
    if (accept_word("True")) return true;
    if (accept_word("False")) return false;
    refuse("bad fortran_order", "True or False");
  }

  int64_t extent() {
    skip_space();
    int64_t value = 0;
    size_t start = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, text_[at_] - '0', &value)) {
        at_ = start;
        refuse("absurd extent", "less than 2^63");
      }
    }
    if (at_ == start) refuse("bad extent", "an integer of 0 or more");
    // Python 2 wrote long integers as 3L.
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;
    return value;
  }

  Shape tuple() {
    expect('(');
    Shape shape;
    while (!accept(')')) {
      if (shape.size() == max_rank) refuse("too many axes", fmt::format("at most {}", max_rank));
      shape.push_back(extent());
      if (accept(',')) continue;
      if (shape.size() == 1) refuse("the shape is not a tuple", "a comma, as in (3,)");
      expect(')');
      break;
    }
    return shape;
  }

  void parse_descr() {
    skip_space();
    if (at_ < text_.size() && text_[at_] != '\'' && text_[at_] != '"') {
      refuse("structured types are not read", "one plain number type, such as '<f4'");
    }
    size_t start = at_;
    std::string_view descr = string_literal();
    bool has_order = !descr.empty() && std::string_view("<>|=").find(descr[0]) != std::string_view::npos;
    for (const auto& [code, dtype] : type_codes) {
      if (has_order && descr.substr(1) == code) descr_ = dtype;
    }
    if (!descr_) {
      at_ = start;
      bool object = descr.find('O') != std::string_view::npos;
      refuse(object ? "arrays of Python objects are never read" : "unsupported type " + printable(descr),
             "float16/32/64, int8..64, uint8..64, bool");
    }
    big_endian_ = descr[0] == '>' && tensor::size_of(*descr_) > 1;
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
  std::optional<DType> descr_;
  std::optional<bool> fortran_order_;
  std::optional<Shape> shape_;
  bool big_endian_ = false;
};

[[noreturn]] void refuse_truncated(const std::string& file, uint64_t expected, size_t found) {
  throw base::UserError("truncated npy header", {.file = file,
                                                 .found = fmt::format("{} bytes", found),
                                                 .allowed = fmt::format("at least {} bytes", expected)});
}

[[noreturn]] void refuse_magic(const std::string& file, std::string_view start) {
  std::string suggestion;
  if (start.starts_with("PK"))
    suggestion = "this is a zip archive: name it .npz and say which tensor you mean";
  if (start.starts_with('\x80'))
    suggestion = "this may be a pickle, which is never read: save it with numpy.save";
  throw base::UserError("not an npy file", {.file = file,
                                            .found = printable(start.substr(0, magic.size())),
                                            .allowed = "\\x93NUMPY",
                                            .suggestion = std::move(suggestion)});
}

}  // namespace

NpyHeader parse_npy_header(const std::byte* data, size_t size, const std::string& file) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (!bytes.starts_with(magic.substr(0, size))) refuse_magic(file, bytes);
  if (size < 10) refuse_truncated(file, 10, size);
  unsigned major = static_cast<uint8_t>(bytes[6]);
  unsigned minor = static_cast<uint8_t>(bytes[7]);
  if (major < 1 || major > 3 || minor != 0) {
    throw base::UserError(
        "unknown npy version",
        {.file = file, .found = fmt::format("{}.{}", major, minor), .allowed = "1.0, 2.0 or 3.0"});
  }
  size_t start = major == 1 ? 10 : 12;
  if (size < start) refuse_truncated(file, start, size);
  uint32_t length = 0;
  std::memcpy(&length, data + 8, start - 8);
  if (length > max_header_bytes) {
    throw base::UserError("the npy header is too long",
                          {.file = file,
                           .found = fmt::format("{} bytes", length),
                           .allowed = fmt::format("{} bytes", max_header_bytes)});
  }
  if (size - start < length) refuse_truncated(file, start + length, size);
  NpyHeader header = DictParser(bytes.substr(start, length), file).parse();
  header.data_offset = start + length;
  return header;
}

std::string format_npy_header(tensor::DType dtype, const tensor::Shape& shape) {
  std::string_view code;
  for (const auto& entry : type_codes) {
    if (entry.dtype == dtype) code = entry.code;
  }
  ATTNLAB_CHECK(!code.empty(), std::string("numpy has no ") + std::string(tensor::name_of(dtype)));
  std::string extents;
  for (int64_t extent : shape) extents += fmt::format("{}{}", extents.empty() ? "" : " ", extent) + ",";
  if (shape.size() > 1) extents.pop_back();
  std::string dict = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}",
                                 tensor::size_of(dtype) == 1 ? '|' : '<', code, extents);
  size_t total = (10 + dict.size() + 1 + 63) / 64 * 64;
  dict.resize(total - 10 - 1, ' ');
  dict += '\n';
  // 64 axes of 20 characters fit a version 1.0 header.
  ATTNLAB_CHECK(dict.size() <= std::numeric_limits<uint16_t>::max(),
                "npy header of " + tensor::to_string(shape));
  auto length = static_cast<uint16_t>(dict.size());
  std::string header(magic);
  header += {'\x01', '\x00', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  return header + dict;
}

tensor::Tensor as_numpy_type(const tensor::Tensor& tensor) {
  ATTNLAB_CHECK(!tensor.empty(), "no tensor to write");
  return tensor.dtype() == tensor::DType::bf16 ? tensor.to_f32() : tensor;
}

}  // namespace attnlab::io
