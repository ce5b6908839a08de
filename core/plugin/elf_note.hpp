// The ELF note of a plugin file, read without running any of its code.
#pragma once

#include <attnlab/abi.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace attnlab::plugin {

/// What `.note.attnlab` says; texts are printable, whatever bytes the file holds.
struct ElfNote {
  uint32_t abi_major = 0, abi_minor = 0, flags = 0, cpu_features = 0;
  std::string sdk_version, compiler;
  std::vector<std::string> ids;
};

/// Finds the note in the bytes of an ELF64 shared object. Every offset is checked against the size: any bytes
/// are safe input. Returns nothing and fills `reason` when there is none.
std::optional<ElfNote> find_elf_note(std::span<const std::byte> file, std::string& reason);

/// Why a library with this note must not be loaded on this machine by this host, with the remedy; empty when
/// it may.
std::string refusal(const ElfNote& note);

}  // namespace attnlab::plugin
