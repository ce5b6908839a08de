#include "core/cli/layer_files.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <set>

#include "core/base/error.hpp"
#include "core/io/archive.hpp"
#include "core/io/npy.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using tensor::Shape;

const std::vector<std::string> kNames = {"x", "key", "value", "q", "k", "v"};

/// "x=FILE", "FILE" for x; a file whose name holds "=" is one all the same.
LayerInput read_input(const std::string& argument) {
  LayerInput input{"x", argument, {}};
  const size_t sign = argument.find('=');
  if (sign != std::string::npos && !fs::exists(argument)) {
    input.name = argument.substr(0, sign);
    input.file = argument.substr(sign + 1);
    if (std::find(kNames.begin(), kNames.end(), input.name) == kNames.end()) {
      throw UserError("--input: unknown name", {.found = input.name,
                                                .allowed = base::join(kNames),
                                                .suggestion = base::did_you_mean(input.name, kNames)});
    }
  }
  if (input.file.empty()) throw UserError("--input needs a file", {.found = argument});
  input.tensor = io::read_npy(input.file);
  return input;
}

[[noreturn]] void refuse_shape(const LayerInput& input, const std::string& why, const std::string& allowed) {
  throw UserError(why, {.file = input.file,
                        .found = fmt::format("{} {}", input.name, tensor::to_string(input.tensor.shape())),
                        .allowed = allowed});
}

/// Which names may stand together.
bool read_kind(const std::vector<std::string>& names) {
  using Names = std::vector<std::string>;
  const bool heads = names == Names{"q", "k", "v"};
  if (!heads && names != Names{"x"} && names != Names{"x", "key"} && names != Names{"x", "key", "value"}) {
    throw UserError("--input: these do not go together",
                    {.found = base::join(names), .allowed = "x; x, key; x, key, value; or q, k, v"});
  }
  return heads;
}

/// Extents that must be the same: batch, positions of keys and values, heads and channels that meet.
void check_extents(const LayerInputs& inputs) {
  const size_t rank = inputs.heads ? 3 : 2;
  const char* form = inputs.heads ? "[heads, tokens, channels] or [batch, heads, tokens, channels]"
                                  : "[tokens, channels] or [batch, tokens, channels]";
  for (const LayerInput& input : inputs.given) {
    const Shape& shape = input.tensor.shape();
    if (shape.size() != rank && shape.size() != rank + 1)
      refuse_shape(input, "an input has another number of axes", form);
    if (std::find(shape.begin(), shape.end(), 0) != shape.end())
      refuse_shape(input, "an input holds nothing", form);
  }
  const LayerInput& first = inputs.given[0];
  for (const LayerInput& input : inputs.given) {
    const Shape &a = first.tensor.shape(), &b = input.tensor.shape();
    if (a.size() != b.size() || (inputs.batched && a[0] != b[0]))
      refuse_shape(input, "the inputs are of different batches",
                   fmt::format("the batch of {} {}", first.name, tensor::to_string(a)));
  }
  if (inputs.given.size() < 3) return;
  const LayerInput &key = inputs.given[1], &value = inputs.given[2];
  const Shape &k = key.tensor.shape(), &v = value.tensor.shape();
  const bool same_heads = !inputs.heads || k[k.size() - 3] == v[v.size() - 3];
  if (!same_heads || k[k.size() - 2] != v[v.size() - 2])
    refuse_shape(value, "keys and values do not pair",
                 fmt::format("heads and tokens of {} {}", key.name, tensor::to_string(k)));
  if (inputs.heads && k.back() != first.tensor.shape().back())
    refuse_shape(key, "queries and keys have different channels",
                 fmt::format("the channels of q {}", tensor::to_string(first.tensor.shape())));
}

std::string shortened(const std::vector<std::string>& words) {
  constexpr size_t most = 12;
  if (words.size() <= most) return base::join(words);
  return fmt::format("{} and {} more", base::join({words.begin(), words.begin() + most}),
                     words.size() - most);
}

bool is_earlier_result(const fs::path& file) {
  static const std::set<std::string> names = {"result.json", "resolved.json", "provenance.json", "output.npy",
                                              "step_output.npy"};
  const std::string name = file.filename().string();
  return names.contains(name) || (name.starts_with("grad.") && name.ends_with(".npy")) ||
         (file.parent_path().filename() == "intermediates" && name.ends_with(".npy"));
}

void remove_earlier_results(const fs::path& folder) {
  std::error_code ignored;
  for (const fs::path& place : {folder, folder / "intermediates"}) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(place, ignored)) {
      if (entry.is_regular_file(ignored) && is_earlier_result(entry.path())) found.push_back(entry.path());
    }
    for (const fs::path& file : found) fs::remove(file, ignored);
  }
  fs::remove(folder / "intermediates", ignored);  // only when it is empty
}

}  // namespace

std::vector<graph::Array> LayerInputs::arrays(graph::Element precision) const {
  std::vector<graph::Array> result;
  for (const LayerInput& input : given) {
    Shape shape = input.tensor.shape();
    if (!batched) shape.insert(shape.begin(), 1);
    result.push_back(graph::Array::from(input.tensor.reshaped(shape), precision));
  }
  return result;
}

