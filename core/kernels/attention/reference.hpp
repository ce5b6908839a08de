// The same operations in double precision, written to be obviously right. For tests and `--reference`.
#pragma once

#include "core/kernels/attention/arguments.hpp"
#include "core/kernels/attention/dense.hpp"

namespace attnlab::kernels::reference {

/// As the kernels, but computed and returned in double: `out` and `lse` replace the struct's float outputs,
/// with the same strides.
void logits(const LogitsArguments& arguments, double* out);
void attend(const AttendArguments& arguments, double* out, double* lse);
void attend_logits(const AttendLogitsArguments& arguments, double* out, double* lse);
void dense_attention(const DenseArguments& arguments, double* out, double* lse);

}  // namespace attnlab::kernels::reference
