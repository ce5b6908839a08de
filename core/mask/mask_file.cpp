#include "core/mask/mask_file.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/base/error.hpp"
#include "core/io/archive.hpp"
#include "core/io/npz.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::mask {
namespace {

using tensor::DType;
using tensor::Tensor;

template <class T>
Tensor tensor_of(DType dtype, tensor::Shape shape, std::span<const T> values) {
  Tensor result = Tensor::zeros(dtype, std::move(shape));
  std::ranges::copy(values, result.mutable_values<T>().begin());
  return result;
}

template <class T>
std::vector<T> read_array(const io::Archive& archive, const std::string& name, DType dtype) {
  const Tensor found = archive.read(name);
  if (found.dtype() != dtype) {
    throw base::UserError("an array of the mask has the wrong type",
                          {.pointer = name,
                           .found = std::string(tensor::name_of(found.dtype())),
                           .allowed = std::string(tensor::name_of(dtype)),
                           .suggestion = fmt::format("{}.astype(numpy.{})", name, tensor::name_of(dtype))});
  }
  const auto values = found.values<T>();
  return {values.begin(), values.end()};
}

std::vector<int64_t> read_header(const io::Archive& archive, const std::string& name, size_t size) {
  auto values = read_array<int64_t>(archive, name, DType::i64);
  if (values.size() == size) return values;
  throw base::UserError("a header of the mask has the wrong size",
                        {.pointer = name,
                         .found = fmt::format("{} elements", values.size()),
                         .allowed = fmt::format("{} elements", size)});
}

Mask read_mask(const io::Archive& archive) {
  const auto extent = read_header(archive, "shape", 4);
  const auto stored = read_header(archive, "extents", 2);
  const int64_t state = read_header(archive, "state", 1)[0];
  const Shape shape{extent[0], extent[1], extent[2], extent[3]};
  const Extents extents{stored[0], stored[1]};
  const auto optional_floats = [&](const std::string& name) {
    return archive.contains(name) ? read_array<float>(archive, name, DType::f32) : std::vector<float>();
  };
  if (state == static_cast<int64_t>(State::empty)) return Mask::empty(shape);
  if (state == static_cast<int64_t>(State::full)) return Mask::full(shape);
  if (state == static_cast<int64_t>(State::dense)) {
    return Mask::dense(shape, extents, read_array<float>(archive, "probability", DType::f32),
                       optional_floats("log_weight"));
  }
  if (state == static_cast<int64_t>(State::sparse)) {
    auto row_ptr = read_array<int64_t>(archive, "row_ptr", DType::i64);
    auto column = read_array<int32_t>(archive, "column", DType::i32);
    return Mask::sparse(shape, extents, std::move(row_ptr), std::move(column), optional_floats("log_weight"),
                        optional_floats("probability"));
  }
  throw base::UserError(
      "unknown state of a mask",
      {.pointer = "state", .found = std::to_string(state), .allowed = "0 empty, 1 full, 2 dense, 3 sparse"});
}

}  // namespace

void save_mask(const Mask& mask, const std::string& path) {
  const Shape& shape = mask.shape();
  const Extents& extents = mask.extents();
  const std::array<int64_t, 4> logical = {shape.batch, shape.heads, shape.queries, shape.keys};
  const std::array<int64_t, 2> stored = {extents.batch, extents.heads};
  const std::array<int64_t, 1> state = {static_cast<int64_t>(mask.state())};
  std::vector<io::NamedTensor> members;
  members.emplace_back("shape", tensor_of<int64_t>(DType::i64, {4}, logical));
  members.emplace_back("extents", tensor_of<int64_t>(DType::i64, {2}, stored));
  members.emplace_back("state", tensor_of<int64_t>(DType::i64, {}, state));

  const bool dense = mask.state() == State::dense;
  const tensor::Shape number_shape =
      dense ? tensor::Shape{extents.batch, extents.heads, shape.queries, shape.keys}
            : tensor::Shape{static_cast<int64_t>(mask.column().size())};
  if (mask.state() == State::sparse) {
    const auto rows = static_cast<int64_t>(mask.row_ptr().size());
    members.emplace_back("row_ptr", tensor_of<int64_t>(DType::i64, {rows}, mask.row_ptr()));
    members.emplace_back("column", tensor_of<int32_t>(DType::i32, number_shape, mask.column()));
  }
  for (const auto& [name, values] :
       {std::pair("probability", mask.probability()), std::pair("log_weight", mask.log_weight())}) {
    if (!values.empty()) members.emplace_back(name, tensor_of<float>(DType::f32, number_shape, values));
  }
  io::write_npz(path, members);
}

Mask load_mask(const std::string& path) {
  const io::Archive archive = io::Archive::open(path);
  try {
    return read_mask(archive);
  } catch (const base::UserError& error) {
    base::Mistake mistake = error.mistake();
    mistake.file = path;
    throw base::UserError(error.summary(), mistake, error.exit());
  }
}

}  // namespace attnlab::mask
