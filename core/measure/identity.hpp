// What makes two runs the same: the resolved config and the content of the files that decide the result.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/config/run_plan.hpp"
#include "core/data/problem.hpp"

namespace attnlab::measure {

/// Files whose content decides a run's result.
struct InputFiles {
  std::vector<std::string> data;     ///< of the input and of stages' parameters
  std::vector<std::string> plugins;  ///< ascending
};
InputFiles input_files(const config::RunPlan& plan, const plugin::Catalog& catalog,
                       const data::Source& source);

/// The resolved config, completed by what only the input knows. It can be run as it is.
io::Json complete_config(const config::RunPlan& plan, const plugin::Catalog& catalog,
                         const data::Source& source);

/// Hash of a file's content.
using FileHash = std::function<std::string(const std::string& path)>;

/// A content hash: equal for equal results, wherever the files lie and however many threads run. `complete`:
/// what complete_config gives for the plan.
std::string run_id(const config::RunPlan& plan, const plugin::Catalog& catalog, const io::Json& complete,
                   const InputFiles& files, const FileHash& hash);

}  // namespace attnlab::measure
