#include "tests/golden/mhla_case.hpp"

#include <algorithm>
#include <cstdlib>

#include "core/io/atomic_file.hpp"
#include "core/io/npy.hpp"

namespace attnlab::golden {

std::filesystem::path mhla_folder() {
  const char* shared = std::getenv("ATTNLAB_SHARED");
  return std::filesystem::path(shared != nullptr ? shared : ATTNLAB_SHARED_DIR) / "golden" / "mhla";
}

MhlaCase::MhlaCase(const std::string& name)
    : name_(name),
      folder_(mhla_folder() / name),
      manifest_(io::Json::parse(io::read_text((folder_ / "manifest.json").string(), size_t{1} << 20))) {}

std::vector<std::string> MhlaCase::tensors(const std::string& prefix) const {
  std::vector<std::string> names;
  for (const auto& [name, about] : manifest_["arrays"].items()) {
    if (name.starts_with(prefix)) names.push_back(name);
  }
  return names;
}

graph::Array MhlaCase::tensor(const std::string& name) const {
  const std::string file = manifest_["arrays"][name]["file"].get<std::string>();
  return graph::Array::from(io::read_npy((folder_ / file).string()), graph::Element::f64);
}

std::vector<std::string> mhla_cases(const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(mhla_folder())) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace attnlab::golden
