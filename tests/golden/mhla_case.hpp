// A case of shared/golden/mhla: tensors by name and what the manifest says of them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/graph/array.hpp"
#include "core/io/json.hpp"

namespace attnlab::golden {

/// The folder of all cases: $ATTNLAB_SHARED/golden/mhla, else beside the repository.
std::filesystem::path mhla_folder();

class MhlaCase {
 public:
  /// Reads the manifest; throws base::UserError for a folder that is not a case.
  explicit MhlaCase(const std::string& name);

  const std::string& name() const { return name_; }
  const io::Json& params() const { return manifest_["params"]; }
  const io::Json& checks() const { return manifest_["checks"]; }
  /// What the manifest says of a tensor beside its file: "role", "causal" ....
  const io::Json& about(const std::string& tensor) const { return manifest_["arrays"][tensor]; }
  std::vector<std::string> tensors(const std::string& prefix) const;
  /// As float64.
  graph::Array tensor(const std::string& name) const;

 private:
  std::string name_;
  std::filesystem::path folder_;
  io::Json manifest_;
};

/// Names of the cases that start so, in order.
std::vector<std::string> mhla_cases(const std::string& prefix);

}  // namespace attnlab::golden
