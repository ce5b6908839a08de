// Element types of tensors on disk and their conversion to float32, the working precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace attnlab::tensor {

enum class DType : uint8_t { f16, bf16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, boolean };

/// Bytes of one element.
size_t size_of(DType dtype);
/// "float32", "bfloat16", ...: numpy's names.
std::string_view name_of(DType dtype);
bool is_floating(DType dtype);

/// IEEE binary16 to float32; exact, subnormals and NaN payload class included.
float from_f16(uint16_t bits);
/// bfloat16 to float32; exact.
float from_bf16(uint16_t bits);

}  // namespace attnlab::tensor