LayerInputs read_layer_inputs(const std::vector<std::string>& arguments) {
  LayerInputs inputs;
  for (const std::string& argument : arguments) inputs.given.push_back(read_input(argument));
  auto rank = [](const LayerInput& input) { return std::find(kNames.begin(), kNames.end(), input.name); };
  std::stable_sort(inputs.given.begin(), inputs.given.end(),
                   [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  std::vector<std::string> names;
  for (const LayerInput& input : inputs.given) names.push_back(input.name);
  inputs.heads = read_kind(names);
  inputs.batched = inputs.given[0].tensor.rank() == (inputs.heads ? 4 : 3);
  check_extents(inputs);
  return inputs;
}

std::optional<NonFinite> find_non_finite(const graph::Array& array, const Shape& shape) {
  if (!array.floating()) return std::nullopt;
  const graph::Array packed = array.packed();
  NonFinite found;
  for (int64_t i = 0; i < packed.size(); ++i) {
    const double value = packed.element() == graph::Element::f32
                             ? static_cast<double>(packed.data<float>()[i])
                             : packed.data<double>()[i];
    if (std::isfinite(value) || ++found.count > 1) continue;
    Shape index(shape.size());
    for (int64_t axis = static_cast<int64_t>(shape.size()), rest = i; axis-- > 0;) {
      const auto at = static_cast<size_t>(axis);
      index[at] = rest % shape[at], rest /= shape[at];
    }
    found.first = fmt::format("{}", value);
    found.place = tensor::to_string(index);
  }
  return found.count > 0 ? std::optional(found) : std::nullopt;
}

void load_weights(model::ParameterSet& parameters, const std::string& file) {
  const io::Archive archive = io::Archive::open(file);
  std::vector<std::string> wanted, names, missing, unknown;
  for (const model::Parameter& p : parameters.all()) {
    wanted.push_back(p.name + " " + graph::to_string(p.value.shape()));
    names.push_back(p.name);
    if (!archive.contains(p.name)) missing.push_back(p.name);
  }
  for (const std::string& name : archive.names()) {
    if (parameters.find(name) == nullptr) unknown.push_back(name);
  }
  if (!missing.empty()) {
    base::Mistake mistake{.file = file, .found = shortened(archive.names()), .allowed = shortened(wanted)};
    mistake.pointer = shortened(missing);
    for (const std::string& name : missing) {
      const std::string near = base::nearest(name, unknown);
      if (mistake.suggestion.empty() && !near.empty())
        mistake.suggestion = fmt::format("\"{}\" of the file is near to \"{}\"", near, name);
    }
    throw UserError("parameters of the scheme are missing", mistake);
  }
  if (!unknown.empty()) {
    throw UserError("the scheme has no such parameters",
                    {.file = file,
                     .pointer = shortened(unknown),
                     .allowed = shortened(wanted),
                     .suggestion = base::did_you_mean(unknown[0], names)});
  }
  for (const std::string& name : names) {
    const tensor::Tensor value = archive.read(name);
    if (value.rank() > static_cast<int64_t>(graph::kMaxRank))
      throw UserError("a tensor has more axes than any parameter",
                      {.file = file, .pointer = name, .found = tensor::to_string(value.shape())});
    parameters.assign(name, value, file);
  }
}

LayerFolder::LayerFolder(const std::string& path) {
  fs::path folder = fs::path(path).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // "out/"
  if (folder.empty()) folder = ".";
  path_ = folder.string();
  std::error_code error;
  exists_ = fs::exists(folder, error);
  // Beside it, or inside: on the same file system, so that moving is renaming.
  const fs::path room = exists_ ? folder : folder.has_parent_path() ? folder.parent_path() : fs::path(".");
  io::create_directories(room.string());
  std::random_device random;
  stage_ = (room / fmt::format(".attnlab-forward-{:08x}{:08x}", random(), random())).string();
  if (!fs::create_directory(stage_, error))
    throw UserError("cannot create the folder: " + error.message(), {.file = path_}, base::Exit::failed);
}

LayerFolder::~LayerFolder() {
  std::error_code ignored;
  if (!committed_ || exists_) fs::remove_all(stage_, ignored);
}

std::string LayerFolder::staged(const std::string& name) {
  names_.push_back(name);
  const fs::path file = fs::path(stage_) / name;
  io::create_directories(file.parent_path().string());
  return file.string();
}

void LayerFolder::write(const std::string& name, const graph::Array& array) {
  io::write_npy(staged(name), array.to_tensor());
}

void LayerFolder::write(const std::string& name, const std::string& text) {
  io::write_file_atomically(staged(name), text);
}

void LayerFolder::commit() {
  auto move = [&](const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::rename(from, to, error);
    if (error)
      throw UserError("cannot create: " + error.message(), {.file = to.string()}, base::Exit::failed);
  };
  if (!exists_) {
    move(stage_, path_);
    committed_ = true;
    return;
  }
  remove_earlier_results(path_);
  // In the order of writing: result.json, which says that the others are there, comes last.
  for (const std::string& name : names_) {
    const fs::path to = fs::path(path_) / name;
    io::create_directories(to.parent_path().string());
    move(fs::path(stage_) / name, to);
  }
  committed_ = true;
}

}  // namespace attnlab::cli
