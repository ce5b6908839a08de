#include "cli_files.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <vector>

#include "core/data/normals.hpp"
#include "core/io/npy.hpp"
#include "core/io/npz.hpp"

namespace attnlab::cli_test {
namespace {

namespace fs = std::filesystem;
using io::Json;
using tensor::DType;
using tensor::Tensor;

std::string prepared_path(const std::string& folder, const Json& name) {
  const fs::path path = fs::path(folder) / name.get<std::string>();
  fs::create_directories(path.parent_path());
  return path.string();
}

double number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  const auto text = value.get<std::string>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  throw std::runtime_error("not a number: " + text);
}

size_t flat_index(const tensor::Shape& shape, const Json& at) {
  if (at.size() != shape.size()) throw std::runtime_error("\"at\" needs an index per axis: " + at.dump());
  int64_t flat = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const auto index = at[axis].get<int64_t>();
    if (index < 0 || index >= shape[axis]) throw std::runtime_error("\"at\" is out of range: " + at.dump());
    flat = flat * shape[axis] + index;
  }
  return static_cast<size_t>(flat);
}

template <class T>
void fill(Tensor& tensor, const Json& recipe, uint64_t key) {
  auto values = tensor.mutable_values<T>();
  const Json kind = recipe.value("fill", Json("gaussian"));
  if (kind == "gaussian") {
    std::vector<float> normals(values.size());
    data::fill_normals(key, 0, normals);
    std::transform(normals.begin(), normals.end(), values.begin(), [](float v) { return static_cast<T>(v); });
  } else {
    std::fill(values.begin(), values.end(), static_cast<T>(number(kind)));
  }
  for (const Json& poke : recipe.value("poke", Json::array())) {
    only_keys(poke, {"at", "value"});
    values[flat_index(tensor.shape(), poke.at("at"))] = static_cast<T>(number(poke.at("value")));
  }
}

/// `key`: tensors of one file differ, and are the same in every run.
Tensor make_tensor(const Json& recipe, uint64_t key) {
  only_keys(recipe, {"shape", "dtype", "fill", "poke"});
  const std::string name = recipe.value("dtype", "f4");
  const DType dtype = name == "f4"   ? DType::f32
                      : name == "f8" ? DType::f64
                      : name == "i4" ? DType::i32
                      : name == "i8" ? DType::i64
                                     : throw std::runtime_error("unknown dtype: " + name);
  Tensor tensor = Tensor::zeros(dtype, recipe.at("shape").get<tensor::Shape>());
  if (dtype == DType::f32) fill<float>(tensor, recipe, key);
  if (dtype == DType::f64) fill<double>(tensor, recipe, key);
  if (dtype == DType::i32) fill<int32_t>(tensor, recipe, key);
  if (dtype == DType::i64) fill<int64_t>(tensor, recipe, key);
  return tensor;
}

void make_npz(const std::string& path, const Json& tensors) {
  std::vector<io::NamedTensor> named;
  for (const auto& item : tensors.items())
    named.emplace_back(item.key(), make_tensor(item.value(), named.size()));
  io::write_npz(path, named);
}

void make_trace(const std::string& folder, const Json& recipe) {
  const auto extent = [&](const char* key) { return recipe.at(key).get<int64_t>(); };
  uint64_t key = 0;
  for (int64_t layer = 0; layer < extent("layers"); ++layer) {
    for (char name : {'q', 'k', 'v'}) {
      const Json shape = {extent("tokens"), extent(name == 'q' ? "heads" : "kv_heads"), extent("head_dim")};
      io::write_npy(fmt::format("{}/layer{:02}_{}.npy", folder, layer, name),
                    make_tensor({{"shape", shape}}, key++));
    }
  }
  const Json manifest = {{"layers", extent("layers")},       {"n_heads", extent("heads")},
                         {"n_kv_heads", extent("kv_heads")}, {"head_dim", extent("head_dim")},
                         {"tokens", extent("tokens")},       {"dtype", "<f4"}};
  std::ofstream(folder + "/manifest.json") << manifest.dump(2) << "\n";
}

}  // namespace

void only_keys(const Json& object, std::initializer_list<const char*> allowed) {
  if (!object.is_object()) throw std::runtime_error("not an object: " + object.dump());
  for (const auto& item : object.items()) {
    const bool known =
        std::any_of(allowed.begin(), allowed.end(), [&](const char* key) { return item.key() == key; });
    if (!known)
      throw std::runtime_error("unknown key \"" + item.key() + "\" in " + object.dump().substr(0, 200));
  }
}

void write_files(const std::string& folder, const Json& files) {
  for (const auto& item : files.items()) {
    std::ofstream file(prepared_path(folder, item.key()), std::ios::binary);
    file << (item.value().is_string() ? item.value().get<std::string>() : item.value().dump(2) + "\n");
  }
}

void make_file(const std::string& folder, const Json& recipe) {
  if (recipe.contains("npz")) {
    only_keys(recipe, {"npz", "tensors"});
    make_npz(prepared_path(folder, recipe["npz"]), recipe.at("tensors"));
  } else if (recipe.contains("npy")) {
    only_keys(recipe, {"npy", "tensor"});
    io::write_npy(prepared_path(folder, recipe["npy"]), make_tensor(recipe.at("tensor"), 0));
  } else if (recipe.contains("trace")) {
    only_keys(recipe, {"trace", "layers", "heads", "kv_heads", "head_dim", "tokens"});
    const fs::path path = fs::path(folder) / recipe["trace"].get<std::string>();
    fs::create_directories(path);
    make_trace(path.string(), recipe);
  } else if (recipe.contains("copy")) {
    only_keys(recipe, {"copy", "to"});
    fs::copy_file(fs::path(folder) / recipe["copy"].get<std::string>(),
                  prepared_path(folder, recipe.at("to")));
  } else {
    only_keys(recipe, {"truncate", "bytes"});
    const fs::path path = fs::path(folder) / recipe.at("truncate").get<std::string>();
    const auto bytes = recipe.at("bytes").get<uint64_t>();
    if (fs::file_size(path) <= bytes)
      throw std::runtime_error(path.string() + " has no more than these bytes");
    fs::resize_file(path, bytes);
  }
}

}  // namespace attnlab::cli_test
