// One table of kernels per SIMD target, chosen at run time.
#pragma once

#include <string>
#include <vector>

#include "core/kernels/amx/block.hpp"
#include "core/kernels/attention/attend.hpp"
#include "core/kernels/attention/backward.hpp"
#include "core/kernels/attention/packed.hpp"
#include "core/kernels/gemm/gemm_tile.hpp"
#include "core/kernels/layer/layer_tile.hpp"
#include "core/kernels/linear/linear_tile.hpp"
#include "core/kernels/probe/probe.hpp"
#include "core/kernels/scoring/scoring.hpp"
#include "core/kernels/selection/scan.hpp"
#include "core/kernels/selection/unite.hpp"

namespace attnlab::kernels {

/// The kernels of all families for one target.
struct KernelTable : AttendKernels,
                     PackedKernels,
                     BackwardKernels,
                     GemmKernels,
                     LayerKernels,
                     LinearKernels,
                     ProbeKernels,
                     HammingKernels,
                     LutKernels,
                     ScanKernels,
                     UniteKernels {
  const char* target = "";          ///< Highway's name: "AVX3", "AVX2", "SSE4", "SCALAR" ...
  const AmxKernels* amx = nullptr;  ///< only beside AVX3 or better, on a CPU that has AMX
};

/// The table of the best target of this CPU: all_tables().front(), found once. Thread-safe.
const KernelTable& best_table();
/// The table that the program runs on, and that plugins reach through `attnlab.kernels/1`: the best one
/// unless another was set. Thread-safe.
const KernelTable& active_table();
/// Takes effect for calls that begin later; `table` must live for ever. Thread-safe.
void set_active_table(const KernelTable& table);
/// The tables of all targets that are compiled in and that this CPU can run, best first.
const std::vector<const KernelTable*>& all_tables();
/// The table of the target with this name, in lower case such as "avx2"; null when there is none.
const KernelTable* find_table(const std::string& name);
/// The names that find_table knows, best first.
std::vector<std::string> table_names();

}  // namespace attnlab::kernels
