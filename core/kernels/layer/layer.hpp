// A layer's operations other than products over all cores, forward and backward.
#pragma once

#include "core/kernels/layer/arguments.hpp"
#include "core/kernels/layer/layer_tile.hpp"

namespace attnlab::kernels {

/// As the kernels of the same name. Outputs have the same bits for any number of threads: how rows and
/// elements are split has no influence on them, or does not depend on the number of threads. Up to 16384
/// elements are computed on the calling thread.
void norm(const LayerKernels& kernels, const NormArguments& arguments);
/// d_weight and d_bias sum over rows in blocks of 64 and the blocks one after the other. Scratch memory, 2
/// width floats a block, is kept for the next call.
void norm_gradient(const LayerKernels& kernels, const NormGradientArguments& arguments);
void cross_entropy(const LayerKernels& kernels, const CrossEntropyArguments& arguments);
void cross_entropy_gradient(const LayerKernels& kernels, const CrossEntropyGradientArguments& arguments);
void softmax(const LayerKernels& kernels, const SoftmaxArguments& arguments);
void softmax_gradient(const LayerKernels& kernels, const SoftmaxGradientArguments& arguments);
void unary(const LayerKernels& kernels, const UnaryArguments& arguments);
void dropout(const LayerKernels& kernels, const DropoutArguments& arguments);
void adamw(const LayerKernels& kernels, const AdamWArguments& arguments);
/// Sums in blocks of 16384 elements and the blocks one after the other.
double sum_of_squares(const LayerKernels& kernels, const SumOfSquaresArguments& arguments);

}  // namespace attnlab::kernels
