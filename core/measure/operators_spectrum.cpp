// Spectra of operators: their weights written out.
#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/parallel.hpp"
#include "core/measure/operators.hpp"
#include "core/measure/operators_bound.hpp"
#include "core/measure/spectrum.hpp"

namespace attnlab::measure {
namespace {

using graph::Array;
using graph::Element;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
/// An operator that differs from A v by more is not A v.
constexpr double linear_tolerance = 1e-9;
constexpr int64_t probe_columns = 4;

/// The operator's output for one draw of q and k: of v = I, and of another v.
struct Outputs {
  Array weights, v, output;
  int64_t tokens = 0;
};

/// Of one draw.
struct SampleSpectrum {
  double rank = 0, effective_rank = 0, participation_ratio = 0, stable_rank = 0;
  std::optional<RowFigures> rows;
  double hankel_rank = not_a_number;
  double nonlinearity = 0;
  bool finite = true;
  std::vector<double> singular;
};

Array identity(int64_t n) {
  Array result = Array::zeros(Element::f64, {1, 1, n, n});
  for (int64_t i = 0; i < n; ++i) result.mutable_data<double>()[i * n + i] = 1;
  return result;
}

/// Normal values in the first channels, 0 in the others.
Array probe_values(int64_t n, uint64_t key) {
  Array result = Array::zeros(Element::f64, {1, 1, n, n});
  const int64_t columns = std::min(probe_columns, n);
  Array target = result.sliced(-1, 0, columns);
  graph::copy_elements(normal_array({1, 1, n, columns}, key, Element::f64), target);
  return result;
}

bool all_finite(const Array& a) {
  return std::all_of(a.data<double>(), a.data<double>() + a.size(),
                     [](double x) { return std::isfinite(x); });
}

/// Largest |A v - output| / largest |output|.
double distance(const Array& weights, const Array& v, const Array& output, int64_t n) {
  const int64_t columns = std::min(probe_columns, n);
  double most = 0, largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double* row = weights.data<double>() + i * n;
    const double* out = output.data<double>() + i * n;
    for (int64_t c = 0; c < n; ++c) {
      double product = 0;
      for (int64_t j = 0; j < n && c < columns; ++j) product += row[j] * v.data<double>()[j * n + c];
      most = std::max(most, std::abs(product - out[c]));
      largest = std::max(largest, std::abs(out[c]));
    }
  }
  return most == 0 ? 0 : largest == 0 ? std::numeric_limits<double>::infinity() : most / largest;
}

Outputs outputs_of(const BoundOperator& bound, const config::SpectrumPlan& plan, int64_t n, uint64_t sample) {
  const auto normal = [&](uint64_t which) {
    return normal_array({1, 1, n, plan.head_dim}, mix_key(plan.seed, sample, which), Element::f64);
  };
  const Array q = normal(0), k = normal(1), v = probe_values(n, mix_key(plan.seed, sample, 2));
  return {bound.forward(q, k, identity(n)).packed(), v, bound.forward(q, k, v).packed(), n};
}

SampleSpectrum figures_of(const Outputs& made, const config::SpectrumPlan& plan) {
  const int64_t n = made.tokens;
  SampleSpectrum result;
  result.finite = all_finite(made.weights) && all_finite(made.output);
  if (!result.finite) return result;
  result.nonlinearity = distance(made.weights, made.v, made.output, n);
  if (result.nonlinearity > linear_tolerance) return result;
  const MatrixView a(made.weights.data<double>(), n, n);
  result.singular = singular_values(a);
  result.rank = static_cast<double>(numerical_rank(result.singular, n, n));
  result.effective_rank = effective_rank(result.singular);
  result.participation_ratio = participation_ratio(result.singular);
  result.stable_rank = stable_rank(result.singular);
  result.rows = row_figures(a, plan.causal);
  if (plan.hankel) result.hankel_rank = static_cast<double>(hankel_rank(a, hankel_cuts(n)));
  return result;
}

template <class Value>
SampleFigure over(const std::vector<SampleSpectrum>& samples, const Value& value) {
  std::vector<double> values;
  for (const SampleSpectrum& sample : samples) {
    if (const double x = value(sample); !std::isnan(x)) values.push_back(x);
  }
  return sample_figure(values);
}

/// Places 1, 2, 3, 4, 6, 8, ... up to n: two in each octave.
std::vector<int64_t> decay_places(int64_t n) {
  std::vector<int64_t> places;
  for (int64_t place = 1; place <= n; place *= 2) {
    places.push_back(place);
    if (place > 1 && place + place / 2 <= n) places.push_back(place + place / 2);
  }
  if (places.back() != n) places.push_back(n);
  return places;
}

OperatorSpectrum summary(const std::vector<SampleSpectrum>& samples, const config::OperatorPlan& plan,
                         int64_t tokens) {
  OperatorSpectrum result;
  result.name = plan.name, result.scheme = plan.scheme.scheme, result.tokens = tokens;
  for (const SampleSpectrum& s : samples) {
    result.nonlinearity = std::max(result.nonlinearity, s.nonlinearity);
    if (!s.finite) result.refused = "its output holds values that are not finite";
  }
  if (result.refused.empty() && result.nonlinearity > linear_tolerance)
    result.refused = "it is not linear in v: it has no weights of its own";
  if (!result.refused.empty()) return result;
  using S = SampleSpectrum;
  const auto rows = [&](double RowFigures::*figure) {
    return over(samples, [&](const S& s) { return s.rows ? (*s.rows).*figure : not_a_number; });
  };
  result.rank = over(samples, [](const S& s) { return s.rank; });
  result.effective_rank = over(samples, [](const S& s) { return s.effective_rank; });
  result.participation_ratio = over(samples, [](const S& s) { return s.participation_ratio; });
  result.stable_rank = over(samples, [](const S& s) { return s.stable_rank; });
  result.entropy = rows(&RowFigures::entropy);
  result.entropy_share = rows(&RowFigures::entropy_share);
  result.top_mass = rows(&RowFigures::top_mass);
  result.hankel_rank = over(samples, [](const S& s) { return s.hankel_rank; });
  for (const int64_t place : decay_places(tokens)) {
    const SampleFigure ratio = over(samples, [&](const S& s) {
      return s.singular.front() > 0 ? s.singular[static_cast<size_t>(place - 1)] / s.singular.front() : 0.0;
    });
    result.decay.emplace_back(place, ratio.mean);
  }
  return result;
}

}  // namespace

