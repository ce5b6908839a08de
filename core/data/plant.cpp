// Queries and keys for given softmax masses.
#include <array>
#include <attnlab/philox.hpp>
#include <cmath>

#include "core/data/known_mass.hpp"
#include "core/data/normals.hpp"
#include "core/data/workload_streams.hpp"

namespace attnlab::data {
namespace {

using config::WorkloadSpec;
using tensor::Tensor;

/// The Householder reflection that takes channel 0 to a random direction: x - 2 (a.x) / (a.a) a, a = e_0 - u.
/// Reflecting both q and k leaves q.k alone.
class Reflection {
 public:
  Reflection(uint64_t key, uint64_t stream, size_t head_dim) : axis_(head_dim) {
    Philox philox(key, stream);
    double length = 0;
    for (double& x : axis_) {
      x = philox.normal();
      length += x * x;
    }
    length = std::sqrt(length);
    double square = 0;
    for (size_t i = 0; i < axis_.size(); ++i) {
      axis_[i] = (i == 0 ? 1 : 0) - axis_[i] / length;
      square += axis_[i] * axis_[i];
    }
    // u = e_0 (certain to happen for head_dim 1, half of the time): nothing to reflect.
    factor_ = square > 0 ? 2 / square : 0;
  }

  void apply(std::span<float> x) const {
    double product = 0;
    for (size_t i = 0; i < x.size(); ++i) product += axis_[i] * static_cast<double>(x[i]);
    product *= factor_;
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(x[i] - product * axis_[i]);
  }

 private:
  std::vector<double> axis_;
  double factor_ = 0;
};

/// How the rows of one tensor are written.
struct RowForm {
  enum class Role { query, key } role = Role::query;
  uint64_t noise_key = 0;
  /// [rank, noise dimensions]: each row adds a N(0, 1) combination of these to its noise.
  std::vector<float> loadings;
  size_t rank = 0;
  uint64_t low_rank_key = 0;
};

void add_low_rank(std::span<float> noise, const RowForm& form, uint64_t stream) {
  std::array<float, static_cast<size_t>(max_cone_rank)> factors;
  fill_normals(form.low_rank_key, stream, std::span(factors).first(form.rank));
  for (size_t r = 0; r < form.rank; ++r) {
    const float* loading = form.loadings.data() + r * noise.size();
    for (size_t i = 0; i < noise.size(); ++i) noise[i] += factors[r] * loading[i];
  }
}

/// Writes `signal` along the reflection's direction plus noise from the stream; `row` holds zeros. Before the
/// reflection, channel 0 holds the signal and channels (1, 2), (3, 4), ... hold (n, n) in queries and (n, -n)
/// in keys: orthogonal whatever n is, in floating point too, and yet no channel is free of either. When
/// head_dim is even the last three channels are (n, n, n) and (n, n, -2n).
void write_row(std::span<float> row, float signal, const RowForm& form, uint64_t stream,
               const Reflection& reflection) {
  const bool is_query = form.role == RowForm::Role::query;
  size_t pairs = (row.size() - 1) / 2;
  row[0] = signal;
  // The variates start in the upper half of the pairs' channels, so that spreading them overwrites none
  // unread.
  std::span<float> noise = row.subspan(1 + pairs, pairs);
  fill_normals(form.noise_key, stream, noise);
  if (form.rank > 0) add_low_rank(noise, form, stream);
  for (size_t pair = 0; pair < pairs; ++pair) {
    float n = noise[pair];
    row[1 + 2 * pair] = n;
    row[2 + 2 * pair] = is_query ? n : -n;
  }
  if (pairs > 0 && row.size() % 2 == 0) {
    float n = row[row.size() - 3];
    row[row.size() - 2] = n;
    row.back() = is_query ? n : -2 * n;
  }
  reflection.apply(row);
}

/// The keys' form; `cone` adds a low-rank part with the variance of the other noise, the same in all heads.
RowForm key_form(const WorkloadSpec& spec, int layer) {
  RowForm form{RowForm::Role::key, key_of(spec, layer, Purpose::key)};
  if (spec.kind != "cone" || spec.rank == 0) return form;
  form.rank = static_cast<size_t>(spec.rank);
  form.low_rank_key = key_of(spec, layer, Purpose::low_rank);
  form.loadings.resize(form.rank * static_cast<size_t>((spec.head_dim - 1) / 2));
  fill_normals(key_of(spec, layer, Purpose::loading), 0, form.loadings);
  const float unit = 1 / std::sqrt(static_cast<float>(spec.rank));
  for (float& x : form.loadings) x *= unit;
  return form;
}

}  // namespace

void plant(const WorkloadSpec& spec, int layer, const Tensor& mass, TensorPart& query, TensorPart& key) {
  const auto head_dim = static_cast<size_t>(spec.head_dim);
  const auto group = static_cast<size_t>(spec.query_heads / spec.kv_heads);
  std::vector<Reflection> reflections;
  for (int64_t head = 0; head < spec.batch * spec.kv_heads; ++head) {
    reflections.emplace_back(key_of(spec, layer, Purpose::direction), static_cast<uint64_t>(head), head_dim);
  }

  const double length = std::sqrt(static_cast<double>(head_dim));
  const auto query_signal = static_cast<float>(length);
  const RowForm query_form{RowForm::Role::query, key_of(spec, layer, Purpose::query)};
  for_each_row(query, [&](size_t head, size_t row, std::span<float> out) {
    write_row(out, query_signal, query_form, row, reflections[head / group]);
  });

  const float* masses = mass.values<float>().data();
  const float* first_channel = key.tensor.values<float>().data();
  // Centred logits keep k short and its rounding small.
  const double mean_logit = mean_log_mass(spec, layer);
  // The factor undoes the rounding of query_signal.
  const double logit_unit = length / query_signal;
  const double offset = spec.kind == "cone" ? -spec.mean_norm * length : 0;
  const RowForm form = key_form(spec, layer);
  for_each_row(key, [&](size_t head, size_t row, std::span<float> out) {
    const auto place = static_cast<size_t>(out.data() - first_channel) / head_dim;
    double signal = (std::log(static_cast<double>(masses[place])) - mean_logit) * logit_unit + offset;
    write_row(out, static_cast<float>(signal), form, row, reflections[head]);
  });
}

}  // namespace attnlab::data
