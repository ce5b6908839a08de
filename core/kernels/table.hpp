// One table of kernels per SIMD target, chosen at run time.
#pragma once

#include <vector>

#include "core/kernels/attention/attend.hpp"
#include "core/kernels/selection/scan.hpp"
#include "core/kernels/selection/unite.hpp"

namespace attnlab::kernels {

/// The kernels of all families for one target.
struct KernelTable : AttendKernels, ScanKernels, UniteKernels {
  const char* target = "";  ///< Highway's name: "AVX3", "AVX2", "SSE4", "SCALAR" ...
};

/// The table of the best target of this CPU: all_tables().front(), found once. Thread-safe.
const KernelTable& best_table();
/// The tables of all targets that are compiled in and that this CPU can run, best first.
const std::vector<const KernelTable*>& all_tables();

}  // namespace attnlab::kernels
