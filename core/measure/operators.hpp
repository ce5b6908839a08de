// Attention operators by themselves, without training: spectra of their weights, time and state by length.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/config/operators_plan.hpp"
#include "core/graph/array.hpp"
#include "core/measure/kernel_bench/kernel_bench.hpp"

namespace attnlab::measure {

/// A figure over samples; none: NaN.
struct SampleFigure {
  double mean = 0, deviation = 0;  ///< of the samples; 0 of one
  int64_t samples = 0;             ///< that have the figure
};
SampleFigure sample_figure(const std::vector<double>& values);

/// The weights A [N, N] of one operator at one length: its output for v = I.
struct OperatorSpectrum {
  std::string name, scheme;
  int64_t tokens = 0;
  SampleFigure rank, effective_rank, participation_ratio, stable_rank;
  SampleFigure entropy, entropy_share, top_mass;  ///< see RowFigures; no samples where rows are not of them
  SampleFigure hankel_rank;                       ///< no samples unless asked for
  double nonlinearity = 0;  ///< largest |A v - output(v)| / largest |output(v)| of a normal v, over samples
  std::string refused;      ///< why there are no figures, or ""
  /// Mean of sigma_i / sigma_1 at some i, from 1.
  std::vector<std::pair<int64_t, double>> decay;
};

/// One operator at one length.
struct OperatorPoint {
  int64_t tokens = 0;
  std::vector<double> prefill;  ///< seconds of a forward, one per repeat; empty: not measured
  std::vector<double> decode;   ///< seconds of a step of one token after `tokens`; empty: not measured
  std::optional<uint64_t> state_bytes;          ///< after `tokens`
  std::map<std::string, graph::Extents> state;  ///< extents of what is kept
};

struct OperatorScaling {
  std::string name, scheme;
  std::vector<OperatorPoint> points;  ///< lengths that were measured, ascending
  std::vector<std::string> notes;     ///< why there are no more
};

/// What two operators are compared by. Of time per token, medians.
enum class Quantity { prefill, decode, state };
std::string name_of(Quantity quantity);
/// Its value at a point per token, for state in all; NaN where it was not measured.
double value_of(const OperatorPoint& point, Quantity quantity);

/// From where on one operator stays below another.
struct Crossover {
  enum class Kind { at, everywhere, never };
  Quantity quantity = Quantity::prefill;
  std::string name, against;
  Kind kind = Kind::never;
  double tokens = 0, value = 0;  ///< of Kind::at: interpolated between logarithms
  int64_t first = 0, last = 0;   ///< lengths at which both were measured
};
/// Of every operator against the first whose scheme is softmax, else the first. An operator without a common
/// length is left out.
std::vector<Crossover> crossovers(const std::vector<OperatorScaling>& scaling);

struct OperatorsRecord {
  config::OperatorsPlan plan;
  std::vector<OperatorSpectrum> spectra;  ///< by length, operators in the order of the config
  std::vector<OperatorScaling> scaling;
  int threads = 0;
  std::string simd_target;
  std::optional<Roof> roof;  ///< mean of a probe before and one after
};

/// Called between pieces of work with a few words on what comes next; false: stop.
using KeepGoing = std::function<bool(int64_t done, int64_t total, const std::string& next)>;

/// The plan's operators, which must all take q, k and v. Throws UserError for one that does not, and for what
/// a scheme refuses. `warnings` takes what plugins warn of.
void check_operators(const config::OperatorsPlan& plan, const plugin::Catalog& catalog,
                     const config::Document& document, std::vector<std::string>& warnings);
/// In double precision; the same for any number of threads. Fewer when stopped.
std::vector<OperatorSpectrum> measure_spectra(const config::OperatorsPlan& plan,
                                              const plugin::Catalog& catalog,
                                              const config::Document& document, const KeepGoing& keep_going);
/// In single precision, operators in alternation. Fewer points when stopped. [main thread]
std::vector<OperatorScaling> measure_scaling(const config::OperatorsPlan& plan,
                                             const plugin::Catalog& catalog, const config::Document& document,
                                             const KeepGoing& keep_going);

/// operators.json: the config and the spectra, no clocks.
io::Json spectra_json(const OperatorsRecord& record, const plugin::Catalog& catalog);
/// time.json: what scaling measured, crossovers, and the machine's part in it.
io::Json scaling_json(const OperatorsRecord& record);

}  // namespace attnlab::measure
