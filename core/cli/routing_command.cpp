// attnlab routing.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/opened_checkpoint.hpp"
#include "core/cli/progress.hpp"
#include "core/io/atomic_file.hpp"
#include "core/report/routing.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::UserError;

constexpr int64_t kMostWindows = 512;
constexpr const char* kDrop = "drop_branch";
constexpr const char* kForce = "force_branch";

void options(po::options_description& table) {
  table.add_options()("out", po::value<std::string>()->value_name("DIR"),
                      "folder of routing.json, report.html and report.md; default: routing, beside the "
                      "checkpoint")("windows", po::value<int64_t>()->value_name("N"),
                                    "windows of the evaluation to read, at most 512; default: all, or 512");
  add_evaluation_options(table);
  add_checkpoint_options(table);
}

int64_t windows_option(const po::variables_map& values, const data::TokenSource& source) {
  const int64_t asked = values.count("windows") != 0 ? values["windows"].as<int64_t>() : kMostWindows;
  if (asked < 1 || asked > kMostWindows)
    throw UserError("--windows is out of range", {.found = std::to_string(asked), .allowed = "1 to 512"});
  return std::min(asked, source.evaluation_windows());
}

/// The place of a parameter in a method's table, or -1 where a user cannot give it.
ptrdiff_t place_of(const plugin::Descriptor& method, const std::string& key) {
  const auto found = std::find_if(method.parameters.begin(), method.parameters.end(),
                                  [&](const auto& parameter) { return parameter.key == key; });
  const bool given = found != method.parameters.end() && !found->fixed;
  return given ? found - method.parameters.begin() : -1;
}

[[noreturn]] void refuse_without_gates(const OpenedCheckpoint& opened, const po::variables_map& values) {
  std::vector<std::string> used, mixtures;
  for (const config::SchemePlan& plan : opened.plan.model.attention) {
    if (std::find(used.begin(), used.end(), plan.scheme) == used.end()) used.push_back(plan.scheme);
  }
  for (const auto& [id, entry] : opened.catalog.entries()) {
    const bool is_scheme = entry.descriptor.facet == plugin::Facet::scheme;
    if (is_scheme && place_of(entry.descriptor, kDrop) >= 0) mixtures.push_back(id);
  }
  const auto known = std::find_first_of(used.begin(), used.end(), mixtures.begin(), mixtures.end());
  throw UserError(
      "no layer of the model reports gates: there is no router to look at",
      {.file = checkpoint_file(values),
       .found = "attention " + base::join(used),
       .allowed = "a scheme that mixes branches by gates: " + base::join(mixtures),
       .suggestion = known == used.end() ? ""
                                         : "not every mixture has a router: attnlab plugin info " + *known +
                                               " lists its settings"});
}

/// One layer's entry of the config, whose branches can be taken out one by one.
struct Mixture {
  std::string pointer;
  std::vector<std::string> branches;  ///< as reports name them
  std::vector<std::string> names;     ///< as its parameters name them
  std::vector<int64_t> layers;        ///< that the entry is for
  ptrdiff_t place_of(const std::string& branch) const {
    const auto found = std::find(branches.begin(), branches.end(), branch);
    return found == branches.end() ? -1 : found - branches.begin();
  }
};

/// Whether the method has the parameter and the config leaves it alone.
bool at_default(const config::SchemePlan& plan, const plugin::Descriptor& method, const char* key) {
  const ptrdiff_t at = place_of(method, key);
  if (at < 0) return false;
  const auto place = static_cast<size_t>(at);
  return plan.values[place] == method.parameters[place].default_value;
}

/// The texts of the parameter "branches", in its order: a report says "gqa4" of what the config calls
/// "gqa:4".
std::vector<std::string> branch_names(const config::SchemePlan& plan, const plugin::Descriptor& method) {
  std::vector<std::string> names;
  const ptrdiff_t at = place_of(method, "branches");
  if (at < 0) return names;
  const auto* items = std::get_if<std::vector<plugin::Value>>(&plan.values[static_cast<size_t>(at)].data);
  if (items == nullptr) return names;
  for (const plugin::Value& item : *items) {
    if (const auto* name = std::get_if<std::string>(&item.data); name != nullptr) names.push_back(*name);
  }
  return names;
}

/// The entries of the routing layers that have both parameters. An entry that the config already ablates
/// stays as it is: its other branches may never have been trained.
std::vector<Mixture> mixtures_of(const OpenedCheckpoint& opened,
                                 const std::vector<train::LayerRouting>& layers) {
  std::vector<Mixture> found;
  for (const train::LayerRouting& layer : layers) {
    const config::SchemePlan& plan = opened.plan.model.attention[static_cast<size_t>(layer.layer)];
    const plugin::Descriptor& method = opened.catalog.find(plan.scheme)->descriptor;
    if (!found.empty() && found.back().pointer == plan.pointer) {
      found.back().layers.push_back(layer.layer);
      continue;
    }
    if (layer.branches.size() < 2 || !at_default(plan, method, kDrop) || !at_default(plan, method, kForce))
      continue;
    Mixture mixture{plan.pointer, layer.branches, layer.branches, {layer.layer}};
    const std::vector<std::string> names = branch_names(plan, method);
    if (names.size() == mixture.names.size()) mixture.names = names;
    found.push_back(std::move(mixture));
  }
  return found;
}

