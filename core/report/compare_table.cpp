#include "core/report/compare_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/report/format.hpp"

namespace attnlab::report {
namespace {

using measure::ComparedSubject;
using measure::Comparison;
using measure::Estimate;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// "1.6123 ± 0.0042": a mean and the reach of its interval.
std::string with_reach(const Estimate& e, const char* format, double scale = 1) {
  if (std::isnan(e.mean)) return "-";
  const std::string mean = fmt::format(fmt::runtime(format), scale * e.mean);
  if (std::isnan(e.low)) return mean;
  return fmt::format("{} ± {:.{}f}", mean, scale * (e.high - e.low) / 2, scale == 1 ? 4 : 1);
}

std::string loss_text(const Comparison& c, const ComparedSubject& s) {
  return s.diverged > 0 ? fmt::format("diverged {}/{}", s.diverged, c.seeds.size())
                        : with_reach(s.loss, "{:.4f}");
}

std::string difference_text(const Comparison& c, const ComparedSubject& s) {
  return &s == &c.base() ? "baseline" : with_reach(s.difference.difference, "{:+.4f}");
}

std::string p_text(const Comparison&, const ComparedSubject& s) {
  const double p = s.adjusted_p;
  if (std::isnan(p)) return "-";
  return p < 0.0001 ? "<0.0001" : fmt::format("{:.{}f}", p, p < 0.001 ? 4 : 3);
}

/// "512 B", "1.50 KiB".
std::string bytes_text(double bytes) {
  if (std::isnan(bytes)) return "-";
  if (bytes < 0) return fmt::format("{:.0f} B", bytes);
  if (bytes < 1024) return bytes == std::floor(bytes) ? fmt::format("{:.0f} B", bytes) : number(bytes) + " B";
  return byte_size(static_cast<uint64_t>(std::llround(bytes)));
}

double measured(const ComparedSubject& s, double (train::MeasuredState::*part)() const) {
  return s.state.refusal.empty() ? (s.state.*part)() : kNone;
}
double state_token(const Comparison&, const ComparedSubject& s) {
  return measured(s, &train::MeasuredState::per_token);
}
double state_sequence(const Comparison&, const ComparedSubject& s) {
  return measured(s, &train::MeasuredState::per_sequence);
}
double formula_token(const Comparison&, const ComparedSubject& s) {
  return s.size.state_bytes_per_token.value_or(kNone);
}
double formula_sequence(const Comparison&, const ComparedSubject& s) {
  return s.size.state_bytes.value_or(kNone);
}
template <double (*figure)(const Comparison&, const ComparedSubject&)>
std::string as_bytes(const Comparison& c, const ComparedSubject& s) {
  return bytes_text(figure(c, s));
}
template <double (*figure)(const Comparison&, const ComparedSubject&)>
std::string as_compact(const Comparison& c, const ComparedSubject& s) {
  return compact(figure(c, s));
}

double parameters(const Comparison&, const ComparedSubject& s) {
  return static_cast<double>(s.size.parameters);
}
double flops_per_token(const Comparison&, const ComparedSubject& s) {
  return s.size.flops_per_token;
}
double training_flops(const Comparison&, const ComparedSubject& s) {
  return s.flops();
}
double steps(const Comparison&, const ComparedSubject& s) {
  return static_cast<double>(s.steps);
}
double hidden(const Comparison&, const ComparedSubject& s) {
  return static_cast<double>(s.size.hidden);
}
template <double (*figure)(const Comparison&, const ComparedSubject&)>
std::string as_count(const Comparison& c, const ComparedSubject& s) {
  return fmt::format("{:.0f}", figure(c, s));
}
double training_speed(const Comparison&, const ComparedSubject& s) {
  return s.clock ? s.clock->tokens_per_second : kNone;
}
double decode_speed(const Comparison&, const ComparedSubject& s) {
  return s.clock && s.clock->decode_tokens_per_second > 0 ? s.clock->decode_tokens_per_second : kNone;
}
double memory(const Comparison&, const ComparedSubject& s) {
  return s.clock ? static_cast<double>(s.clock->memory_bytes) : kNone;
}
double loss(const Comparison&, const ComparedSubject& s) {
  return s.loss.mean;
}
double accuracy(const Comparison&, const ComparedSubject& s) {
  return s.accuracy.mean;
}
double difference(const Comparison&, const ComparedSubject& s) {
  return s.difference.difference.mean;
}
double adjusted_p(const Comparison&, const ComparedSubject& s) {
  return s.adjusted_p;
}
double finished(const Comparison&, const ComparedSubject& s) {
  return static_cast<double>(s.finished);
}

const std::vector<CompareColumn>& all_columns() {
  static const std::vector<CompareColumn> columns = {
      {"held-out", "loss", "validation_loss",
       "mean cross-entropy of the held-out windows, in nats, over seeds, with the reach of its 95 % interval",
       20, loss_text, loss},
      {"held-out", "accuracy", "validation_accuracy", "share of targets that the largest logit names", 2,
       [](const Comparison&, const ComparedSubject& s) {
         const std::string text = with_reach(s.accuracy, "{:.1f}", 100);
         return text == "-" ? text : text + " %";
       },
       accuracy},
      {"to baseline", "difference", "difference",
       "loss less the baseline's, paired by seed, with the reach of its 95 % interval; below 0 is better", 19,
       difference_text, difference},
      {"to baseline", "p", "p_holm",
       "of the paired t-test over seeds, two-sided, adjusted for the number of subjects by Holm's method", 17,
       p_text, adjusted_p},
      {"", "seeds", "finished", "finished trials", 3,
       [](const Comparison& c, const ComparedSubject& s) {
         return fmt::format("{}/{}", s.finished, c.seeds.size());
       },
       finished},
      {"size", "parameters", "parameters", "numbers that training changes", 16, as_compact<parameters>,
       parameters},
      {"size", "flop/token", "flops_per_token",
       "floating-point operations of matrix products in a forward of one window, per token", 15,
       as_compact<flops_per_token>, flops_per_token},
      {"size", "MLP", "mlp_dim", "hidden channels of an MLP", 1, as_count<hidden>, hidden},
      {"training", "steps", "steps", "updates", 4, as_count<steps>, steps},
      {"training", "flop", "training_flops", "operations of all updates, each three forwards of its tokens",
       5, as_compact<training_flops>, training_flops},
      {"state", "per token", "state_bytes_per_token",
       "bytes that decoding keeps for each token of a sequence, all layers together: measured", 14,
       as_bytes<state_token>, state_token},
      {"state", "fixed", "state_bytes_per_sequence", "bytes that it keeps whatever the length: measured", 13,
       as_bytes<state_sequence>, state_sequence},
      {"by formula", "per token", "formula_bytes_per_token", "the same by the scheme's own account", 7,
       as_bytes<formula_token>, formula_token},
      {"by formula", "fixed", "formula_bytes_per_sequence", "the same by the scheme's own account", 6,
       as_bytes<formula_sequence>, formula_sequence},
      {"tokens/s", "training", "training_tokens_per_second", "of updates, median", 11,
       as_compact<training_speed>, training_speed},
      {"tokens/s", "decode", "decode_tokens_per_second", "of decoding token after token, median", 10,
       as_compact<decode_speed>, decode_speed},
      {"", "memory", "memory_bytes", "parameters, moments, and the most that an update holds beside them", 8,
       as_bytes<memory>, memory},
  };
  return columns;
}

/// Columns whose figures would be the same words in every line say nothing in a table.
bool is_told(const CompareColumn& column, const Comparison& comparison) {
  bool any = false, differs = false;
  const std::string first = column.text(comparison, comparison.subjects.front());
  for (const ComparedSubject& subject : comparison.subjects) {
    const std::string text = column.text(comparison, subject);
    any = any || text != "-";
    differs = differs || text != first;
  }
  const bool optional = column.key == "steps" || column.key == "training_flops" || column.key == "mlp_dim";
  if (column.key == "finished") return !comparison.complete() || comparison.failed_trials() > 0;
  return any && (differs || !optional);
}

}  // namespace

std::vector<CompareColumn> compare_columns(const Comparison& comparison) {
  std::vector<CompareColumn> told;
  for (const CompareColumn& column : all_columns()) {
    if (is_told(column, comparison)) told.push_back(column);
  }
  return told;
}

const std::vector<CompareColumn>& compare_csv_columns() {
  static const std::vector<CompareColumn> columns = [] {
    std::vector<CompareColumn> all = all_columns();
    auto add = [&](const char* after, const char* key, auto value) {
      const auto at = std::find_if(all.begin(), all.end(), [&](const auto& c) { return c.key == after; });
      all.insert(at + 1, {"", "", key, "", 0, nullptr, value});
    };
    add("validation_loss", "validation_loss_high",
        [](const Comparison&, const ComparedSubject& s) { return s.loss.high; });
    add("validation_loss", "validation_loss_low",
        [](const Comparison&, const ComparedSubject& s) { return s.loss.low; });
    add("difference", "p", [](const Comparison&, const ComparedSubject& s) { return s.difference.p; });
    add("difference", "difference_high",
        [](const Comparison&, const ComparedSubject& s) { return s.difference.difference.high; });
    add("difference", "difference_low",
        [](const Comparison&, const ComparedSubject& s) { return s.difference.difference.low; });
    add("finished", "diverged",
        [](const Comparison&, const ComparedSubject& s) { return static_cast<double>(s.diverged); });
    return all;
  }();
  return columns;
}

std::string compare_summary(const Comparison& c) {
  std::string text = fmt::format("{} subjects, {} {}", c.subjects.size(), c.seeds.size(),
                                 c.seeds.size() == 1 ? "seed" : "seeds each");
  text += c.match == "parameters" ? "; parameters matched by the width of the MLP"
          : c.match == "compute"  ? "; compute matched by the number of updates"
                                  : "; neither parameters nor compute matched";
  if (c.windows > 0)
    text += fmt::format("; {} held-out windows of {} tokens, {} targets", c.windows, c.window, c.targets);
  return text + fmt::format("; baseline {}.", c.base().name);
}

std::vector<std::string> compare_method(const Comparison& c) {
  std::vector<std::string> lines = {
      "Trials with one seed share windows and their order, in training and in evaluation, so that "
      "differences "
      "are paired. ± is the reach of a 95 % interval of Student's t over seeds; p is two-sided and adjusted "
      "over all subjects (Holm). They speak for new seeds of this recipe on this task, not for other tasks.",
      "Operations are those of matrix products, a multiply-add counted twice, by the shapes of one forward; "
      "softmax, norms and pointwise work are left out. An update counts as three forwards."};
  for (const ComparedSubject& s : c.subjects) {
    if (!s.state.refusal.empty()) continue;
    lines.push_back(fmt::format(
        "State is what decoding keeps of one sequence in float32, all layers together, measured after {} and "
        "after {} tokens; the line through both gives its two parts.",
        s.state.short_tokens, s.state.long_tokens));
    break;
  }
  if (!c.machine.is_null())
    lines.push_back(fmt::format(
        "Clocks: medians of 20 updates and of 5 times {} decoded tokens{}, all "
        "subjects in turn in one process.",
        c.decode_tokens, c.decode_batch == 1 ? "" : fmt::format(" of {} sequences", c.decode_batch)));
  return lines;
}

std::string compare_machine(const Comparison& c) {
  if (c.machine.is_null()) return "";
  auto text = [&](const char* key) {
    const auto found = c.machine.find(key);
    return found == c.machine.end() ? std::string("?")
           : found->is_string()     ? found->get<std::string>()
                                    : found->dump();
  };
  return fmt::format("{}, {} threads, {}", text("cpu"), text("threads"), text("simd"));
}

std::string compact(double value) {
  if (!std::isfinite(value)) return "-";
  constexpr const char* units[] = {"", " k", " M", " G", " T", " P", " E"};
  size_t unit = 0;
  for (; std::fabs(value) >= 999.5 && unit + 1 < std::size(units); ++unit) value /= 1000;
  return unit == 0 && value == std::floor(value) ? fmt::format("{:.0f}", value) : number(value) + units[unit];
}

}  // namespace attnlab::report
