#include "core/train/routing.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/utf8.hpp"

namespace attnlab::train {
namespace {

using io::Json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// The index of the largest gate of each token, the first of equals.
std::vector<int64_t> choices(const LayerGates& layer) {
  const size_t branches = layer.branches.size();
  std::vector<int64_t> result(layer.gates.size() / branches);
  for (size_t t = 0; t < result.size(); ++t) {
    const float* gates = layer.gates.data() + t * branches;
    result[t] = std::max_element(gates, gates + branches) - gates;
  }
  return result;
}

/// `group_of`: of each token its place in `names`, or -1.
std::vector<GateGroup> groups(const LayerGates& layer, const std::vector<int64_t>& choice,
                              const std::vector<int64_t>& group_of, const std::vector<std::string>& names) {
  const size_t branches = layer.branches.size();
  std::vector<GateGroup> all;
  for (const std::string& name : names)
    all.push_back({name, 0, std::vector<double>(branches), std::vector<double>(branches)});
  for (size_t t = 0; t < choice.size(); ++t) {
    if (group_of[t] < 0) continue;
    GateGroup& group = all[static_cast<size_t>(group_of[t])];
    ++group.tokens;
    group.chosen[static_cast<size_t>(choice[t])] += 1;
    for (size_t e = 0; e < branches; ++e) group.gates[e] += layer.gates[t * branches + e];
  }
  std::erase_if(all, [](const GateGroup& group) { return group.tokens == 0; });
  for (GateGroup& group : all) {
    for (auto* sums : {&group.gates, &group.chosen}) {
      for (double& sum : *sums) sum /= static_cast<double>(group.tokens);
    }
  }
  return all;
}

std::vector<GateGroup> by_class(const LayerGates& layer, const std::vector<int64_t>& choice,
                                const SweptTokens& tokens, const data::Tokeniser& tokeniser) {
  std::vector<int64_t> class_of_id;
  for (int64_t id = 0; id < tokeniser.vocabulary_size(); ++id)
    class_of_id.push_back(static_cast<int64_t>(token_class(tokeniser, id)));
  std::vector<int64_t> group_of;
  for (const int64_t id : tokens.ids) group_of.push_back(class_of_id[static_cast<size_t>(id)]);
  return groups(layer, choice, group_of, token_class_names());
}

std::vector<GateGroup> by_position(const LayerGates& layer, const std::vector<int64_t>& choice,
                                   const SweptTokens& tokens) {
  const int64_t bins = std::min<int64_t>(8, tokens.block);
  std::vector<std::string> names;
  // Position p is in bin floor(p bins / block): a bin begins at ceil(bin block / bins).
  auto first_of = [&](int64_t bin) { return (bin * tokens.block + bins - 1) / bins; };
  for (int64_t bin = 0; bin < bins; ++bin) {
    const int64_t first = first_of(bin), last = first_of(bin + 1) - 1;
    names.push_back(first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last));
  }
  std::vector<int64_t> group_of;
  for (const int64_t position : tokens.positions) group_of.push_back(position * bins / tokens.block);
  return groups(layer, choice, group_of, names);
}

/// Quarters of the tokens that have a target, by loss; of equal losses the earlier token comes first.
std::vector<GateGroup> by_loss(const LayerGates& layer, const std::vector<int64_t>& choice,
                               const SweptTokens& tokens) {
  std::vector<size_t> order;
  for (size_t t = 0; t < tokens.ids.size(); ++t) {
    if (tokens.targets[t] != data::ignored_target) order.push_back(t);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return tokens.losses[a] < tokens.losses[b]; });
  std::vector<int64_t> group_of(tokens.ids.size(), -1);
  std::vector<std::string> names;
  for (size_t quarter = 0; quarter < 4; ++quarter) {
    const size_t first = quarter * order.size() / 4, last = (quarter + 1) * order.size() / 4;
    for (size_t i = first; i < last; ++i) group_of[order[i]] = static_cast<int64_t>(quarter);
    names.push_back(first == last ? ""
                                  : fmt::format("Q{} {:.3f}-{:.3f}", quarter + 1, tokens.losses[order[first]],
                                                tokens.losses[order[last - 1]]));
  }
  return groups(layer, choice, group_of, names);
}

/// Mean over the tokens, nats.
double gate_entropy(const LayerGates& layer) {
  double sum = 0;
  for (const float gate : layer.gates) sum -= gate > 0 ? gate * std::log(static_cast<double>(gate)) : 0;
  const auto branches = static_cast<double>(layer.branches.size());
  // Gates in float32 sum to 1 but for rounding.
  return std::clamp(sum * branches / static_cast<double>(layer.gates.size()), 0.0, std::log(branches));
}

/// In nats, of counts that sum to `total`.
template <class Counts>
double corrected_entropy(const Counts& counts, double total) {
  double sum = 0;
  for (const auto& [value, count] : counts) {
    const double share = static_cast<double>(count) / total;
    sum -= share * std::log(share);
  }
  return sum + (static_cast<double>(counts.size()) - 1) / (2 * total);
}

