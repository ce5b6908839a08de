#include "core/model/parameters.hpp"

#include <attnlab/philox.hpp>

#include <cmath>

#include "core/base/error.hpp"
#include "core/base/hash.hpp"

namespace attnlab::model {
namespace {

using graph::Array;
using graph::Element;

void set(Array& array, int64_t i, double value) {
  if (array.element() == Element::f32) {
    array.mutable_data<float>()[i] = static_cast<float>(value);
  } else {
    array.mutable_data<double>()[i] = value;
  }
}

uint64_t key_of(const std::string& name) {
  return std::stoull(base::hash_hex(name).substr(0, 16), nullptr, 16);
}

/// Standard deviation of normal first values, or 0.
double deviation_of(const Parameter& p) {
  if (p.init == "normal") return p.init_scale;
  if (p.init == "fan_in")
    return p.init_scale /
           std::sqrt(static_cast<double>(p.value.shape().empty() ? 1 : p.value.shape().back()));
  return 0;
}

}  // namespace

void ParameterSet::add(const std::string& prefix, const plugin::SchemeParameter& parameter) {
  const std::string name = prefix + parameter.name;
  const bool fresh = index_.emplace(name, parameters_.size()).second;
  ATTNLAB_CHECK(fresh, name);
  parameters_.push_back({name, Array::zeros(precision_, parameter.shape), parameter.init,
                         parameter.init_scale, parameter.residual});
}

void ParameterSet::initialise(uint64_t seed, int64_t layers) {
  for (Parameter& p : parameters_) {
    const double depth = p.residual ? 1 / std::sqrt(2 * static_cast<double>(layers)) : 1;
    const double deviation = deviation_of(p) * depth;
    const double constant = p.init == "ones" ? 1 : p.init == "constant" ? p.init_scale : 0;
    attnlab::Philox random(attnlab::mix_key(seed, key_of(p.name)));
    for (int64_t i = 0; i < p.value.size(); ++i)
      set(p.value, i, deviation > 0 ? deviation * random.normal() : constant);
  }
}

void ParameterSet::assign(const std::string& name, const tensor::Tensor& value, const std::string& file) {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    std::vector<std::string> names;
    for (const Parameter& p : parameters_) names.push_back(p.name);
    throw base::UserError("holds a tensor that the model does not have",
                          {.file = file,
                           .pointer = name,
                           .allowed = "the model's parameters",
                           .suggestion = base::did_you_mean(name, names)});
  }
  Array& target = parameters_[found->second].value;
  const graph::Extents shape(value.shape().begin(), value.shape().end());
  if (shape != target.shape()) {
    throw base::UserError("a tensor has other extents than the model",
                          {.file = file,
                           .pointer = name,
                           .found = graph::to_string(shape),
                           .allowed = graph::to_string(target.shape())});
  }
  const Array converted = Array::from(value, precision_);
  auto finite = [](double x) { return std::isfinite(x); };
  for (int64_t i = 0; i < converted.size(); ++i) {
    const double x = precision_ == Element::f32 ? static_cast<double>(converted.data<float>()[i])
                                                : converted.data<double>()[i];
    if (!finite(x))
      throw base::UserError(
          "a tensor holds a value that is not finite",
          {.file = file, .pointer = name + "[" + std::to_string(i) + "]", .found = std::to_string(x)});
    set(target, i, x);
  }
}

const Parameter* ParameterSet::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &parameters_[found->second];
}

int64_t ParameterSet::count() const {
  int64_t total = 0;
  for (const Parameter& p : parameters_) total += p.value.size();
  return total;
}

Bound::Bound(const ParameterSet& parameters, bool watched) {
  for (const Parameter& p : parameters.all()) {
    nodes_.emplace_back(new graph::Node(p.value, watched));
    by_name_[p.name] = nodes_.back();
  }
}

Bound::Bound(const ParameterSet& parameters, std::span<const Var> values) {
  ATTNLAB_CHECK(values.size() == parameters.all().size(), "one value per parameter");
  for (const Parameter& p : parameters.all()) {
    nodes_.emplace_back(graph::from_handle(values[nodes_.size()].node()));
    by_name_[p.name] = nodes_.back();
  }
}

graph::NodePtr Bound::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace attnlab::model
