#include "core/report/operators.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/operators_tables.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using measure::OperatorPoint;
using measure::OperatorScaling;
using measure::OperatorSpectrum;
using measure::OperatorsRecord;
using measure::SampleFigure;

/// Lines of one operator at one length.
class CsvLines {
 public:
  CsvLines(std::string& text, const std::string& part, const std::string& name, const std::string& scheme,
           int64_t tokens)
      : text_(text), start_(fmt::format("{},{},{},{}", part, csv_text(name), csv_text(scheme), tokens)) {}
  void figure(const char* key, const SampleFigure& f) {
    if (f.samples > 0) text_ += fmt::format("{},{},{},{},,\n", start_, key, f.mean, f.deviation);
  }
  void seconds(const char* key, const std::vector<double>& values) {
    if (values.empty()) return;
    const measure::Spread s = measure::spread(values);
    text_ += fmt::format("{},{},{},,{},{}\n", start_, key, s.median, s.minimum, s.maximum);
  }
  void count(const char* key, uint64_t value) { text_ += fmt::format("{},{},{},,,\n", start_, key, value); }

 private:
  std::string& text_;
  std::string start_;
};

}  // namespace

std::string operators_text(const OperatorsRecord& record) {
  std::string text;
  for (const std::string& fact : operators_facts(record)) text += fact + "\n";
  for (const PlainTable& table : operators_tables(record)) text += "\n" + plain_text(table);
  const std::vector<std::string> notes = operators_notes(record);
  if (!notes.empty()) text += "\n";
  for (const std::string& note : notes) text += "note: " + clean(note) + "\n";
  return text;
}

std::string operators_markdown(const OperatorsRecord& record) {
  std::string text = "# " + markdown_text(operators_title(record)) + "\n\n";
  for (const std::string& fact : operators_facts(record)) text += markdown_text(fact) + "\n\n";
  for (const std::string& note : operators_notes(record)) text += "- " + markdown_text(note) + "\n";
  for (const PlainTable& table : operators_tables(record)) text += "\n" + plain_markdown(table);
  return text;
}

std::string operators_csv(const OperatorsRecord& record) {
  std::string text = "part,operator,scheme,tokens,figure,value,deviation,minimum,maximum\n";
  for (const OperatorSpectrum& s : record.spectra) {
    CsvLines lines(text, "spectrum", s.name, s.scheme, s.tokens);
    if (!s.refused.empty()) continue;
    lines.figure("rank", s.rank), lines.figure("effective_rank", s.effective_rank);
    lines.figure("participation_ratio", s.participation_ratio), lines.figure("stable_rank", s.stable_rank);
    lines.figure("row_entropy", s.entropy), lines.figure("row_entropy_share", s.entropy_share);
    lines.figure("top_tenth_mass", s.top_mass), lines.figure("hankel_rank", s.hankel_rank);
  }
  for (const OperatorScaling& s : record.scaling) {
    for (const OperatorPoint& point : s.points) {
      CsvLines lines(text, "scaling", s.name, s.scheme, point.tokens);
      lines.seconds("prefill_seconds", point.prefill);
      lines.seconds("decode_seconds_per_token", point.decode);
      if (point.state_bytes) lines.count("state_bytes", *point.state_bytes);
    }
  }
  return text;
}

}  // namespace attnlab::report
