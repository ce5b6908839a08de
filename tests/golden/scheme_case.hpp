// A case of shared/golden/schemes: named float64 tensors and what the manifest says of them.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/graph/array.hpp"
#include "core/io/json.hpp"

namespace attnlab::golden {

/// The folder of all cases: $ATTNLAB_SHARED/golden/schemes, else beside the repository.
std::filesystem::path scheme_folder();

class SchemeCase {
 public:
  /// Reads the manifest; throws base::UserError for a folder that is not a case.
  explicit SchemeCase(const std::string& name);

  const std::string& name() const { return name_; }
  const io::Json& config() const { return manifest_["config"]; }
  double scalar(const std::string& name) const { return manifest_["scalars"][name].get<double>(); }
  bool has(const std::string& tensor) const { return manifest_["tensors"].contains(tensor); }
  /// For instance "in.x"; integers stay integers, other elements become float64.
  graph::Array tensor(const std::string& name) const;
  /// Names with this prefix, which is cut off: "param." gives "c_attn.weight" ....
  std::vector<std::string> names(const std::string& prefix) const;

 private:
  std::string name_;
  std::filesystem::path folder_;
  io::Json manifest_;
};

/// Largest |a - b| divided by the largest |b|, or by `least` if that is more; infinity where shapes differ or
/// a is not finite.
double relative_error(const graph::Array& a, const graph::Array& b, double least = 0);
double largest_magnitude(const graph::Array& a);

}  // namespace attnlab::golden
