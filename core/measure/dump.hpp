// Planes and outputs of a run written as npy files, filled in place by the worker threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/attention/session.hpp"
#include "core/io/npy.hpp"

namespace attnlab::measure {

/// What --dump asks for.
struct DumpChoice {
  bool mask = false;     ///< inclusion probability, 0 where not visible
  bool output = false;   ///< attention output
  bool weights = false;  ///< normalised attention weights
  bool any() const { return mask || output || weights; }
};

/// Bytes that a dump of one pipeline and layer takes.
uint64_t dump_bytes(const DumpChoice& choice, const data::Geometry& geometry, int64_t queries);

/// The files of one pipeline and layer: float32 mask and weights [B, Hq, queries, Sk], output [B, Hq,
/// queries, Dv].
class Dump {
 public:
  /// Files `<folder>/<prefix>mask.npy` and so on; the folder exists.
  Dump(const DumpChoice& choice, const std::string& folder, const std::string& prefix,
       const data::Geometry& geometry, int64_t queries);
  /// Row `row` of the outcome's tile as query number `query`. Different rows may be written concurrently.
  void put(const attention::TileOutcome& outcome, int64_t row, int64_t query);
  void commit();

 private:
  data::Geometry geometry_;
  int64_t queries_;
  std::unique_ptr<io::NpyWriter> mask_, output_, weights_;
};

}  // namespace attnlab::measure
