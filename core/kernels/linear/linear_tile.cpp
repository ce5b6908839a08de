// The tile kernels of linear attention, built once for each SIMD target and chosen at run time.
#include "core/kernels/linear/linear_tile.hpp"

#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/linear/linear_tile.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/linear/backward-inl.hpp"
#include "core/kernels/linear/forward-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

int64_t linear_forward_workspace(int64_t head_dim, int64_t value_dim) {
  const LinearAttentionArguments shape{.head_dim = head_dim, .value_dim = value_dim};
  return LinearForward(shape, 0, 0, {}).workspace();
}

void linear_forward(const LinearAttentionArguments& arguments, int64_t batch, int64_t head,
                    float* workspace) {
  LinearForward(arguments, batch, head, {workspace}).run();
}

int64_t linear_backward_workspace(int64_t head_dim, int64_t value_dim) {
  const LinearGradientArguments shape{.forward = {.head_dim = head_dim, .value_dim = value_dim}};
  return LinearBackward(shape, 0, 0, {}).workspace();
}

void linear_backward(const LinearGradientArguments& arguments, int64_t batch, int64_t head,
                     float* workspace) {
  LinearBackward(arguments, batch, head, {workspace}).run();
}

const LinearKernels& linear_table() {
  static constexpr LinearKernels table{linear_forward_workspace, linear_forward, linear_backward_workspace,
                                       linear_backward};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(linear_table);

const LinearKernels& linear_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(linear_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
