// attnlab forward.
#include <fmt/core.h>

#include <cmath>
#include <filesystem>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/isolate.hpp"
#include "core/cli/layer_files.hpp"
#include "core/cli/layer_pass.hpp"
#include "core/kernels/table.hpp"
#include "core/measure/machine.hpp"
#include "core/plugin/crash.hpp"

namespace attnlab::cli {
namespace {

using base::Exit;
using base::UserError;
using graph::Array;
using io::Json;
using plugin::SchemeGeometry;

void options(po::options_description& table) {
  using Texts = std::vector<std::string>;
  table.add_options()("set", po::value<Texts>()->value_name("/PTR=VALUE")->composing(),
                      "override a config value; VALUE is JSON, else a string (repeatable)")(
      "input", po::value<Texts>()->value_name("[NAME=]FILE")->composing(),
      "an input, *.npy: x, or x=, key=, value= of layers that may attend to another sequence, or q=, k=, v= "
      "of "
      "operators without projections (repeatable)")(
      "weights", po::value<std::string>()->value_name("FILE"),
      "all parameters by name, .npz or .safetensors; default: drawn from the config's seed");
  add_plugin_options(table);
  table.add_options()("out", po::value<std::string>()->value_name("DIR"), "result folder")(
      "grad", "write the gradients of sum(y*y) by inputs and parameters")(
      "state", "decode position by position as well, and compare")(
      "precision", po::value<std::string>()->value_name("P")->default_value("f32"), "f32 | f64")(
      "threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
      "threads; results do not depend on it")(
      "format", po::value<std::string>()->value_name("F")->default_value("table"), "stdout: table | json");
  add_simd_option(table);
}

config::Document forward_document(const po::variables_map& values) {
  config::Document document = config::Document::load(positional(values).at(0));
  if (values.count("set") == 0) return document;
  for (const auto& assignment : values["set"].as<std::vector<std::string>>()) document.set(assignment);
  return document;
}

config::InputExtents extents_of(const LayerInputs& inputs) {
  const tensor::Shape& first = inputs.given[0].tensor.shape();
  if (!inputs.heads) return {.channels = first.back()};
  const tensor::Shape &k = inputs.given[1].tensor.shape(), &v = inputs.given[2].tensor.shape();
  return {.query_heads = first[first.size() - 3],
          .kv_heads = k[k.size() - 3],
          .head_dim = first.back(),
          .value_dim = v.back()};
}

/// The inputs that were given are those that the scheme takes.
void check_inputs(const LayerPass& pass, const LayerInputs& inputs, const SchemeGeometry& geometry) {
  const std::string& id = pass.scheme().descriptor().id;
  const bool is_operator = pass.declaration().is_operator();
  const size_t most = inputs.heads || is_operator ? 1 : pass.declaration().inputs.size();
  if ((inputs.heads && !is_operator) || (!inputs.heads && inputs.given.size() > most)) {
    std::vector<std::string> names;
    for (const LayerInput& input : inputs.given) names.push_back(input.name);
    throw UserError("--input: " + id + " does not take these",
                    {.found = base::join(names),
                     .allowed = base::join(pass.declaration().inputs) +
                                (is_operator ? "; or x through the host's projections" : "")});
  }
  const LayerInput& x = inputs.given[0];
  if (!inputs.heads && is_operator && x.tensor.shape().back() != geometry.embed_dim)
    throw UserError("x has other channels than the layer",
                    {.file = x.file,
                     .found = std::to_string(x.tensor.shape().back()),
                     .allowed = fmt::format("embed_dim, {}", geometry.embed_dim)});
}

/// A scheme's failure that is the input's: values that are not finite, or channels other than the layer's.
[[noreturn]] void explain(const UserError& error, const LayerInputs& inputs, const std::vector<Array>& arrays,
                          int64_t embed_dim) {
  if (error.exit() != Exit::plugin_broken) throw error;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const LayerInput& input = inputs.given[i];
    if (const auto bad = find_non_finite(arrays[i], input.tensor.shape())) {
      const bool held =
          !find_non_finite(Array::from(input.tensor, graph::Element::f64), input.tensor.shape());
      throw UserError(
          fmt::format("{} of {}'s values are not finite, and the scheme fails", bad->count, input.name),
          {.file = input.file,
           .pointer = bad->place,
           .found = bad->first + (held ? " in float32; --precision f64 can hold the value" : ""),
           .suggestion = error.summary()});
    }
    if (!inputs.heads && arrays[i].extent(-1) != embed_dim)
      throw UserError(input.name + " has other channels than the layer, and the scheme fails",
                      {.file = input.file,
                       .found = std::to_string(arrays[i].extent(-1)),
                       .allowed = fmt::format("embed_dim, {}", embed_dim),
                       .suggestion = error.summary()});
  }
  throw error;
}

/// All that is known of one forward, as it is written and printed.
struct Result {
  Json json;
  std::vector<NamedArray> files;        ///< in the order of writing
  std::vector<std::string> complaints;  ///< what ends the command with Exit::failed
};

/// Letters that are safe in the name of a file.
std::string file_name(const std::string& name) {
  std::string safe = name;
  for (char& c : safe) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '.' || c == '+';
    if (!plain) c = '_';
  }
  return safe;
}

