// attnlab calibrate.
#include <fmt/core.h>

#include <algorithm>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/progress.hpp"
#include "core/io/npz.hpp"
#include "core/train/channel_importance.hpp"

namespace attnlab::cli {
namespace {

using base::UserError;

void options(po::options_description& table) {
  table.add_options()("out", po::value<std::string>()->value_name("FILE"), "file to write, *.npz")(
      "layers", po::value<std::string>()->value_name("LIST"),
      "layers to calibrate, such as 0,2-4; default all")(
      "threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
      "threads; results do not depend on it")("quiet", "no progress");
}

std::string output_option(const po::variables_map& values) {
  if (values.count("out") == 0) throw UserError("--out is required", {.allowed = "a *.npz file"});
  const auto path = values["out"].as<std::string>();
  if (!path.ends_with(".npz")) {
    throw UserError("--out: unknown kind of file", {.found = path, .allowed = "*.npz"});
  }
  return path;
}

/// A tensor [layers, query heads, head_dim] that is filled layer by layer.
tensor::Tensor channel_lists(const data::Geometry& g, size_t layers) {
  return tensor::Tensor::zeros(tensor::DType::i32, {static_cast<int64_t>(layers), g.query_heads, g.head_dim});
}

void put(tensor::Tensor& lists, size_t index, const std::vector<int32_t>& channels) {
  std::copy(channels.begin(), channels.end(),
            lists.mutable_values<int32_t>().begin() + static_cast<int64_t>(index * channels.size()));
}

/// Share of the summed importance that the first `count` channels of each head hold.
double share(std::span<const double> importance, std::span<const int32_t> channels, size_t head_dim,
             size_t count) {
  double held = 0, all = 0;
  for (size_t i = 0; i < importance.size(); ++i) {
    const size_t head = i / head_dim * head_dim;
    const double value = importance[head + static_cast<size_t>(channels[i])];
    all += value;
    if (i - head < count) held += value;
  }
  return all > 0 ? held / all : 1;
}

int run(const po::variables_map& values) {
  const std::string output = output_option(values);
  const base::ThreadLimit threads(thread_option(values));
  const config::Document document = input_document(positional(values).at(0));
  const auto source = data::open_input(config::resolve_input(document), document);
  const bool causal = config::resolve_attention(document).causal.value_or(source->causal().value_or(true));
  const std::vector<int> layers = layers_option(values, *source);
  const data::Geometry& g = source->geometry();
  tensor::Tensor ids = tensor::Tensor::zeros(tensor::DType::i32, {static_cast<int64_t>(layers.size())});
  std::copy(layers.begin(), layers.end(), ids.mutable_values<int32_t>().begin());
  tensor::Tensor product = channel_lists(g, layers.size());
  tensor::Tensor query = channel_lists(g, layers.size()), key = channel_lists(g, layers.size());
  const auto width = static_cast<size_t>(g.head_dim);

  fmt::print("{}\n\nshare of the magnitude of q k products in the first channels\n{:>5}",
             source->description(), "layer");
  std::vector<size_t> counts;
  for (size_t factor = 2; factor <= 16 && width / factor > 0; factor *= 2) counts.push_back(width / factor);
  for (size_t count : counts) fmt::print(" {:>4} of {:<3}", count, width);
  fmt::print("\n");
  Progress progress("calibrate", values.count("quiet") != 0);
  for (size_t i = 0; i < layers.size(); ++i) {
    progress.update(static_cast<int64_t>(i), static_cast<int64_t>(layers.size()));
    const auto importance = train::channel_importance(source->load(layers[i]), g, causal);
    const auto channels = train::sorted_channels(importance.product, g.head_dim);
    put(product, i, channels);
    put(query, i, train::sorted_channels(importance.query, g.head_dim));
    put(key, i, train::sorted_channels(importance.key, g.head_dim));
    fmt::print("{:>5}", layers[i]);
    for (size_t count : counts)
      fmt::print(" {:>9.1f}%", share(importance.product, channels, width, count) * 100);
    fmt::print("\n");
  }
  const io::NamedTensor tensors[] = {
      {"layers", ids}, {"qk_proj", product}, {"q_proj", query}, {"k_proj", key}};
  io::write_npz(output, tensors);
  fmt::print("\nwrote {}: {} layers, {} query heads, head_dim {}\n", output, layers.size(), g.query_heads,
             g.head_dim);
  return 0;
}

}  // namespace

Command calibrate_command() {
  return {.name = "calibrate",
          .arguments = "INPUT",
          .summary = "Sort the channels of each head by importance, for double_sparsity.",
          .details =
              "INPUT is a trace folder, *.npz or *.safetensors. Importance is the mean magnitude of q_c k_c "
              "over\n"
              "pairs of a query and a key that it sees (qk_proj), of q_c (q_proj) and of k_c (k_proj). FILE "
              "appears\n"
              "complete or not at all; equal input gives equal bytes.",
          .options = options,
          .run = run,
          .min_arguments = 1,
          .max_arguments = 1};
}

}  // namespace attnlab::cli
