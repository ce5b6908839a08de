#include "core/cli/result_folder.hpp"

#include <filesystem>
#include <fstream>

#include "core/io/atomic_file.hpp"
#include "core/plugin/crash.hpp"
#include "core/report/report.hpp"

namespace attnlab::cli {
namespace {

using io::Json;

/// The rows of failed pipelines in a rows.jsonl.
std::vector<Json> rows_of(const std::string& file, const ChildFailures& failures) {
  std::vector<Json> rows;
  // Without that line the folder holds somebody else's rows.
  if (!failures.folder) return rows;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    Json row = Json::parse(line, nullptr, false);
    if (row.is_object() && row.contains("layer") && row.contains("pipeline") && row["pipeline"].is_string() &&
        failures.of.contains(row["pipeline"])) {
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace

ResultFolder::ResultFolder(std::string path, const Json& resolved, const Json& provenance,
                           const ChildFailures& failures)
    : path_(std::move(path)) {
  io::create_directories(path_);
  const std::vector<Json> made = rows_of(path_ + "/rows.jsonl", failures);
  // A folder holds one run: nothing of an earlier one may lie beside ours.
  for (const char* name :
       {"rows.jsonl", "result.json", "pictures.json", "time.json", "report.md", "report.html"}) {
    std::error_code ignored;
    std::filesystem::remove(path_ + "/" + name, ignored);
  }
  write("resolved.json", io::pretty_text(resolved));
  write("provenance.json", io::pretty_text(provenance));
  rows_ = std::make_unique<io::JsonlWriter>(path_ + "/rows.jsonl");
  for (const auto& row : made) rows_->append(row);
  for (const auto& [pipeline, failure] : failures.of) {
    rows_->append({{"pipeline", pipeline}, {"failure", failure.message}});
  }
  plugin::record_failure("", "folder", "");
}

void ResultFolder::append(const std::vector<measure::HeadRecord>& records) {
  for (const auto& record : records) rows_->append(measure::head_json(record));
}

void ResultFolder::finish(const measure::RunRecord& run) {
  write("result.json", io::pretty_text(measure::result_json(run)));
  write("pictures.json", io::line_text(measure::pictures_json(run)) + "\n");
  write("time.json", io::pretty_text(measure::time_json(run.time)));
  write("report.md", report::markdown(run));
  write("report.html", report::html(run));
}

void ResultFolder::write(const std::string& name, const std::string& text) const {
  io::write_file_atomically(path_ + "/" + name, text);
}

}  // namespace attnlab::cli