/// An array of [B, ...] as the inputs are: without the batch axis where they have none.
Array as_given(const Array& array, const LayerInputs& inputs) {
  if (inputs.batched) return array;
  return array.reshaped(graph::Extents(array.shape().begin() + 1, array.shape().end()));
}

/// Takes up an array as a file, and returns what result.json says of it.
Json add_file(Result& result, std::string file, const Array& array) {
  result.files.push_back({file, array});
  return {{"file", std::move(file)}, {"shape", array.shape()}};
}
/// The same of an array whose values must be finite; logits among the intermediates need not be.
Json add_finite_file(Result& result, std::string file, const Array& array) {
  if (const auto bad = find_non_finite(array, {array.shape().begin(), array.shape().end()})) {
    result.complaints.push_back(
        fmt::format("{} holds {} of {} values that are not finite, the first, {}, at {}", file, bad->count,
                    array.size(), bad->first, bad->place));
  }
  return add_file(result, std::move(file), array);
}

double sum_of_squares(const Array& array) {
  const Array y = array.as(graph::Element::f64).packed();
  double sum = 0;
  for (int64_t i = 0; i < y.size(); ++i) sum += y.data<double>()[i] * y.data<double>()[i];
  return sum;
}

Result describe(const LayerPass& pass, const SchemeGeometry& g, const LayerInputs& inputs,
                const LayerOutput& output, const std::string& title) {
  Result result;
  Json& json = result.json;
  json = {{"title", title},
          {"scheme", pass.scheme().descriptor().id},
          {"version", ATTNLAB_VERSION},
          {"precision", pass.parameters().precision() == graph::Element::f64 ? "float64" : "float32"},
          {"query_heads", g.query_heads},
          {"kv_heads", g.kv_heads},
          {"head_dim", g.head_dim},
          {"value_dim", g.value_dim},
          {"embed_dim", g.embed_dim},
          {"causal", g.causal}};
  for (const LayerInput& input : inputs.given) json["inputs"][input.name] = input.tensor.shape();
  json["parameters"] = {{"count", pass.parameters().count()}, {"shapes", Json::object()}};
  for (const model::Parameter& p : pass.parameters().all())
    json["parameters"]["shapes"][p.name] = p.value.shape();
  json["output"] = add_finite_file(result, "output.npy", as_given(output.output, inputs));
  json["output"]["sum_of_squares"] = sum_of_squares(output.output);
  for (const char* key : {"intermediates", "metrics", "losses"}) json[key] = Json::object();
  for (const NamedArray& array : output.intermediates)
    json["intermediates"][array.name] =
        add_file(result, "intermediates/" + file_name(array.name) + ".npy", array.value);
  for (const auto& [name, value] : output.metrics) json["metrics"][name] = value;
  for (const auto& [name, value] : output.losses) json["losses"][name] = value;
  for (size_t i = 0; i < output.input_gradients.size(); ++i) {
    const std::string& name = inputs.given[i].name;
    json["gradients"][name] =
        add_finite_file(result, "grad." + name + ".npy", as_given(output.input_gradients[i], inputs));
  }
  for (const NamedArray& array : output.parameter_gradients)
    json["gradients"][array.name] =
        add_finite_file(result, "grad." + file_name(array.name) + ".npy", array.value);
  return result;
}

