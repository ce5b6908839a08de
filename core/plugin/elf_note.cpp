#include "core/plugin/elf_note.hpp"

#include <elf.h>
#include <fmt/core.h>

#include <cstring>
#include <sstream>
#include <utility>

#include "core/base/error.hpp"

namespace attnlab::plugin {
namespace {

/// Copies a T out of unaligned bytes, or nothing when it does not fit.
template <class T>
std::optional<T> read_at(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <size_t N>
std::string bounded_text(const char (&text)[N]) {
  return base::escape_unprintable({text, strnlen(text, N)});
}

/// Notes looked at in one file. Libraries hold a handful; a hostile one must not cost segments x notes.
constexpr int note_limit = 4096;

std::optional<attnlab_note> find_in_segment(std::span<const std::byte> notes, int& left) {
  uint64_t offset = 0;
  // Names and descriptions are padded to 4 bytes; sizes are 32-bit, so the 64-bit sums cannot wrap.
  auto padded = [](uint64_t size) { return (size + 3) / 4 * 4; };
  while (left-- > 0) {
    auto header = read_at<Elf64_Nhdr>(notes, offset);
    if (!header) break;
    uint64_t name_at = offset + sizeof(Elf64_Nhdr);
    uint64_t description_at = name_at + padded(header->n_namesz);
    if (header->n_namesz == 8 && header->n_type == ATTNLAB_NOTE_TYPE &&
        header->n_descsz == sizeof(attnlab_note) && name_at + 8 <= notes.size() &&
        std::memcmp(notes.data() + name_at, "attnlab", 8) == 0) {
      return read_at<attnlab_note>(notes, description_at);
    }
    offset = description_at + padded(header->n_descsz);
  }
  return std::nullopt;
}

}  // namespace

std::optional<ElfNote> find_elf_note(std::span<const std::byte> file, std::string& reason) {
  auto header = read_at<Elf64_Ehdr>(file, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
    reason = "not an ELF file";
    return std::nullopt;
  }
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB) {
    reason = "not a 64-bit little-endian ELF file";
    return std::nullopt;
  }
#if defined(__x86_64__)
  constexpr uint16_t machine = EM_X86_64;
#else
  constexpr uint16_t machine = EM_AARCH64;
#endif
  if (header->e_machine != machine) {
    reason = "built for another processor family";
    return std::nullopt;
  }
  if (header->e_type != ET_DYN) {
    reason = "not a shared library";
    return std::nullopt;
  }
  int notes_left = note_limit;
  for (uint16_t i = 0; i < header->e_phnum; ++i) {
    auto segment = read_at<Elf64_Phdr>(file, header->e_phoff + uint64_t{i} * sizeof(Elf64_Phdr));
    if (!segment) {
      reason = "truncated: the program headers lie outside the file";
      return std::nullopt;
    }
    if (segment->p_type != PT_NOTE && segment->p_type != PT_LOAD) continue;
    if (segment->p_offset > file.size() || segment->p_filesz > file.size() - segment->p_offset) {
      reason = "truncated: a segment lies outside the file";
      return std::nullopt;
    }
    if (segment->p_type != PT_NOTE) continue;
    auto note = find_in_segment(file.subspan(segment->p_offset, segment->p_filesz), notes_left);
    if (!note) continue;
    if (note->magic != ATTNLAB_MAGIC) {
      reason = "its attnlab note has a wrong magic number";
      return std::nullopt;
    }
    ElfNote result{note->abi_major,
                   note->abi_minor,
                   note->flags,
                   note->cpu_features,
                   bounded_text(note->sdk_version),
                   bounded_text(note->compiler),
                   {}};
    std::istringstream ids(bounded_text(note->ids));
    for (std::string id; ids >> id;) result.ids.push_back(id);
    return result;
  }
  reason = "has no attnlab note (is it a plugin? end its source with ATTNLAB_PLUGIN(...))";
  return std::nullopt;
}

std::string refusal(const ElfNote& note) {
  if (note.abi_major != ATTNLAB_ABI_MAJOR || note.abi_minor != ATTNLAB_ABI_MINOR) {
    return fmt::format(
        "built with SDK {} for plugin ABI {}.{}, this host speaks {}.{}; rebuild it against this host's SDK: "
        "cmake --build <its build folder> --clean-first",
        note.sdk_version, note.abi_major, note.abi_minor, ATTNLAB_ABI_MAJOR, ATTNLAB_ABI_MINOR);
  }
#if defined(__x86_64__)
  __builtin_cpu_init();
  // AMX is not among them: the host never asks the kernel for its tiles, so such code would fault.
  const std::pair<uint32_t, std::pair<bool, const char*>> features[] = {
      {ATTNLAB_CPU_SSE41, {__builtin_cpu_supports("sse4.1") != 0, "SSE4.1"}},
      {ATTNLAB_CPU_AVX, {__builtin_cpu_supports("avx") != 0, "AVX"}},
      {ATTNLAB_CPU_AVX2, {__builtin_cpu_supports("avx2") != 0, "AVX2"}},
      {ATTNLAB_CPU_FMA, {__builtin_cpu_supports("fma") != 0, "FMA"}},
      {ATTNLAB_CPU_AVX512F, {__builtin_cpu_supports("avx512f") != 0, "AVX-512F"}},
      {ATTNLAB_CPU_AVX512BW, {__builtin_cpu_supports("avx512bw") != 0, "AVX-512BW"}},
      {ATTNLAB_CPU_AVX512VL, {__builtin_cpu_supports("avx512vl") != 0, "AVX-512VL"}},
      {ATTNLAB_CPU_AVX512BF16, {__builtin_cpu_supports("avx512bf16") != 0, "AVX-512-BF16"}}};
  uint32_t unknown = note.cpu_features;
  for (const auto& [bit, feature] : features) {
    unknown &= ~bit;
    if ((note.cpu_features & bit) != 0 && !feature.first) {
      return fmt::format("compiled for {}, which this CPU lacks; rebuild it without -march=native",
                         feature.second);
    }
  }
  if (unknown != 0) {
    return "compiled for CPU features that this host cannot offer to plugins (such as AMX); rebuild it "
           "without -march=native";
  }
#endif
  return "";
}

}  // namespace attnlab::plugin
