#include "core/io/safetensors.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string_view>

#include "core/base/error.hpp"
#include "core/base/mapped_file.hpp"
#include "core/io/raw_tensor.hpp"

namespace attnlab::io {
namespace {

using nlohmann::json;
using tensor::DType;

constexpr uint64_t max_header_bytes = 100'000'000;
constexpr size_t max_metadata_entries = 65536;

struct TypeName {
  std::string_view name;
  DType dtype;
};
constexpr TypeName type_names[] = {
    {"F16", DType::f16},      {"BF16", DType::bf16}, {"F32", DType::f32}, {"F64", DType::f64},
    {"I8", DType::i8},        {"I16", DType::i16},   {"I32", DType::i32}, {"I64", DType::i64},
    {"U8", DType::u8},        {"U16", DType::u16},   {"U32", DType::u32}, {"U64", DType::u64},
    {"BOOL", DType::boolean},
};

}  // namespace

/// Takes the header apart as it is parsed. No JSON tree is built: nesting and junk end the parse at once, so
/// that memory stays in proportion to the number of well-formed tensors.
class SafetensorsFile::HeaderHandler : public nlohmann::json_sax<json> {
 public:
  explicit HeaderHandler(SafetensorsFile& file) : file_(file) {}

  bool start_object(size_t) override {
    if (where_ == Where::outside) {
      where_ = Where::header;
    } else if (where_ == Where::header && tensor_ == "__metadata__") {
      where_ = Where::metadata;
    } else if (where_ == Where::header) {
      where_ = Where::tensor;
    } else {
      refuse("unexpected object");
    }
    return true;
  }

  bool key(string_t& name) override {
    (where_ == Where::header ? tensor_ : field_) = name;
    return true;
  }

  bool end_object() override {
    if (where_ == Where::tensor) finish_tensor();
    where_ = Where::header;
    return true;
  }

  bool start_array(size_t) override {
    if (where_ == Where::tensor && field_ == "shape" && !shape_) {
      shape_.emplace();
      where_ = Where::shape;
    } else if (where_ == Where::tensor && field_ == "data_offsets" && !offsets_) {
      offsets_.emplace();
      where_ = Where::offsets;
    } else {
      refuse("unexpected array");
    }
    return true;
  }

  bool end_array() override {
    where_ = Where::tensor;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (where_ == Where::shape && shape_->size() < max_rank && value <= std::numeric_limits<int64_t>::max()) {
      shape_->push_back(static_cast<int64_t>(value));
    } else if (where_ == Where::offsets && offsets_->size() < 2) {
      offsets_->push_back(value);
    } else {
      refuse(fmt::format("unexpected number {}", value));
    }
    return true;
  }

  bool string(string_t& value) override {
    if (where_ == Where::tensor && field_ == "dtype" && !dtype_) {
      for (const auto& [name, dtype] : type_names) {
        if (name == value) dtype_ = dtype;
      }
      if (!dtype_) refuse("unsupported dtype " + printable(value));
    } else if (where_ == Where::metadata && file_.metadata_.size() < max_metadata_entries) {
      file_.metadata_[field_] = value;
    } else {
      refuse("unexpected string " + printable(value));
    }
    return true;
  }

  bool null() override { refuse("unexpected null"); }
  bool boolean(bool) override { refuse("unexpected boolean"); }
  bool number_integer(int64_t) override { refuse("unexpected negative number"); }
  bool number_float(double, const string_t&) override { refuse("unexpected fraction or huge number"); }
  bool binary(binary_t&) override { refuse("unexpected binary value"); }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    throw base::UserError("bad safetensors header: not JSON",
                          {.file = file_.path_, .pointer = fmt::format("header byte {}", position)});
  }

 private:
  enum class Where { outside, header, metadata, tensor, shape, offsets };

