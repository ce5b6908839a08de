// A layer's operations other than products, one thread.
#pragma once

#include "core/kernels/layer/arguments.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// One SIMD target's kernels. They run on the calling thread and allocate nothing. Arguments are not checked.
struct LayerKernels {
  void (*norm)(const NormArguments&) = nullptr;
  void (*norm_gradient)(const NormGradientArguments&) = nullptr;  ///< sums rows in float: give few at a time
  void (*cross_entropy)(const CrossEntropyArguments&) = nullptr;
  void (*cross_entropy_gradient)(const CrossEntropyGradientArguments&) = nullptr;
  void (*softmax)(const SoftmaxArguments&) = nullptr;
  void (*softmax_gradient)(const SoftmaxGradientArguments&) = nullptr;
  void (*unary)(const UnaryArguments&) = nullptr;
  void (*dropout)(const DropoutArguments&) = nullptr;
  void (*adamw)(const AdamWArguments&) = nullptr;
  double (*sum_of_squares)(const SumOfSquaresArguments&) = nullptr;
};

const LayerKernels& layer_kernels(SimdTarget target);

}  // namespace attnlab::kernels