Json figure(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

Json to_json(const GateGroup& group) {
  return {{"name", group.name}, {"tokens", group.tokens}, {"gates", group.gates}, {"chosen", group.chosen}};
}

Json to_json(const std::vector<GateGroup>& groups) {
  Json list = Json::array();
  for (const GateGroup& group : groups) list.push_back(to_json(group));
  return list;
}

Json to_json(const LayerRouting& r) {
  return {{"layer", r.layer},
          {"scheme", r.scheme},
          {"branches", r.branches},
          {"tokens", r.all.tokens},
          {"gates", r.all.gates},
          {"chosen", r.all.chosen},
          {"entropy", r.entropy},
          {"entropy_share", figure(r.entropy_share)},
          {"token_information",
           {{"bits", r.information.bits},
            {"choice_entropy_bits", r.information.entropy},
            {"share", figure(r.information.share)}}},
          {"cache_elements_per_token", r.cache_elements < 0 ? Json() : Json(r.cache_elements)},
          {"state_bytes", r.state_bytes},
          {"by_class", to_json(r.classes)},
          {"by_position", to_json(r.positions)},
          {"by_loss", to_json(r.losses)}};
}

}  // namespace

MutualInformation mutual_information(std::span<const int64_t> first, std::span<const int64_t> second) {
  ATTNLAB_CHECK(first.size() == second.size() && !first.empty(), "pairs of observations");
  std::map<int64_t, int64_t> of_first, of_second;
  std::map<std::pair<int64_t, int64_t>, int64_t> of_both;
  for (size_t i = 0; i < first.size(); ++i) {
    ++of_first[first[i]];
    ++of_second[second[i]];
    ++of_both[{first[i], second[i]}];
  }
  const auto total = static_cast<double>(first.size());
  const double entropy = corrected_entropy(of_first, total);
  const double nats = entropy + corrected_entropy(of_second, total) - corrected_entropy(of_both, total);
  MutualInformation result;
  result.entropy = entropy / std::log(2.0);
  result.bits = std::clamp(nats, 0.0, entropy) / std::log(2.0);
  result.share = entropy > 0 ? result.bits / result.entropy : kNone;
  return result;
}

const std::vector<std::string>& token_class_names() {
  static const std::vector<std::string> names = {"lower-case", "upper-case",  "digit", "space",
                                                 "line break", "punctuation", "other"};
  return names;
}

size_t token_class(const data::Tokeniser& tokeniser, int64_t id) {
  const auto token = static_cast<int32_t>(id);
  const std::string text = tokeniser.decode({&token, 1});
  const uint32_t c = base::first_character(text).code;
  if (c >= 'a' && c <= 'z') return 0;
  if (c >= 'A' && c <= 'Z') return 1;
  if (c >= '0' && c <= '9') return 2;
  if (c == ' ' || c == '\t') return 3;
  if (c == '\n' || c == '\r') return 4;
  return c > ' ' && c < 0x7F ? 5 : 6;
}

LayerRouting analyse_layer(const LayerGates& layer, const SweptTokens& tokens,
                           const std::optional<data::Tokeniser>& tokeniser) {
  ATTNLAB_CHECK(!tokens.ids.empty() && layer.gates.size() == tokens.ids.size() * layer.branches.size(),
                "gates of each token");
  const std::vector<int64_t> choice = choices(layer);
  LayerRouting result;
  result.layer = layer.layer;
  result.scheme = layer.scheme;
  result.branches = layer.branches;
  result.all = groups(layer, choice, std::vector<int64_t>(choice.size(), 0), {"all"}).front();
  result.entropy = gate_entropy(layer);
  const double most = std::log(static_cast<double>(layer.branches.size()));
  result.entropy_share = most > 0 ? result.entropy / most : kNone;
  result.information = mutual_information(choice, tokens.ids);
  result.classes =
      tokeniser ? by_class(layer, choice, tokens, *tokeniser) : std::vector<GateGroup>{result.all};
  result.positions = by_position(layer, choice, tokens);
  result.losses = by_loss(layer, choice, tokens);
  result.cache_elements = layer.cache_elements;
  return result;
}

Json to_json(const RoutingRecord& record) {
  Json json = {{"title", record.title},
               {"steps", record.steps},
               {"windows", record.windows},
               {"evaluation_windows", record.all_windows},
               {"tokens", record.tokens},
               {"block", record.block},
               {"loss", figure(record.loss)},
               {"state", {{"tokens", record.state_tokens}, {"bytes", record.state_bytes}}},
               {"layers", Json::array()},
               {"ablations", Json::array()}};
  for (const LayerRouting& layer : record.layers) json["layers"].push_back(to_json(layer));
  for (const BranchAblation& a : record.ablations) {
    json["ablations"].push_back({{"branch", a.branch},
                                 {"kind", a.forced ? "force" : "drop"},
                                 {"loss", a.loss},
                                 {"difference", a.difference},
                                 {"layers", a.layers}});
  }
  return json;
}

}  // namespace attnlab::train