/// The config with a branch dropped from, or forced in, every mixture that has it.
config::Document ablated(config::Document document, const std::vector<Mixture>& mixtures,
                         const std::string& branch, const char* key) {
  const config::Origin origin{"attnlab routing", fs::current_path().string()};
  for (const Mixture& mixture : mixtures) {
    const ptrdiff_t at = mixture.place_of(branch);
    if (at >= 0) document.set(mixture.pointer + "/" + key, mixture.names[static_cast<size_t>(at)], origin);
  }
  return document;
}

std::vector<int64_t> layers_with(const std::vector<Mixture>& mixtures, const std::string& branch) {
  std::vector<int64_t> layers;
  for (const Mixture& mixture : mixtures) {
    if (mixture.place_of(branch) >= 0)
      layers.insert(layers.end(), mixture.layers.begin(), mixture.layers.end());
  }
  return layers;
}

/// The branches of all mixtures, each once.
std::vector<std::string> branches_of(const std::vector<Mixture>& mixtures) {
  std::vector<std::string> all;
  for (const Mixture& mixture : mixtures) {
    for (const std::string& branch : mixture.branches) {
      if (std::find(all.begin(), all.end(), branch) == all.end()) all.push_back(branch);
    }
  }
  return all;
}

/// The model as it is: all of the record but the ablations.
train::RoutingRecord analyse(const OpenedCheckpoint& opened, const data::TokenSource& source,
                             const po::variables_map& values) {
  train::RoutingRecord record;
  record.title = opened.plan.title;
  record.steps = opened.checkpoint.info().steps;
  record.all_windows = source.evaluation_windows();
  record.block = source.block();
  const train::Sweep sweep = train::sweep_gates(*opened.model, source, windows_option(values, source),
                                                opened.plan.train.evaluate_batch);
  if (sweep.layers.empty()) refuse_without_gates(opened, values);
  record.windows = sweep.tokens.windows;
  record.tokens = static_cast<int64_t>(sweep.tokens.ids.size());
  record.loss = sweep.tokens.mean_loss();
  const auto bytes = train::decode_state_bytes(*opened.model, source, record.state_tokens);
  for (const uint64_t layer : bytes) record.state_bytes += layer;
  for (const train::LayerGates& layer : sweep.layers) {
    record.layers.push_back(train::analyse_layer(layer, sweep.tokens, opened.checkpoint.info().tokeniser));
    record.layers.back().state_bytes = bytes[static_cast<size_t>(layer.layer)];
  }
  return record;
}

/// False after Ctrl-C.
bool add_ablations(const OpenedCheckpoint& opened, const data::TokenSource& source,
                   train::RoutingRecord& record) {
  const std::vector<Mixture> mixtures = mixtures_of(opened, record.layers);
  const std::vector<std::string> branches = branches_of(mixtures);
  Progress progress("attnlab routing", false);
  const auto total = static_cast<int64_t>(2 * branches.size());
  for (const char* key : {kDrop, kForce}) {
    for (const std::string& branch : branches) {
      if (interrupted()) return false;
      progress.update(static_cast<int64_t>(record.ablations.size()), total, "ablations");
      std::vector<std::string> said_before;
      const auto model = opened.model_of(ablated(opened.document, mixtures, branch, key), said_before);
      const double loss = train::sweep_gates(*model, source, record.windows, opened.plan.train.evaluate_batch)
                              .tokens.mean_loss();
      record.ablations.push_back(
          {branch, key == kForce, loss, loss - record.loss, layers_with(mixtures, branch)});
    }
  }
  return true;
}

std::string result_folder(const po::variables_map& values) {
  if (values.count("out") != 0) return values["out"].as<std::string>();
  return (fs::path(checkpoint_file(values)).parent_path() / "routing").string();
}

int run(const po::variables_map& values) {
  simd_option(values);
  const base::ThreadLimit threads(thread_option(values));
  const bool json = wants_json(values);
  const OpenedCheckpoint opened(values);
  const auto source = opened.open_task(values);
  if (!opened.plan.allow_noncausal) train::require_causality(*opened.model, opened.document);
  catch_interrupt();
  train::RoutingRecord record = analyse(opened, *source, values);
  if (!add_ablations(opened, *source, record)) return static_cast<int>(base::Exit::interrupted);

  const fs::path folder = result_folder(values);
  io::create_directories(folder.string());
  const std::string text = io::pretty_text(train::to_json(record));
  io::write_file_atomically((folder / "routing.json").string(), text);
  io::write_file_atomically((folder / "report.md").string(), report::routing_markdown(record));
  io::write_file_atomically((folder / "report.html").string(), report::routing_html(record));
  std::cout << (json ? text : report::routing_text(record));
  std::cerr << "results: " << folder.string() << "\n";
  return 0;
}

}  // namespace

Command routing_command() {
  return {.name = "routing",
          .arguments = "CHECKPOINT",
          .summary = "Show what the router of a trained mixture does.",
          .details =
              "CHECKPOINT is a checkpoint.safetensors or the folder of a training run whose scheme reports "
              "gates,\n"
              "such as moas. Over the held-out windows: mean gates, their entropy, the largest gate by kind "
              "of token,\n"
              "position and loss, what it tells of the token, the loss with each branch dropped and with "
              "each alone,\n"
              "and what decoding stores. The same whatever the threads.",
          .options = options,
          .run = run,
          .min_arguments = 1,
          .max_arguments = 1};
}

}  // namespace attnlab::cli
