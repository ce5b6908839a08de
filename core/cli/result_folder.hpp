// The folder of a run, filled as the run goes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/cli/isolate.hpp"
#include "core/io/jsonl.hpp"
#include "core/measure/record.hpp"

namespace attnlab::cli {

/// Whatever ends the process, what was appended stays. Errors are UserError (Exit::failed) and name the file.
class ResultFolder {
 public:
  /// Makes the folder, or empties it of an earlier run, and writes resolved.json and provenance.json. Rows
  /// that earlier children of this run measured of pipelines before these failed are kept.
  ResultFolder(std::string path, const io::Json& resolved, const io::Json& provenance,
               const ChildFailures& failures);
  /// Lines of rows.jsonl.
  void append(const std::vector<measure::HeadRecord>& records);
  /// result.json, pictures.json, time.json and the reports.
  void finish(const measure::RunRecord& run);

 private:
  void write(const std::string& name, const std::string& text) const;

  std::string path_;
  std::unique_ptr<io::JsonlWriter> rows_;
};

}  // namespace attnlab::cli
