// What a run measured: the only thing that reports are made of. Quality and clock figures are kept apart, so
// that quality compares byte for byte between runs, thread counts and tile sizes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/io/json.hpp"

namespace attnlab::measure {

/// Distribution of a metric over query rows. p05 and p95 are nearest-rank percentiles.
struct Summary {
  int64_t rows = 0;
  double mean = 0, p05 = 0, p95 = 0, min = 0, max = 0;
};

/// Metrics of a set of rows, each against exact dense attention on the same row.
struct Quality {
  Summary density;       ///< active keys / visible keys
  Summary mass_recall;   ///< share of the exact softmax mass on active keys
  Summary output_error;  ///< |o - o_dense| / |o_dense|, Euclidean norm over the value channels
  Summary
      denominator_error;   ///< |D / D_dense - 1|, D the softmax denominator estimate (weights 1/p included)
  Summary entropy;         ///< of the row's own attention weights, in nats
  int64_t empty_rows = 0;  ///< rows that see keys but attend to none

  /// Visits (name, summary) of every distribution, in report order.
  template <class Visit>
  void each(const Visit& visit) const {
    visit("density", density);
    visit("mass_recall", mass_recall);
    visit("output_error", output_error);
    visit("denominator_error", denominator_error);
    visit("entropy", entropy);
  }
};

/// One pipeline on one query head of one layer.
struct HeadRecord {
  std::string pipeline;
  int64_t layer = 0;
  int64_t head = 0;
  Quality quality;
};

/// The [queries, keys] plane of one head of sequence 0, divided into blocks whose entries are counted: exact
/// counts, never the plane. Query i of the plane belongs to block row i * rows / queries, key j to block
/// column j * columns / keys, both rounded down.
struct Plane {
  int64_t layer = 0, head = 0;
  int64_t first_query = 0;        ///< index of the plane's first query in the input
  int64_t queries = 0, keys = 0;  ///< size of the plane
  int64_t rows = 0, columns = 0;  ///< blocks
  std::vector<uint32_t> visible;  ///< [rows * columns] visible entries of each block
};

struct StageRecord {
  std::string name, masker;
  io::Json parameters;  ///< as a user would write them
};

/// Memory and search of one stage for one KV head, averaged over layers, sequences and KV heads.
struct StageCost {
  std::string name;
  double index_bytes_per_token = 0;  ///< columns per token and per page, as allocated at the end of the run
  double index_bytes_per_sequence = 0;  ///< columns per sequence
  double state_bytes_per_token = 0;     ///< opaque state, by the method's own account
  double search_bytes_per_query = 0;    ///< read to choose, as if each query were answered alone
};

/// What a pipeline costs. A query is one position of a KV head: its query heads share what they read.
struct Cost {
  std::vector<StageCost> stages;
  double attended_bytes_per_query = 0;  ///< keys and values that any query head of the group attends to

  double search_bytes_per_query() const;
};

/// One pipeline over all rows of a run.
struct PipelineRecord {
  std::string name;
  std::string failure;              ///< why it has no figures (`run --isolate`); empty: it has
  std::vector<StageRecord> stages;  ///< none: dense attention
  io::Json policy;                  ///< which stages run for which layers and heads; null: all for all
  Quality quality;
  std::vector<uint32_t> active;  ///< [rows * columns] active entries of each block of the run's plane
  double reference_error =
      -1;  ///< largest relative deviation from the double-precision reference; -1: not asked for
  uint64_t state_bytes = 0;  ///< key-side state at the end of the run, all layers together
  Cost cost;
};

/// What was attended to.
struct InputRecord {
  std::string description;
  std::string mode;
  int64_t batch = 0, query_heads = 0, kv_heads = 0, queries = 0, keys = 0, head_dim = 0, value_dim = 0;
  int64_t measured_queries = 0;
  std::vector<int64_t> layers;
  bool causal = true;
  double scale = 1;
  double kv_bytes_per_token = 0;     ///< one key and one value of a KV head, float32
  double dense_bytes_per_query = 0;  ///< keys and values that dense attention reads for a query of a KV head
  double expected_output_difference = -1;  ///< max |dense - the trace's own output|; -1: the input has none
  double true_mass_difference = -1;  ///< max |softmax - the workload's exact ground truth|; -1: it has none
};

/// Seconds, summed over threads (wall_seconds apart). Shared figures serve all pipelines of the run.
struct PipelineTime {
  std::string pipeline;
  double attend = 0;
  std::vector<std::pair<std::string, double>> stages;
};
struct TimeRecord {
  double wall_seconds = 0, load_seconds = 0, logits = 0, exact_rows = 0, measure = 0;
  int threads = 0;
  uint64_t peak_resident_bytes = 0;
  uint64_t scratch_bytes = 0;
  std::vector<PipelineTime> pipelines;
};

/// A whole run.
struct RunRecord {
  std::string run_id;  ///< hash of the resolved config, the inputs and the plugins
  std::string title;
  std::string command;  ///< the command line, for reports
  std::string version;  ///< of attnlab
  InputRecord input;
  std::vector<PipelineRecord> pipelines;
  std::vector<HeadRecord> heads;
  std::vector<std::string> notes;  ///< things a reader must know, such as empty rows or an oracle method
  Plane plane;                     ///< of the first layer and head; the pipelines hold their active entries
  io::Json provenance;             ///< as provenance.json has it, for reports; null: unknown
  TimeRecord time;
};

/// `result.json`: all but the clock figures, the command, the provenance, the pictures and the per-head
/// records.
io::Json result_json(const RunRecord& run);
/// `pictures.json`: the plane, and the active entries of each pipeline by name; many numbers, so in a file of
/// its own. Counts are text as `io::compact` writes it.
io::Json pictures_json(const RunRecord& run);
/// `time.json`.
io::Json time_json(const TimeRecord& time);
/// One line of `rows.jsonl`.
io::Json head_json(const HeadRecord& record);

}  // namespace attnlab::measure
