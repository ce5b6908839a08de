// The same operations in double precision, written to be obviously right. For tests.
#pragma once

#include "core/kernels/layer/arguments.hpp"

namespace attnlab::kernels::reference {

double unary_value(UnaryFunction function, double x);

/// As the kernels, but computed and returned in double: the last arguments replace the struct's float
/// outputs, with the same strides. What is updated in place is read from the struct. Outputs that are
/// optional in the struct may be null here.
void norm(const NormArguments& arguments, double* out, double* mean, double* inverse);
/// Mean and inverse are taken from the struct.
void norm_gradient(const NormGradientArguments& arguments, double* d_x, double* d_weight, double* d_bias);
void cross_entropy(const CrossEntropyArguments& arguments, double* loss, double* lse);
/// Without the struct's lse.
void cross_entropy_gradient(const CrossEntropyGradientArguments& arguments, double* d_logits);
void softmax(const SoftmaxArguments& arguments, double* out);
void softmax_gradient(const SoftmaxGradientArguments& arguments, double* d_x);
void unary(const UnaryArguments& arguments, double* out);
void dropout(const DropoutArguments& arguments, double* out);
void adamw(const AdamWArguments& arguments, double* parameter, double* first_moment, double* second_moment);
double sum_of_squares(const SumOfSquaresArguments& arguments);

}  // namespace attnlab::kernels::reference
