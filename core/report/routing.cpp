#include "core/report/routing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/report/format.hpp"
#include "core/report/routing_tables.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using train::GateGroup;
using train::LayerRouting;
using train::RoutingRecord;

std::string share_text(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.3f}", value);
}

double chosen_of(const LayerRouting& layer, const std::string& branch) {
  const auto at = std::find(layer.branches.begin(), layer.branches.end(), branch);
  return at == layer.branches.end() ? std::numeric_limits<double>::quiet_NaN()
                                    : layer.all.chosen[static_cast<size_t>(at - layer.branches.begin())];
}

PlainTable layer_table(const RoutingRecord& record) {
  PlainTable table{
      "Layers",
      "gate: mean over the tokens. chosen: share of the tokens whose largest gate it is. entropy: of a "
      "token's gates, mean, in nats and as a share of the log of the branches. token: what the largest gate "
      "and the token tell of each other, in bits (Miller-Madow) and as a share of the choice's own entropy. "
      "cache: numbers that decoding keeps of a token, by the scheme's account. state: measured.",
      {{"layer", "scheme"}},
      2};
  std::vector<std::string>& heading = table.rows.front();
  const std::vector<std::string> branches = routing_branches(record);
  for (const char* what : {"gate ", "chosen "}) {
    for (const std::string& branch : branches) heading.push_back(what + branch);
  }
  for (const char* title : {"entropy", "of log n", "token, bits", "of choice", "cache", "state"})
    heading.emplace_back(title);
  for (const LayerRouting& layer : record.layers) {
    std::vector<std::string> row{fmt::format("{}", layer.layer), layer.scheme};
    for (const std::string& branch : branches) row.push_back(share_text(gate_of(layer, branch, layer.all)));
    for (const std::string& branch : branches) row.push_back(share_text(chosen_of(layer, branch)));
    row.push_back(fmt::format("{:.3f}", layer.entropy));
    row.push_back(percent(layer.entropy_share));
    row.push_back(fmt::format("{:.3f}", layer.information.bits));
    row.push_back(percent(layer.information.share));
    row.push_back(layer.cache_elements < 0 ? "-" : number(layer.cache_elements, 4));
    row.push_back(byte_size(layer.state_bytes));
    table.rows.push_back(std::move(row));
  }
  return table;
}

/// A row for each group and branch, a column for each layer.
PlainTable group_table(const RoutingRecord& record, const std::string& title, const std::string& what,
                       const std::string& about, GateGroups groups) {
  PlainTable table{title, about, {{what, "branch", "tokens"}}, 2};
  for (const LayerRouting& layer : record.layers)
    table.rows.front().push_back(fmt::format("layer {}", layer.layer));
  if (record.layers.empty()) return table;
  const std::vector<GateGroup>& first = record.layers.front().*groups;
  for (size_t group = 0; group < first.size(); ++group) {
    for (const std::string& branch : routing_branches(record)) {
      std::vector<std::string> row{first[group].name, branch, fmt::format("{}", first[group].tokens)};
      for (const LayerRouting& layer : record.layers)
        row.push_back(share_text(gate_of(layer, branch, (layer.*groups)[group])));
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

PlainTable ablation_table(const RoutingRecord& record) {
  PlainTable table{
      "Branches dropped and forced",
      "The loss of the same windows with the branch out of all layers that have it and the other gates "
      "renormalised, and with all tokens on it. The model was not trained for either.",
      {{"branch", "what", "loss", "difference"}},
      2};
  table.rows.push_back({"all", "as trained", fmt::format("{:.4f}", record.loss), ""});
  for (const train::BranchAblation& a : record.ablations) {
    table.rows.push_back({a.branch, a.forced ? "forced" : "dropped", fmt::format("{:.4f}", a.loss),
                          fmt::format("{:+.4f}", a.difference)});
  }
  return table;
}

}  // namespace

double gate_of(const LayerRouting& layer, const std::string& branch, const GateGroup& group) {
  const auto at = std::find(layer.branches.begin(), layer.branches.end(), branch);
  return at == layer.branches.end() ? std::numeric_limits<double>::quiet_NaN()
                                    : group.gates[static_cast<size_t>(at - layer.branches.begin())];
}

std::vector<std::string> routing_branches(const RoutingRecord& record) {
  std::vector<std::string> all;
  for (const LayerRouting& layer : record.layers) {
    for (const std::string& branch : layer.branches) {
      if (std::find(all.begin(), all.end(), branch) == all.end()) all.push_back(branch);
    }
  }
  return all;
}

std::vector<PlainTable> routing_tables(const RoutingRecord& record) {
  std::vector<PlainTable> tables{layer_table(record)};
  const bool has_text = !record.layers.empty() && record.layers.front().classes.size() > 1;
  if (has_text) {
    tables.push_back(group_table(record, "Mean gates by kind of token", "token",
                                 "Letters are those of ASCII.", &LayerRouting::classes));
  }
  tables.push_back(
      group_table(record, "Mean gates by position in the window", "positions", "", &LayerRouting::positions));
  tables.push_back(group_table(record, "Mean gates by loss", "loss, nats",
                               "Quarters of the tokens that something is predicted from, by the loss of the "
                               "prediction; Q1 is the easiest.",
                               &LayerRouting::losses));
  if (!record.ablations.empty()) tables.push_back(ablation_table(record));
  return tables;
}

std::string routing_title(const RoutingRecord& record) {
  return record.title.empty() ? "Routing" : "Routing of " + record.title;
}

std::string routing_summary(const RoutingRecord& record) {
  return fmt::format("{} of {} windows of the evaluation, {} tokens, after {} steps; loss {:.4f}",
                     record.windows, record.all_windows, record.tokens, record.steps, record.loss);
}

std::string state_line(const RoutingRecord& record) {
  return fmt::format("Decoding {} tokens keeps {} in all layers.", record.state_tokens,
                     byte_size(record.state_bytes));
}

std::string routing_text(const RoutingRecord& record) {
  std::string text = routing_summary(record) + "\n";
  for (const PlainTable& table : routing_tables(record)) text += "\n" + plain_text(table);
  return text + "\n" + state_line(record) + "\n";
}

std::string routing_markdown(const RoutingRecord& record) {
  std::string text = "# " + markdown_text(routing_title(record)) + "\n\n";
  text += markdown_text(routing_summary(record)) + "\n\n" + state_line(record) + "\n";
  for (const PlainTable& table : routing_tables(record)) text += "\n" + plain_markdown(table);
  return text;
}

}  // namespace attnlab::report
