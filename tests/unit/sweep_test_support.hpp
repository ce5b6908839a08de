// Sweeps of generated workloads, as tests write them.
#pragma once

#include <string>
#include <vector>

#include "core/sweep/plan.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/documents.hpp"

namespace attnlab::sweep {

/// A run of sink, local and oracle_top_k on a small workload.
inline io::Json small_base() {
  return io::Json::parse(R"({
    "pipelines": {"main": [{"masker": "sink", "sink_size": 4}, {"masker": "local", "window_size": 8},
                           {"masker": "oracle_top_k", "heavy_size": "10%"}],
                  "other": []},
    "input": {"workload": "power_law", "query_heads": 4, "kv_heads": 2, "queries": 8, "keys": 128,
              "head_dim": 8, "value_dim": 8}})");
}

/// `members` (JSON text) beside the small base.
inline SweepConfig sweep_of(const std::string& members) {
  io::Json json = io::Json::parse(members);
  if (!json.contains("base")) json["base"] = small_base();
  return resolve_sweep(test::document_of(json), test::catalog());
}

inline std::vector<std::string> keys_of(const std::vector<Point>& points) {
  std::vector<std::string> keys;
  for (const Point& point : points) keys.push_back(key_of(point));
  return keys;
}

inline std::vector<std::string> grid_of(const SweepConfig& sweep) {
  return keys_of(sweep.space.grid(100'000, sweep.document));
}

inline Outcome done(const std::string& id, const std::map<std::string, double>& metrics) {
  Outcome outcome;
  outcome.id = id;
  outcome.status = Outcome::Status::done;
  outcome.metrics = metrics;
  return outcome;
}

inline Outcome failed(const std::string& id, const std::string& reason) {
  Outcome outcome;
  outcome.id = id;
  outcome.reason = reason;
  return outcome;
}

}  // namespace attnlab::sweep
