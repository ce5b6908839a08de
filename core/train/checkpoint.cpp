#include "core/train/checkpoint.hpp"

#include <algorithm>

namespace attnlab::train {
namespace {

using base::UserError;
using io::Json;

constexpr const char* kFormat = "attnlab checkpoint 1";
const std::string kFirst = "optimiser.first.", kSecond = "optimiser.second.";

Json metadata_json(const io::SafetensorsFile& file, const std::string& path) {
  const auto found = file.metadata().find("attnlab");
  if (found == file.metadata().end()) {
    throw UserError("is not a checkpoint: it does not say how it was trained",
                    {.file = path, .allowed = "a checkpoint.safetensors that attnlab train wrote"});
  }
  const Json json = io::parse_untrusted(found->second, path);
  if (!json.is_object() || json.value("format", "") != kFormat) {
    throw UserError("is a checkpoint of another version",
                    {.file = path,
                     .found = json.is_object() ? json.value("format", Json()).dump() : json.type_name(),
                     .allowed = kFormat});
  }
  return json;
}

}  // namespace

void save_checkpoint(const std::string& path, const model::Gpt& model, const AdamW& optimiser,
                     const CheckpointInfo& info) {
  std::vector<std::pair<std::string, tensor::Tensor>> tensors;
  const auto& parameters = model.parameters().all();
  for (const model::Parameter& p : parameters) tensors.emplace_back(p.name, p.value.to_tensor());
  for (size_t i = 0; i < parameters.size(); ++i) {
    tensors.emplace_back(kFirst + parameters[i].name, optimiser.first()[i].to_tensor());
    tensors.emplace_back(kSecond + parameters[i].name, optimiser.second()[i].to_tensor());
  }
  Json json = {{"format", kFormat},
               {"steps", info.steps},
               {"updates", optimiser.steps()},
               {"vocabulary", info.vocabulary},
               {"config", info.config}};
  if (info.tokeniser) json["tokeniser"] = info.tokeniser->to_json();
  io::write_safetensors(path, tensors, {{"attnlab", json.dump()}});
}

Checkpoint::Checkpoint(const std::string& path) : path_(path), file_(io::SafetensorsFile::open(path)) {
  const Json json = metadata_json(file_, path);
  try {
    info_.config = json.at("config");
    info_.steps = plugin::whole_number<int64_t>(json.at("steps"));
    info_.vocabulary = plugin::whole_number<int64_t>(json.at("vocabulary"));
    if (json.contains("tokeniser"))
      info_.tokeniser = data::Tokeniser::from_json(json["tokeniser"], path, "/tokeniser");
  } catch (const Json::exception& e) {
    throw UserError("is a damaged checkpoint", {.file = path, .found = e.what()});
  }
  if (info_.vocabulary < 1 || info_.vocabulary > (1 << 24) || info_.steps < 0)
    throw UserError("is a damaged checkpoint", {.file = path,
                                                .found = "vocabulary " + std::to_string(info_.vocabulary) +
                                                         ", steps " + std::to_string(info_.steps)});
}

tensor::Tensor Checkpoint::tensor(const std::string& name, const graph::Extents& shape) const {
  const auto& names = file_.names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw UserError("is a checkpoint of another model: it lacks a tensor",
                    {.file = path_, .pointer = name, .suggestion = base::did_you_mean(name, names)});
  }
  const tensor::Tensor tensor = file_.read(static_cast<size_t>(found - names.begin()));
  if (!std::equal(tensor.shape().begin(), tensor.shape().end(), shape.begin(), shape.end())) {
    throw UserError("is a checkpoint of another model: a tensor has other extents",
                    {.file = path_,
                     .pointer = name,
                     .found = tensor::to_string(tensor.shape()),
                     .allowed = graph::to_string(shape)});
  }
  return tensor;
}

void Checkpoint::read_parameters(model::Gpt& model) const {
  for (const std::string& name : file_.names()) {
    if (!name.starts_with("optimiser.") && model.parameters().find(name) == nullptr)
      throw UserError("is a checkpoint of another model: it has a tensor more",
                      {.file = path_, .pointer = name});
  }
  for (const model::Parameter& p : std::as_const(model).parameters().all())
    model.parameters().assign(p.name, tensor(p.name, p.value.shape()), path_);
}

AdamW Checkpoint::read_optimiser(const model::Gpt& model, const AdamWOptions& options) const {
  AdamW optimiser(model.parameters(), options);
  std::vector<graph::Array> first, second;
  auto copy = [&](const std::string& name, const graph::Extents& shape) {
    graph::Array array(model.parameters().precision(), shape);
    graph::copy_elements(graph::Array::from(tensor(name, shape), array.element()), array);
    return array;
  };
  for (const model::Parameter& p : model.parameters().all()) {
    first.push_back(copy(kFirst + p.name, p.value.shape()));
    second.push_back(copy(kSecond + p.name, p.value.shape()));
  }
  const Json json = metadata_json(file_, path_);
  if (!json.contains("updates"))
    throw UserError("is a damaged checkpoint", {.file = path_, .pointer = "updates"});
  optimiser.restore(plugin::whole_number<int64_t>(json["updates"]), std::move(first), std::move(second));
  return optimiser;
}

}  // namespace attnlab::train
