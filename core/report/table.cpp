#include "core/report/table.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>

#include "core/report/format.hpp"

namespace attnlab::report {
namespace {

using measure::PipelineRecord;
using measure::Quality;
using measure::RunRecord;
using measure::Summary;

constexpr double none = std::numeric_limits<double>::quiet_NaN();

template <Summary Quality::*metric, double Summary::*figure>
double of_metric(const RunRecord&, const PipelineRecord& pipeline) {
  const Summary& summary = pipeline.quality.*metric;
  return summary.rows > 0 ? summary.*figure : none;
}

double empty_rows(const RunRecord&, const PipelineRecord& pipeline) {
  // A pipeline that failed has no figures.
  if (!pipeline.failure.empty()) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(pipeline.quality.empty_rows);
}

double select_and_attend(const RunRecord& run, const PipelineRecord& pipeline) {
  if (pipeline.stages.empty()) return run.time.exact_rows;
  const measure::PipelineTime* time = time_of(run, pipeline.name);
  if (time == nullptr) return none;
  double seconds = time->attend;
  for (const auto& stage : time->stages) seconds += stage.second;
  return seconds;
}

std::string print_number(double value) {
  return number(value);
}
std::string print_share(double value) {
  return percent(value);
}
std::string print_count(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.0f}", value);
}

void add_check(Facts& facts, const std::string& label, double difference, const std::string& where = "") {
  // NaN is a finding as well; only the negative sentinel means that there was nothing to check.
  if (!(difference < 0)) facts.emplace_back(label, number(difference) + where);
}

/// "layers 0,16: dense, layers *: main"; a list of stages is named where it stands.
std::string policy_line(const io::Json& policy, const std::string& place = "") {
  std::string line;
  for (const auto& [key, value] : policy.items()) {
    const bool is_axis = key == "layers" || key == "heads";
    const std::string at = place.empty() ? key : place + " " + key;
    if (!line.empty()) line += ", ";
    if (value.is_object()) {
      line += policy_line(value, is_axis ? at : at + " heads");
    } else {
      line += at + ": " + (value.is_string() ? value.get<std::string>() : "own stages");
    }
  }
  return line;
}

}  // namespace

const std::vector<Column>& comparison_columns() {
  static const std::vector<Column> columns{
      {"density", "mean", "density_mean", "active keys / visible keys of a row", 9,
       of_metric<&Quality::density, &Summary::mean>, print_share},
      {"bytes", "read", "read_share",
       "bytes read to search and to attend, relative to dense attention, each query of a KV head alone", 6,
       read_share, print_share},
      {"mass recall", "mean", "mass_recall_mean", "share of the exact softmax mass on active keys", 8,
       of_metric<&Quality::mass_recall, &Summary::mean>, print_share},
      {"mass recall", "p05", "mass_recall_p05", "5 % of the rows recall less than this", 3,
       of_metric<&Quality::mass_recall, &Summary::p05>, print_share},
      {"output error", "mean", "output_error_mean", "|o - o_dense| / |o_dense| of a row, Euclidean norm", 10,
       of_metric<&Quality::output_error, &Summary::mean>, print_number},
      {"output error", "p95", "output_error_p95", "5 % of the rows err more than this", 7,
       of_metric<&Quality::output_error, &Summary::p95>, print_number},
      {"output error", "max", "output_error_max", "the worst row", 4,
       of_metric<&Quality::output_error, &Summary::max>, print_number},
      {"denom.", "error", "denominator_error_mean",
       "mean |D / D_dense - 1|, D the softmax denominator with sampled keys weighted by 1/p", 2,
       of_metric<&Quality::denominator_error, &Summary::mean>, print_number},
      {"entropy", "nats", "entropy_mean", "mean entropy of a row's own attention weights", 1,
       of_metric<&Quality::entropy, &Summary::mean>, print_number},
      {"empty", "rows", "empty_rows", "rows that see keys but attend to none", 6, empty_rows, print_count},
      {"select +", "attend*", "select_attend_seconds", "seconds to select keys and attend to them", 5,
       select_and_attend, duration},
  };
  return columns;
}

