// ELF notes of real plugins, of cut and damaged ones, and the reasons for refusing one.
#include "core/plugin/elf_note.hpp"

#include <elf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "tests/unit/io_test_support.hpp"

namespace attnlab::plugin {
namespace {

const std::string& plugin_bytes() {
  static const std::string bytes = io::read_bytes(std::string(ATTNLAB_PLUGINS) + "/strided.so");
  return bytes;
}

struct Found {
  std::optional<ElfNote> note;
  std::string reason;
};

Found find(const std::string& bytes) {
  // On the heap at its exact size: the address sanitizer sees every read beyond it.
  const io::HeapBytes copy(bytes);
  Found found;
  found.note = find_elf_note(copy.span(), found.reason);
  return found;
}

template <class T>
T header_at(const std::string& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
void put(std::string& bytes, size_t offset, const T& value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

/// End of the last segment that loading or reading the note needs; section headers may follow.
size_t segments_end(const std::string& bytes) {
  const auto header = header_at<Elf64_Ehdr>(bytes, 0);
  size_t end = header.e_phoff + header.e_phnum * sizeof(Elf64_Phdr);
  for (size_t i = 0; i < header.e_phnum; ++i) {
    const auto segment = header_at<Elf64_Phdr>(bytes, header.e_phoff + i * sizeof(Elf64_Phdr));
    if (segment.p_type == PT_LOAD || segment.p_type == PT_NOTE) {
      end = std::max<size_t>(end, segment.p_offset + segment.p_filesz);
    }
  }
  return end;
}

TEST(PluginElfNote, EveryBuiltPluginHasOne) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ATTNLAB_PLUGINS)) {
    if (entry.path().extension() != ".so") continue;
    ++files;
    const Found found = find(io::read_bytes(entry.path()));
    ASSERT_TRUE(found.note) << entry.path() << ": " << found.reason;
    EXPECT_EQ(found.note->abi_major, uint32_t{ATTNLAB_ABI_MAJOR});
    EXPECT_EQ(found.note->abi_minor, uint32_t{ATTNLAB_ABI_MINOR});
    EXPECT_FALSE(found.note->sdk_version.empty());
    EXPECT_FALSE(found.note->compiler.empty());
    EXPECT_EQ(refusal(*found.note), "");
    const auto& ids = found.note->ids;
    EXPECT_NE(std::find(ids.begin(), ids.end(), entry.path().stem().string()), ids.end()) << entry.path();
  }
  EXPECT_GE(files, 7);
}

TEST(PluginElfNote, EveryTruncationIsNamedUntilAllSegmentsAreThere) {
  const std::string& bytes = plugin_bytes();
  const size_t needed = segments_end(bytes);
  ASSERT_GT(needed, 0u);
  for (size_t size = 0; size < bytes.size(); ++size) {
    // Cut on the left of one buffer: a copy for each length would be quadratic for nothing.
    std::string reason;
    const auto note = find_elf_note({reinterpret_cast<const std::byte*>(bytes.data()), size}, reason);
    EXPECT_EQ(note.has_value(), size >= needed) << size << " of " << bytes.size();
    EXPECT_NE(note.has_value(), !reason.empty()) << size;
  }
}

TEST(PluginElfNote, DamagedFilesAreReadOrRefused) {
  const std::string& bytes = plugin_bytes();
  // The headers and the note decide, so most of the damage goes there.
  const size_t headers = sizeof(Elf64_Ehdr) + header_at<Elf64_Ehdr>(bytes, 0).e_phnum * sizeof(Elf64_Phdr);
  for (unsigned seed = 0; seed < 3000; ++seed) {
    std::string damaged = io::mutated(bytes.substr(0, headers), seed) + bytes.substr(headers);
    const Found found = find(damaged);
    EXPECT_NE(found.note.has_value(), !found.reason.empty()) << seed;
  }
  for (unsigned seed = 0; seed < 500; ++seed) {
    const Found found = find(io::mutated(bytes, seed));
    EXPECT_NE(found.note.has_value(), !found.reason.empty()) << seed;
  }
}

TEST(PluginElfNote, ExtremeHeaderFieldsStayInsideTheFile) {
  const std::string& bytes = plugin_bytes();
  const auto header = header_at<Elf64_Ehdr>(bytes, 0);
  for (uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{bytes.size()}, uint64_t{bytes.size() - 1},
                         UINT64_MAX, UINT64_MAX - 55, uint64_t{1} << 63}) {
    std::string damaged = bytes;
    auto changed = header;
    changed.e_phoff = value;
    put(damaged, 0, changed);
    EXPECT_FALSE(find(damaged).note && value != header.e_phoff) << value;
    for (size_t i = 0; i < header.e_phnum; ++i) {
      const size_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
      const auto segment = header_at<Elf64_Phdr>(bytes, at);
      for (auto member : {&Elf64_Phdr::p_offset, &Elf64_Phdr::p_filesz}) {
        damaged = bytes;
        auto moved = segment;
        moved.*member = value;
        put(damaged, at, moved);
        find(damaged);
      }
    }
  }
}

