// One table of tile kernels per SIMD target, chosen at run time.
#pragma once

#include <string>
#include <vector>

#include "core/kernels/arguments.hpp"

namespace attnlab::kernels {

/// Tile kernels run on the calling thread and allocate nothing (about 60 KiB of stack). Results do not depend
/// on how rows are split into calls. Arguments are not checked.
struct KernelTable {
  const char* target = "";  ///< Highway's name: "AVX3", "AVX2", "SSE4", "SCALAR" ...
  void (*logits)(const LogitsArguments&) = nullptr;
  void (*gather_logits)(const GatherLogitsArguments&) = nullptr;
  void (*attend)(const AttendArguments&) = nullptr;
  void (*attend_logits)(const AttendLogitsArguments&) = nullptr;
};

/// The table of the best target of this CPU: all_tables().front(), found once. Thread-safe.
const KernelTable& best_table();
/// The tables of all targets that are compiled in and that this CPU can run, best first.
std::vector<const KernelTable*> all_tables();

}  // namespace attnlab::kernels
