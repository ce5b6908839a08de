// The same operations in double precision, written to be obviously right. For tests.
#pragma once

#include "core/kernels/gemm/arguments.hpp"

namespace attnlab::kernels::reference {

double activate(Activation activation, double x);
double activation_slope(Activation activation, double x);

/// As the kernels, but computed and returned in double: the last arguments replace the struct's float
/// outputs, with the same strides; `pre_activation` may be null. With `accumulate` the struct's outputs are
/// read. `b` must be given.
void gemm(const GemmArguments& arguments, double* c, double* pre_activation);
void activation_gradient(const ActivationGradientArguments& arguments, double* d_in);
void column_sums(const ColumnSumArguments& arguments, double* sums);

}  // namespace attnlab::kernels::reference