SampleFigure sample_figure(const std::vector<double>& values) {
  SampleFigure figure;
  figure.samples = static_cast<int64_t>(values.size());
  if (values.empty()) return {not_a_number, not_a_number, 0};
  const auto count = static_cast<double>(values.size());
  for (const double x : values) figure.mean += x;
  figure.mean /= count;
  double squares = 0;
  for (const double x : values) squares += (x - figure.mean) * (x - figure.mean);
  figure.deviation = values.size() < 2 ? 0 : std::sqrt(squares / (count - 1));
  return figure;
}

void check_operators(const config::OperatorsPlan& plan, const plugin::Catalog& catalog,
                     const config::Document& document, std::vector<std::string>& warnings) {
  for (const config::OperatorPlan& o : plan.operators) {
    const plugin::SchemeGeometry geometry = plan.spectrum
                                                ? spectrum_geometry(*plan.spectrum, plan.spectrum->tokens[0])
                                                : scaling_geometry(*plan.scaling);
    const BoundOperator bound(o, geometry, catalog, document, Element::f64, 0);
    if (plan.spectrum && plan.spectrum->draw.count(o.name) != 0 && bound.parameter_count() == 0) {
      base::Mistake mistake = document.where("/spectrum/draw/" + config::escape(o.name));
      mistake.found = o.scheme.scheme;
      throw base::UserError("there is nothing to draw: the operator has no parameters", mistake);
    }
    for (const std::string& warning : bound.scheme().instance().warnings()) warnings.push_back(warning);
  }
}

std::vector<OperatorSpectrum> measure_spectra(const config::OperatorsPlan& plan,
                                              const plugin::Catalog& catalog,
                                              const config::Document& document, const KeepGoing& keep_going) {
  std::vector<OperatorSpectrum> spectra;
  if (!plan.spectrum) return spectra;
  const config::SpectrumPlan& spectrum = *plan.spectrum;
  // A decomposition runs on one thread: as many samples at once as there are threads.
  const int64_t group = base::thread_count();
  const auto total = static_cast<int64_t>(spectrum.tokens.size() * plan.operators.size()) * spectrum.samples;
  const auto drawn = [&](const config::OperatorPlan& o, int64_t tokens, uint64_t sample) {
    // Parameters that are drawn count as part of the sample.
    const uint64_t key = mix_key(spectrum.seed, sample, 3);
    BoundOperator bound(o, spectrum_geometry(spectrum, tokens), catalog, document, Element::f64, key);
    const auto draw = spectrum.draw.find(o.name);
    if (draw != spectrum.draw.end()) bound.draw(draw->second, key);
    return outputs_of(bound, spectrum, tokens, sample);
  };
  int64_t done = 0;
  for (const int64_t tokens : spectrum.tokens) {
    for (const config::OperatorPlan& o : plan.operators) {
      std::vector<SampleSpectrum> samples;
      while (static_cast<int64_t>(samples.size()) < spectrum.samples) {
        if (!keep_going(done, total, "spectrum of " + o.name)) return spectra;
        const auto first = static_cast<int64_t>(samples.size());
        std::vector<Outputs> made;
        for (int64_t i = first; i < std::min(first + group, spectrum.samples); ++i)
          made.push_back(drawn(o, tokens, static_cast<uint64_t>(i)));
        samples.resize(samples.size() + made.size());
        base::parallel_for(static_cast<int64_t>(made.size()), [&](int64_t i, int) {
          samples[static_cast<size_t>(first + i)] = figures_of(made[static_cast<size_t>(i)], spectrum);
        });
        done += static_cast<int64_t>(made.size());
      }
      spectra.push_back(summary(samples, o, tokens));
    }
  }
  return spectra;
}

}  // namespace attnlab::measure
