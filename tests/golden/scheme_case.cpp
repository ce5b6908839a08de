#include "tests/golden/scheme_case.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/io/atomic_file.hpp"
#include "core/io/npy.hpp"

namespace attnlab::golden {

std::filesystem::path scheme_folder() {
  const char* shared = std::getenv("ATTNLAB_SHARED");
  return std::filesystem::path(shared != nullptr ? shared : ATTNLAB_SHARED_DIR) / "golden" / "schemes";
}

SchemeCase::SchemeCase(const std::string& name)
    : name_(name),
      folder_(scheme_folder() / name),
      manifest_(io::Json::parse(io::read_text((folder_ / "manifest.json").string(), size_t{1} << 20))) {}

graph::Array SchemeCase::tensor(const std::string& name) const {
  const std::string file = manifest_["tensors"][name]["file"].get<std::string>();
  const tensor::Tensor tensor = io::read_npy((folder_ / file).string());
  return graph::Array::from(tensor,
                            tensor.dtype() == tensor::DType::i64 ? graph::Element::i64 : graph::Element::f64);
}

std::vector<std::string> SchemeCase::names(const std::string& prefix) const {
  std::vector<std::string> found;
  for (const auto& [name, description] : manifest_["tensors"].items()) {
    if (name.starts_with(prefix)) found.push_back(name.substr(prefix.size()));
  }
  return found;
}

double largest_magnitude(const graph::Array& a) {
  const graph::Array x = a.as(graph::Element::f64).packed();
  double largest = 0;
  for (int64_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(x.data<double>()[i]));
  return largest;
}

double relative_error(const graph::Array& a, const graph::Array& b, double least) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (a.shape() != b.shape()) return infinity;
  const graph::Array x = a.as(graph::Element::f64).packed(), y = b.as(graph::Element::f64).packed();
  double error = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x.data<double>()[i])) return infinity;
    error = std::max(error, std::abs(x.data<double>()[i] - y.data<double>()[i]));
  }
  return error == 0 ? 0 : error / std::max(least, largest_magnitude(b));
}

}  // namespace attnlab::golden
