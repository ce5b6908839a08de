#include "core/report/operators_tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/report/format.hpp"

namespace attnlab::report {
namespace {

using measure::Crossover;
using measure::OperatorPoint;
using measure::OperatorScaling;
using measure::OperatorSpectrum;
using measure::OperatorsRecord;
using measure::Quantity;
using measure::SampleFigure;

/// "333 ± 1.2"; "-" without samples.
std::string figure_text(const SampleFigure& figure, int digits = 4) {
  if (figure.samples == 0) return "-";
  const std::string mean = number(figure.mean, digits);
  return figure.deviation > 0 ? mean + " ± " + number(figure.deviation, 2) : mean;
}
/// A count needs no decimals.
std::string count_text(const SampleFigure& figure) {
  const bool whole = figure.samples > 0 && figure.deviation == 0 && figure.mean == std::floor(figure.mean);
  return whole ? fmt::format("{:.0f}", figure.mean) : figure_text(figure);
}

PlainTable spectrum_table(const OperatorsRecord& record) {
  const config::SpectrumPlan& plan = *record.plan.spectrum;
  PlainTable table{
      "Spectra of the weights",
      "Means ± standard deviations over the samples. rank: singular values above sigma_1 N epsilon. "
      "effective rank: exp of the entropy of sigma / sum. participation: (sum sigma)^2 / sum sigma^2. stable "
      "rank: sum sigma^2 / sigma_1^2. H/ln n: entropy of a row over the log of the keys that it sees. top "
      "tenth: mass of the largest tenth of the keys. Rows that are not probabilities have neither.",
      {{"operator", "tokens", "rank", "effective rank", "participation", "stable rank", "H/ln n",
        "top tenth"}},
      1};
  if (plan.hankel) {
    table.rows[0].emplace_back("Hankel rank");
    table.about += " Hankel rank: largest rank of A[t:, :t], what decoding must keep.";
  }
  for (const OperatorSpectrum& s : record.spectra) {
    std::vector<std::string> row{s.name, fmt::format("{}", s.tokens)};
    if (s.refused.empty()) {
      for (const std::string& cell :
           {count_text(s.rank), figure_text(s.effective_rank), figure_text(s.participation_ratio),
            figure_text(s.stable_rank), figure_text(s.entropy_share, 3), figure_text(s.top_mass, 3)})
        row.push_back(cell);
      if (plan.hankel) row.push_back(count_text(s.hankel_rank));
    }
    row.resize(table.rows[0].size(), "-");
    table.rows.push_back(std::move(row));
  }
  return table;
}

/// Lengths that any operator reached.
std::vector<int64_t> lengths_of(const OperatorsRecord& record, Quantity quantity) {
  std::vector<int64_t> lengths;
  for (const OperatorScaling& s : record.scaling) {
    for (const OperatorPoint& point : s.points) {
      if (!std::isnan(value_of(point, quantity))) lengths.push_back(point.tokens);
    }
  }
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

/// Half the range as a share of the median; the slowest step.
std::string time_text(const OperatorPoint& point, Quantity quantity) {
  const std::string median = duration(value_of(point, quantity));
  if (quantity == Quantity::decode)
    return median + ", at most " + duration(measure::spread(point.decode).maximum);
  const measure::Spread s = measure::spread(point.prefill);
  return point.prefill.size() < 2
             ? median + " once"
             : fmt::format("{} ± {:.0f} %", median, 50 * (s.maximum - s.minimum) / s.median);
}

std::string cell_text(const OperatorScaling& scaling, int64_t tokens, Quantity quantity) {
  for (const OperatorPoint& point : scaling.points) {
    if (point.tokens != tokens || std::isnan(value_of(point, quantity))) continue;
    return quantity == Quantity::state ? byte_size(*point.state_bytes) : time_text(point, quantity);
  }
  return "-";
}

PlainTable scaling_table(const OperatorsRecord& record, Quantity quantity) {
  PlainTable table;
  switch (quantity) {
    case Quantity::prefill:
      table.title = "Prefill, time per token";
      table.about = "Median over the rounds of the time of a whole forward / tokens ± half the range.";
      break;
    case Quantity::decode:
      table.title = "Decoding, time per token";
      table.about = "Steps of one token after so many; the median and the slowest.";
      break;
    case Quantity::state:
      table.title = "State";
      table.about = "What decoding keeps after so many tokens.";
      break;
  }
  table.rows.push_back({"tokens"});
  table.left = 0;
  for (const OperatorScaling& s : record.scaling) table.rows[0].push_back(s.name);
  for (const int64_t tokens : lengths_of(record, quantity)) {
    table.rows.push_back({fmt::format("{}", tokens)});
    for (const OperatorScaling& s : record.scaling)
      table.rows.back().push_back(cell_text(s, tokens, quantity));
  }
  return table;
}

PlainTable crossover_table(const std::vector<Crossover>& found) {
  PlainTable table{"Crossovers",
                   "From where on an operator stays below " + found[0].against +
                       ", straight lines between logarithms of the lengths measured.",
                   {{"operator", "what", "below " + found[0].against}},
                   3};
  for (const Crossover& c : found) {
    const char* what[] = {"prefill, time per token", "decoding, time per token", "state"};
    table.rows.push_back({c.name, what[static_cast<size_t>(c.quantity)], crossover_text(c)});
  }
  return table;
}

}  // namespace

std::string crossover_text(const Crossover& c) {
  switch (c.kind) {
    case Crossover::Kind::at:
      return fmt::format("from about {:.0f} tokens on", c.tokens);
    case Crossover::Kind::everywhere:
      return c.first == c.last ? fmt::format("at {}", c.first)
                               : fmt::format("at all lengths, {} to {}", c.first, c.last);
    case Crossover::Kind::never:
      break;
  }
  return fmt::format("not at {}", c.last);
}

std::vector<PlainTable> operators_tables(const OperatorsRecord& record) {
  std::vector<PlainTable> tables;
  if (!record.spectra.empty()) tables.push_back(spectrum_table(record));
  for (const Quantity quantity : {Quantity::prefill, Quantity::decode, Quantity::state}) {
    PlainTable table = scaling_table(record, quantity);
    if (table.rows.size() > 1) tables.push_back(std::move(table));
  }
  if (const auto found = measure::crossovers(record.scaling); !found.empty())
    tables.push_back(crossover_table(found));
  return tables;
}

std::string operators_title(const OperatorsRecord& record) {
  return record.plan.title.empty() ? "Operators" : record.plan.title;
}

std::vector<std::string> operators_facts(const OperatorsRecord& record) {
  std::vector<std::string> facts;
  if (record.plan.spectrum) {
    const config::SpectrumPlan& p = *record.plan.spectrum;
    facts.push_back(fmt::format(
        "Spectra: one head, {} channels of q and k drawn from N(0, 1), {} sample{}, "
        "seed {}, {}, float64.",
        p.head_dim, p.samples, p.samples == 1 ? "" : "s", p.seed, p.causal ? "causal" : "not causal"));
  }
  if (record.plan.scaling) {
    const config::ScalingPlan& p = *record.plan.scaling;
    std::string fact = fmt::format("Time: {} heads of {} channels, {}, float32, {} thread{}, {}", p.heads,
                                   p.head_dim, p.causal ? "causal" : "not causal", record.threads,
                                   record.threads == 1 ? "" : "s", record.simd_target);
    if (record.roof)
      fact += fmt::format("; probes of the machine: {:.0f} GFLOP/s of multiply-adds, {:.1f} GB/s read",
                          record.roof->flops / 1e9, record.roof->read_bytes / 1e9);
    facts.push_back(fact + ".");
  }
  return facts;
}

std::vector<std::string> operators_notes(const OperatorsRecord& record) {
  std::vector<std::string> notes;
  for (const OperatorSpectrum& s : record.spectra) {
    if (!s.refused.empty()) notes.push_back(fmt::format("{} at {} tokens: {}", s.name, s.tokens, s.refused));
  }
  for (const OperatorScaling& s : record.scaling) {
    for (const std::string& note : s.notes) notes.push_back(s.name + ": " + note);
  }
  return notes;
}

}  // namespace attnlab::report
