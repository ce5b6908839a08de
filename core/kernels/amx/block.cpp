#include "core/kernels/amx/block.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <initializer_list>

#include "core/kernels/amx/tiles.hpp"

namespace attnlab::kernels {
namespace {

#if defined(__x86_64__) && defined(__linux__)
/// The features of the CPU that tiles.cpp is compiled for, registers that the operating system saves, and its
/// leave to use tiles, which holds for all threads of the process.
bool amx_usable() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  const auto has = [](uint32_t word, std::initializer_list<int> bits) {
    return std::ranges::all_of(bits, [&](int bit) { return (word >> bit & 1) != 0; });
  };
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !has(c, {12, 27})) return false;  // FMA, OSXSAVE
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if (!has(b, {5, 16, 17, 30, 31}) || !has(d, {22, 24}))
    return false;  // AVX2, AVX-512 F DQ BW VL; AMX bf16, tile
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || !has(a, {5})) return false;  // AVX-512 bf16
  uint32_t saved = 0, high = 0;
  asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  if (!has(saved, {1, 2, 5, 6, 7, 17, 18})) return false;  // SSE, AVX, AVX-512, tiles
  constexpr int request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#else
bool amx_usable() {
  return false;
}
#endif

}  // namespace

const AmxKernels* amx_kernels() {
  static const bool usable = amx_tile_kernels.amx_attend != nullptr && amx_usable();
  return usable ? &amx_tile_kernels : nullptr;
}

}  // namespace attnlab::kernels