void add_decoding(Result& result, const LayerPass& pass, const LayerInputs& inputs,
                  const std::vector<Array>& arrays, const Array& output) {
  Json& state = result.json["state"];
  try {
    const DecodedOutput decoded = pass.decode(arrays, output);
    state = add_finite_file(result, "step_output.npy", as_given(decoded.output, inputs));
    state["positions"] = arrays[0].extent(-2);
    state["recomputed"] = !pass.scheme().has_step();
    state["bytes"] = decoded.state_bytes;
    state["allocated_bytes"] = decoded.allocated_bytes;
    state["difference"] = decoded.difference;
    for (const auto& [name, shape] : decoded.state) state["values"][name] = shape;
  } catch (const UserError& error) {
    state = {{"refused", error.what()}};
    result.complaints.push_back(std::string("no step: ") + error.what());
  }
}

void check_decoding(const po::variables_map& values, const config::LayerPlan& plan, const LayerInputs& inputs,
                    const config::Document& document) {
  if (values.count("state") == 0) return;
  if (!inputs.heads && inputs.given.size() > 1)
    throw UserError("--state decodes a sequence that attends to itself",
                    {.found = inputs.given[1].name, .allowed = "x; or q, k, v"});
  if (inputs.heads && inputs.given[0].tensor.shape().at(inputs.batched ? 2 : 1) !=
                          inputs.given[1].tensor.shape().at(inputs.batched ? 2 : 1))
    throw UserError("--state decodes as many queries as keys", {.file = inputs.given[0].file});
  if (!plan.causal) {
    base::Mistake mistake = document.where("/causal");
    mistake.allowed = "\"causal\": true: a position that sees later ones cannot be decoded before them";
    throw UserError("--state decodes causal attention", mistake);
  }
}

void print_table(const Result& result) {
  const Json& r = result.json;
  auto row = [](const std::string& label, const std::string& text) {
    fmt::print("{:<12}{}\n", label, base::escape_unprintable(text));
  };
  auto whole = [&](const char* key) { return r[key].get<int64_t>(); };
  auto real = [](const Json& value) { return fmt::format("{:.8g}", value.get<double>()); };
  row("scheme",
      fmt::format("{}, {} query heads on {} KV heads, head_dim {}, value_dim {}, embed_dim {}, {}{}",
                  r["scheme"].get<std::string>(), whole("query_heads"), whole("kv_heads"), whole("head_dim"),
                  whole("value_dim"), whole("embed_dim"), r["causal"].get<bool>() ? "causal, " : "",
                  r["precision"].get<std::string>()));
  row("parameters", fmt::format("{} in {} tensors", r["parameters"]["count"].get<int64_t>(),
                                r["parameters"]["shapes"].size()));
  row("output", fmt::format("{}, sum(y*y) {}", graph::to_string(result.files[0].value.shape()),
                            real(r["output"]["sum_of_squares"])));
  for (const auto& item : r["metrics"].items()) row("metric", item.key() + " " + real(item.value()));
  for (const auto& item : r["losses"].items()) row("loss", item.key() + " " + real(item.value()));
  if (r.contains("state") && r["state"].contains("bytes")) {
    const Json& state = r["state"];
    row("step", fmt::format("differs by {:.2g} from the forward{}", state["difference"].get<double>(),
                            state["recomputed"].get<bool>() ? ", which it recomputes" : ""));
    row("state", fmt::format("{} bytes after {} positions", state["bytes"].get<uint64_t>(),
                             state["positions"].get<int64_t>()));
  }
  for (const NamedArray& file : result.files)
    row("file", fmt::format("{} {}", file.name, graph::to_string(file.value.shape())));
}

Json provenance_of(const LayerInputs& inputs, const LayerPass& pass, const std::string& plugin_file,
                   const std::string& weights) {
  std::vector<std::string> files;
  for (const LayerInput& input : inputs.given) files.push_back(input.file);
  if (!weights.empty()) files.push_back(weights);
  Json provenance = {{"command", shell_text(command_line())},
                     {"started", measure::utc_now()},
                     {"inputs", measure::describe_files(files)},
                     {"plugins", measure::describe_files({plugin_file})},
                     {"build", measure::describe_build()},
                     {"machine", measure::describe_machine()},
                     {"simd_target", kernels::active_table().target},
                     {"threads", base::thread_count()},
                     {"weights", weights.empty() ? "drawn from the seed" : weights}};
  provenance["warnings"] = pass.warnings();
  return provenance;
}

