// "What is in this file?", answered by a child process so that a hostile file cannot hurt the host.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/plugin/descriptor.hpp"
#include "core/plugin/elf_note.hpp"

namespace attnlab::plugin {

/// What is known of one plugin file.
struct ProbedFile {
  std::string path;
  std::string refused;  ///< why it cannot be used; empty when it can
  ElfNote note;
  std::vector<Descriptor> methods;
};

/// Reads the ELF note, then runs `program plugin-probe path` with a time limit and reads the descriptors that
/// it prints. Never throws for what the file does: the reason is in `refused`. Results are cached in
/// $XDG_CACHE_HOME/attnlab (or ~/.cache/attnlab) by path, size, modification time and program.
ProbedFile probe(const std::string& path, const std::string& program);

/// Reads what a probe printed, {"refused": "..."} or {"methods": [...]}, into `refused` or `methods`. Throws
/// UserError for anything else: a plugin may print what it likes.
void read_description(std::string_view text, ProbedFile& result);

/// The child's part: loads the file and returns its descriptors as JSON.
io::Json describe_file(const std::string& path);

/// The executable that probes: this one, or $ATTNLAB_PROBE in a test binary.
std::string probe_program();

}  // namespace attnlab::plugin