std::string clock_footnote() {
  return "* select + attend is a shared-run clock: summed over threads, and all pipelines share the exact "
         "logits; "
         "dense shows the shared exact rows.";
}

const measure::PipelineTime* time_of(const RunRecord& run, const std::string& pipeline) {
  for (const measure::PipelineTime& time : run.time.pipelines) {
    if (time.pipeline == pipeline) return &time;
  }
  return nullptr;
}

Facts input_facts(const measure::InputRecord& input) {
  std::string queries = fmt::format("{} queries on {} keys", input.queries, input.keys);
  if (input.measured_queries != input.queries) {
    queries = fmt::format("{} of {}", input.measured_queries, queries);
  }
  const std::string sizes = input.head_dim == input.value_dim
                                ? fmt::format("head_dim {}", input.head_dim)
                                : fmt::format("head_dim {}, value_dim {}", input.head_dim, input.value_dim);
  return {
      {"input", input.description},
      {"mode", fmt::format("{}, {}, {}, scale {}", input.mode, queries,
                           input.causal ? "causal" : "not causal", number(input.scale, 4))},
      {"heads", fmt::format("batch {}, {} query heads on {} KV heads, {}", input.batch, input.query_heads,
                            input.kv_heads, sizes)},
      {"layers", id_ranges(input.layers)},
  };
}

Facts check_facts(const RunRecord& run) {
  Facts facts;
  add_check(facts, "largest difference from the input's own output", run.input.expected_output_difference);
  add_check(facts, "largest difference from the exact softmax", run.input.true_mass_difference);
  const PipelineRecord* worst = nullptr;
  for (const PipelineRecord& pipeline : run.pipelines) {
    if (pipeline.reference_error < 0) continue;
    if (worst == nullptr || !(pipeline.reference_error <= worst->reference_error)) worst = &pipeline;
  }
  if (worst != nullptr) {
    add_check(facts, "largest deviation from double precision", worst->reference_error,
              " (" + worst->name + ")");
  }
  return facts;
}

std::string stage_line(const PipelineRecord& pipeline) {
  if (pipeline.stages.empty()) return "dense attention";
  std::string line;
  for (const measure::StageRecord& stage : pipeline.stages) {
    if (!line.empty()) line += "; ";
    line += stage.name == stage.masker ? stage.name : stage.name + " (" + stage.masker + ")";
    std::string separator = ": ";
    for (const auto& [key, value] : stage.parameters.items()) {
      if (!stage.parameters.is_object()) break;
      line += separator + key + "=" + io::line_text(value);
      separator = " ";
    }
  }
  return pipeline.policy.is_null() ? line : policy_line(pipeline.policy) + ". " + line;
}

std::string title_of(const RunRecord& run) {
  return run.title.empty() ? "attnlab run" : run.title;
}

std::vector<LayerRow> layer_rows(const RunRecord& run) {
  struct Sum {
    double weighted = 0;
    int64_t rows = 0;
    void add(const Summary& summary) {
      if (summary.rows <= 0) return;
      weighted += summary.mean * static_cast<double>(summary.rows);
      rows += summary.rows;
    }
    double mean() const { return rows > 0 ? weighted / static_cast<double>(rows) : none; }
  };
  std::vector<LayerRow> rows;
  std::vector<std::pair<Sum, Sum>> sums;
  std::map<std::pair<std::string, int64_t>, size_t> places;
  for (const measure::HeadRecord& head : run.heads) {
    const auto [place, is_new] = places.try_emplace({head.pipeline, head.layer}, rows.size());
    if (is_new) {
      rows.push_back({head.pipeline, head.layer, none, none, -1, none});
      sums.emplace_back();
    }
    LayerRow& row = rows[place->second];
    auto& [density, error] = sums[place->second];
    density.add(head.quality.density);
    error.add(head.quality.output_error);
    const double mean = head.quality.output_error.mean;
    if (head.quality.output_error.rows > 0 && !(mean <= row.worst_error) && !std::isnan(mean)) {
      row.worst_head = head.head;
      row.worst_error = mean;
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].density = sums[i].first.mean();
    rows[i].output_error = sums[i].second.mean();
  }
  return rows;
}

}  // namespace attnlab::report
