// The same scores in double precision, written to be obviously right.
#pragma once

#include "core/kernels/scoring/arguments.hpp"

namespace attnlab::kernels::reference {

/// As the kernels, but computed and returned in double: `scores` replaces the struct's, with the same stride.
void hamming(const HammingArguments& arguments, double* scores);
void interval(const IntervalArguments& arguments, double* scores);
template <class Code>
void lut(const LutArguments<Code>& arguments, double* scores);

}  // namespace attnlab::kernels::reference