int run(const po::variables_map& values) {
  const bool f32 = choice_option(values, "precision", {"f32", "f64"}) == 0;
  const bool table = choice_option(values, "format", {"table", "json"}) == 0;
  for (const char* option : {"out", "input"}) {
    if (values.count(option) == 0)
      throw UserError(std::string("forward needs --") + option, {.suggestion = "see attnlab help forward"});
  }
  const auto out = values["out"].as<std::string>();
  if (out.empty()) throw UserError("--out needs a folder");
  const base::ThreadLimit threads(thread_option(values));
  simd_option(values);
  const config::Document document = forward_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  const config::LayerPlan plan = config::resolve_layer(document, catalog);
  const LayerInputs inputs = read_layer_inputs(values["input"].as<std::vector<std::string>>());
  const SchemeGeometry geometry = config::layer_geometry(plan, document, extents_of(inputs));
  // As run does: a plugin that does not return from a call for ten minutes hangs.
  const plugin::CallWatch watch(std::chrono::minutes(10));
  LayerPass pass(plan, geometry, catalog, document, inputs.heads,
                 f32 ? graph::Element::f32 : graph::Element::f64);
  config::check_operator_keys(plan, document, pass.declaration().is_operator());
  check_inputs(pass, inputs, geometry);
  check_decoding(values, plan, inputs, document);
  for (const auto& warning : pass.warnings()) std::cerr << "warning: " << warning << "\n";
  const std::string weights = values.count("weights") != 0 ? values["weights"].as<std::string>() : "";
  if (!weights.empty()) {
    load_weights(pass.parameters(), weights);
  } else if (pass.parameters().count() > 0) {
    pass.parameters().initialise(plan.seed, 1);
    std::cerr << "note: without --weights the parameters are drawn from seed " << plan.seed << "\n";
  }
  LayerFolder folder(out);
  const std::vector<Array> arrays = inputs.arrays(pass.parameters().precision());
  LayerOutput output;
  try {
    output = pass.forward(arrays, values.count("grad") != 0);
  } catch (const UserError& error) {
    explain(error, inputs, arrays, geometry.embed_dim);
  }
  const std::string name = std::filesystem::path(document.path()).stem().string();
  Result result = describe(pass, geometry, inputs, output, plan.title.empty() ? name : plan.title);
  if (values.count("state") != 0) add_decoding(result, pass, inputs, arrays, output.output);

  for (const NamedArray& file : result.files) folder.write(file.name, file.value);
  folder.write("resolved.json", io::pretty_text(config::to_json(plan, geometry, catalog)));
  folder.write("provenance.json", io::pretty_text(provenance_of(
                                      inputs, pass, catalog.find(plan.attention.scheme)->file, weights)));
  folder.write("result.json", io::pretty_text(result.json));
  folder.commit();
  if (table) {
    print_table(result);
  } else {
    std::cout << io::pretty_text(result.json);
  }
  std::cerr << "results: " << out << "\n";
  for (const auto& complaint : result.complaints)
    std::cerr << "error: " << base::escape_unprintable(complaint) << "\n";
  return static_cast<int>(result.complaints.empty() ? Exit::ok : Exit::failed);
}

}  // namespace

Command forward_command() {
  return {
      .name = "forward",
      .arguments = "CONFIG",
      .summary = "Run one scheme on given input and parameters, with gradients and decoding.",
      .details =
          "CONFIG names a scheme: {\"attention\": {\"scheme\": \"mha\"}, \"query_heads\": 4}. x is [tokens, "
          "embed_dim]\n"
          "or [batch, tokens, embed_dim]; q, k and v have heads before their tokens. The folder gets "
          "output.npy,\n"
          "what the scheme reports as intermediates/<name>.npy, result.json, resolved.json and "
          "provenance.json;\n"
          "with --grad grad.<input>.npy and grad.<parameter>.npy, with --state step_output.npy. Values that "
          "are\n"
          "not finite, and a scheme that refuses to step, are told after all is written: exit code 1.",
      .options = options,
      .run = run,
      .min_arguments = 1,
      .max_arguments = 1};
}

}  // namespace attnlab::cli