TEST(PluginElfNote, SaysWhatAFileIsInstead) {
  EXPECT_EQ(find("").reason, "not an ELF file");
  EXPECT_EQ(find("#!/bin/sh\n").reason, "not an ELF file");
  EXPECT_EQ(find(std::string(4096, '\0')).reason, "not an ELF file");
  const auto changed = [](auto change) {
    std::string bytes = plugin_bytes();
    auto header = header_at<Elf64_Ehdr>(bytes, 0);
    change(header);
    put(bytes, 0, header);
    return find(bytes).reason;
  };
  EXPECT_EQ(changed([](auto& h) { h.e_ident[EI_CLASS] = ELFCLASS32; }),
            "not a 64-bit little-endian ELF file");
  EXPECT_EQ(changed([](auto& h) { h.e_ident[EI_DATA] = ELFDATA2MSB; }),
            "not a 64-bit little-endian ELF file");
  EXPECT_EQ(changed([](auto& h) { h.e_machine = EM_RISCV; }), "built for another processor family");
  EXPECT_EQ(changed([](auto& h) { h.e_type = ET_REL; }), "not a shared library");
  EXPECT_NE(changed([](auto& h) { h.e_phnum = 0; }).find("has no attnlab note"), std::string::npos);
  std::string bytes = plugin_bytes();
  const std::string name("attnlab\0ATNL", 12);
  const size_t at = bytes.find(name);
  ASSERT_NE(at, std::string::npos);
  bytes[at + 8] = 'X';
  EXPECT_EQ(find(bytes).reason, "its attnlab note has a wrong magic number");
  bytes[at] = 'X';
  EXPECT_NE(find(bytes).reason.find("has no attnlab note"), std::string::npos);
}

/// 65535 note segments, each over the same 64 KiB of empty notes: the work must not be their product.
TEST(PluginElfNote, ManyOverlappingSegmentsDoNotHang) {
  constexpr uint16_t segments = 65535;
  std::string bytes = plugin_bytes().substr(0, sizeof(Elf64_Ehdr));
  auto header = header_at<Elf64_Ehdr>(bytes, 0);
  header.e_phoff = sizeof header;
  header.e_phnum = segments;
  put(bytes, 0, header);
  Elf64_Phdr segment{};
  segment.p_type = PT_NOTE;
  segment.p_offset = sizeof header + segments * sizeof segment;
  segment.p_filesz = size_t{1} << 16;
  for (int i = 0; i < segments; ++i) bytes.append(reinterpret_cast<const char*>(&segment), sizeof segment);
  bytes.append(segment.p_filesz, '\0');
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(find(bytes).note);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

ElfNote fitting_note() {
  ElfNote note;
  note.abi_major = ATTNLAB_ABI_MAJOR;
  note.abi_minor = ATTNLAB_ABI_MINOR;
  note.sdk_version = "9.8.7";
  return note;
}

TEST(PluginRefusal, NamesVersionsAndTheRemedy) {
  EXPECT_EQ(refusal(fitting_note()), "");
  for (int side = 0; side < 2; ++side) {
    ElfNote note = fitting_note();
    (side == 0 ? note.abi_major : note.abi_minor) += 1;
    const std::string text = refusal(note);
    const std::string theirs = std::to_string(note.abi_major) + "." + std::to_string(note.abi_minor);
    const std::string ours = std::to_string(ATTNLAB_ABI_MAJOR) + "." + std::to_string(ATTNLAB_ABI_MINOR);
    for (const std::string& words :
         {std::string("SDK 9.8.7"), "ABI " + theirs, "speaks " + ours, std::string("rebuild")}) {
      EXPECT_NE(text.find(words), std::string::npos) << text;
    }
  }
}

#if defined(__x86_64__)
TEST(PluginRefusal, NamesTheCpuFeatureThatIsMissing) {
  const std::tuple<uint32_t, bool, const char*> features[] = {
      {ATTNLAB_CPU_SSE41, __builtin_cpu_supports("sse4.1") != 0, "SSE4.1"},
      {ATTNLAB_CPU_AVX, __builtin_cpu_supports("avx") != 0, "AVX"},
      {ATTNLAB_CPU_AVX2, __builtin_cpu_supports("avx2") != 0, "AVX2"},
      {ATTNLAB_CPU_FMA, __builtin_cpu_supports("fma") != 0, "FMA"},
      {ATTNLAB_CPU_AVX512F, __builtin_cpu_supports("avx512f") != 0, "AVX-512F"},
      {ATTNLAB_CPU_AVX512BW, __builtin_cpu_supports("avx512bw") != 0, "AVX-512BW"},
      {ATTNLAB_CPU_AVX512VL, __builtin_cpu_supports("avx512vl") != 0, "AVX-512VL"},
      {ATTNLAB_CPU_AVX512BF16, __builtin_cpu_supports("avx512bf16") != 0, "AVX-512-BF16"}};
  for (const auto& [bit, present, name] : features) {
    ElfNote note = fitting_note();
    note.cpu_features = bit;
    const std::string expected = present ? ""
                                         : std::string("compiled for ") + name +
                                               ", which this CPU lacks; rebuild it without -march=native";
    EXPECT_EQ(refusal(note), expected);
  }
}

/// A library that was compiled for something the host cannot check must not be run on trust: the first
/// illegal instruction would end the host. AMX is among it, because the host never asks the kernel for tiles.
TEST(PluginRefusal, FeaturesTheHostCannotOfferAreRefused) {
  for (uint32_t bit : {uint32_t{ATTNLAB_CPU_AMX}, uint32_t{1} << 31}) {
    ElfNote note = fitting_note();
    note.cpu_features = bit;
    EXPECT_NE(refusal(note), "") << bit;
  }
}
#endif

}  // namespace
}  // namespace attnlab::plugin
