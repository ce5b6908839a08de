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
  write("resolved.json", resolved, 2);
  write("provenance.json", provenance, 2);
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
  write("result.json", measure::result_json(run), 2);
  write("pictures.json", measure::pictures_json(run), -1);
  write("time.json", measure::time_json(run.time), 2);
  io::write_file_atomically(path_ + "/report.md", report::markdown(run));
  io::write_file_atomically(path_ + "/report.html", report::html(run));
}

/// Names and paths may hold any bytes: what is not UTF-8 is replaced.
void ResultFolder::write(const char* name, const Json& json, int indent) const {
  io::write_file_atomically(path_ + "/" + name,
                            json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace attnlab::cli
