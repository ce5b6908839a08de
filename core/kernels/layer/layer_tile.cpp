// The tile kernels of a layer's other operations, built once for each SIMD target and chosen at run time.
#include "core/kernels/layer/layer_tile.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/layer/layer_tile.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/layer/dropout-inl.hpp"
#include "core/kernels/layer/norm-inl.hpp"
#include "core/kernels/layer/optimiser-inl.hpp"
#include "core/kernels/layer/pointwise-inl.hpp"
#include "core/kernels/layer/softmax-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

const LayerKernels& layer_table() {
  static constexpr LayerKernels table{
      norm_rows,      norm_gradient_rows,    cross_entropy_rows, cross_entropy_gradient_rows,
      softmax_rows,   softmax_gradient_rows, unary_elements,     dropout_elements,
      adamw_elements, sum_squares_of};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(layer_table);

const LayerKernels& layer_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(layer_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
