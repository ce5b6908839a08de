// What a result depends on beside its config: machine, build, files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/io/json.hpp"

namespace attnlab::measure {

/// CPU model, cores, memory, kernel.
io::Json describe_machine();
/// Compiler, flags, build type, versions of attnlab and the plugin ABI.
io::Json describe_build();
/// Largest resident set of this process so far, in bytes.
uint64_t peak_resident_bytes();
/// [{"path", "hash", "bytes"}] of files.
io::Json describe_files(const std::vector<std::string>& paths);
/// "2026-11-21T12:34:56Z".
std::string utc_now();

}  // namespace attnlab::measure
