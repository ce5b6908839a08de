// The one file whose code needs AMX and AVX-512; nothing here runs before amx_kernels() has asked the CPU. It
// is built with flags of its own where the compiler knows them (ATTNLAB_AMX, core/CMakeLists.txt).
#include "core/kernels/amx/tiles.hpp"

#ifdef ATTNLAB_AMX

#include "core/kernels/amx/block-inl.hpp"

namespace attnlab::kernels {
namespace {

/// Own asm: GCC 12's intrinsics do not tell the compiler which memory they read and write.
class AmxTiles {
 public:
  AmxTiles() {
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    static_assert(sizeof(config) == 64);
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  ~AmxTiles() { asm volatile("tilerelease"); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kSum, int kA, int kB>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace

const AmxKernels amx_tile_kernels{amx_attend<AmxTiles>, amx_round};

}  // namespace attnlab::kernels

#else

namespace attnlab::kernels {

const AmxKernels amx_tile_kernels{};

}  // namespace attnlab::kernels

#endif  // ATTNLAB_AMX