  [[noreturn]] void refuse(std::string found) const {
    std::vector<std::string> types;
    for (const auto& entry : type_names) types.emplace_back(entry.name);
    throw base::UserError(
        "bad safetensors header",
        {.file = file_.path_,
         .pointer = where_ == Where::outside ? "" : printable(tensor_),
         .found = std::move(found),
         .allowed = R"({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} with dtype )" +
                    base::join(types)});
  }

  void finish_tensor() {
    if (!dtype_ || !shape_ || !offsets_ || offsets_->size() != 2) refuse("a field is missing");
    file_.names_.push_back(tensor_);
    file_.entries_.push_back({*dtype_, std::move(*shape_), (*offsets_)[0], (*offsets_)[1]});
    dtype_.reset();
    shape_.reset();
    offsets_.reset();
  }

  SafetensorsFile& file_;
  Where where_ = Where::outside;
  std::string tensor_;
  std::string field_;
  std::optional<DType> dtype_;
  std::optional<tensor::Shape> shape_;
  std::optional<std::vector<uint64_t>> offsets_;
};

SafetensorsFile::SafetensorsFile(std::shared_ptr<const void> storage, std::span<const std::byte> bytes,
                                 const std::string& path)
    : storage_(std::move(storage)), path_(path) {
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) {
    throw base::UserError(
        "truncated safetensors file",
        {.file = path, .found = fmt::format("{} bytes", bytes.size()), .allowed = "at least 8 bytes"});
  }
  std::memcpy(&length, bytes.data(), sizeof(length));
  size_t after = bytes.size() - sizeof(length);
  if (length > max_header_bytes || length > after) {
    throw base::UserError("not a safetensors file, or truncated",
                          {.file = path,
                           .found = fmt::format("a header of {} bytes in {} bytes", length, after),
                           .allowed = fmt::format("a header of at most {} bytes", max_header_bytes)});
  }
  HeaderHandler handler(*this);
  auto* text = reinterpret_cast<const char*>(bytes.data() + sizeof(length));
  json::sax_parse(text, text + length, &handler);
  data_ = bytes.subspan(sizeof(length) + length);
  check_names(names_, path_);
  check_offsets();
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  auto file = base::MappedFile::open(path);
  return SafetensorsFile(file, {file->data(), file->size()}, path);
}

void SafetensorsFile::check_offsets() const {
  std::vector<size_t> order(entries_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(entries_[a].begin, entries_[a].end) < std::pair(entries_[b].begin, entries_[b].end);
  });
  uint64_t position = 0;
  for (size_t index : order) {
    const Entry& entry = entries_[index];
    size_t bytes = checked_byte_size(entry.dtype, entry.shape, {path_, printable(names_[index])});
    if (entry.begin != position || entry.end < entry.begin || entry.end - entry.begin != bytes) {
      throw base::UserError(
          "bad data_offsets: tensors must follow each other without gaps or overlaps",
          {.file = path_,
           .pointer = printable(names_[index]),
           .found = fmt::format("[{}, {}]", entry.begin, entry.end),
           .allowed = fmt::format("{} bytes from {} on, as {} {}", bytes, position,
                                  tensor::name_of(entry.dtype), tensor::to_string(entry.shape))});
    }
    position = entry.end;
  }
  if (position != data_.size()) {
    throw base::UserError(
        position > data_.size() ? "truncated safetensors file" : "bytes after the last tensor",
        {.file = path_,
         .found = fmt::format("{} bytes of data", data_.size()),
         .allowed = fmt::format("{} bytes, as the header says", position)});
  }
}

std::string_view safetensors_name(DType dtype) {
  for (const auto& entry : type_names) {
    if (entry.dtype == dtype) return entry.name;
  }
  ATTNLAB_CHECK(false, "every type of ours has a name");
}

tensor::Tensor SafetensorsFile::read(size_t index) const {
  ATTNLAB_CHECK(index < entries_.size(), path_);
  const Entry& entry = entries_[index];
  return tensor_over(entry.dtype, entry.shape, storage_, data_.data() + entry.begin, {path_, names_[index]});
}

}  // namespace attnlab::io
