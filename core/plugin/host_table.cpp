#include "core/plugin/host_table.hpp"

#include <fmt/core.h>
#include <attnlab/plugin.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/plugin/call.hpp"
#include "core/plugin/kernel_service.hpp"

namespace attnlab::plugin {
namespace {

std::atomic<bool> cancel_requested{false};

int32_t dtype_code(tensor::DType dtype) {
  switch (dtype) {
    case tensor::DType::f32:
      return ATTNLAB_F32;
    case tensor::DType::f64:
      return ATTNLAB_F64;
    case tensor::DType::i32:
      return ATTNLAB_I32;
    case tensor::DType::i64:
      return ATTNLAB_I64;
    case tensor::DType::u8:
      return ATTNLAB_U8;
    case tensor::DType::u64:
      return ATTNLAB_U64;
    default:
      return 0;
  }
}

}  // namespace

HostContext::HostContext(std::string owner) : owner_(std::move(owner)) {
  table_.struct_size = sizeof table_;
  table_.abi_major = ATTNLAB_ABI_MAJOR;
  table_.abi_minor = ATTNLAB_ABI_MINOR;
  table_.context = this;
  table_.parallel_for = [](void* context, int64_t count, attnlab_loop_body body, void* body_context) {
    // The other threads of the loop run on behalf of the same call.
    const Call* call = Call::current();
    base::parallel_for(count, [&](int64_t index, int) {
      FpuMode mode;
      if (call == nullptr) {
        body(body_context, index);
      } else {
        const Call mark(call->callee(), call->slot(), call->place());
        body(body_context, index);
      }
      if (mode.restore()) static_cast<HostContext*>(context)->fpu_changed_ = true;
    });
  };
  table_.log = [](void* context, int32_t level, attnlab_text message) {
    const char* names[] = {"debug", "info", "warning"};
    fmt::print(stderr, "{}: {}: {}\n", static_cast<HostContext*>(context)->owner_,
               names[std::clamp(level, 0, 2)], base::escape_unprintable(attnlab::from_abi(message)));
  };
  table_.metric = [](void* context, attnlab_text name, double value) {
    auto* self = static_cast<HostContext*>(context);
    std::lock_guard lock(self->mutex_);
    self->metrics_[std::string(attnlab::from_abi(name))].push_back(value);
  };
  table_.cancelled = [](void*) -> int32_t { return cancelled() ? 1 : 0; };
  table_.artifact = [](void* context, attnlab_text path, attnlab_text name, attnlab_tensor* tensor,
                       attnlab_error* error) -> attnlab_status {
    try {
      return static_cast<HostContext*>(context)->open_artifact(std::string(attnlab::from_abi(path)),
                                                               std::string(attnlab::from_abi(name)), *tensor);
    } catch (const std::exception& failure) {
      attnlab::detail::fill(error, ATTNLAB_INVALID_PARAMETER, failure.what());
      return ATTNLAB_INVALID_PARAMETER;
    }
  };
  // The graph is not offered by this version of the host.
  table_.query = [](void*, attnlab_text id) -> const void* {
    return attnlab::from_abi(id) == "attnlab.kernels/1" ? &kernel_service() : nullptr;
  };
}

std::map<std::string, std::vector<double>> HostContext::metrics() const {
  std::lock_guard lock(mutex_);
  return metrics_;
}

void HostContext::cancel_all() {
  cancel_requested = true;
}
bool HostContext::cancelled() {
  return cancel_requested;
}

attnlab_status HostContext::open_artifact(const std::string& path, const std::string& name,
                                          attnlab_tensor& out) {
  std::lock_guard lock(mutex_);
  auto file = weight_files_.find(path);
  if (file == weight_files_.end())
    file = weight_files_.emplace(path, WeightFile{io::Archive::open(path), {}}).first;
  auto& [archive, tensors] = file->second;
  auto found = tensors.find(name);
  if (found == tensors.end()) {
    tensor::Tensor read = archive.read(name);
    // Half precision has no code in the ABI: weights are handed over in float32.
    if (dtype_code(read.dtype()) == 0) read = read.to_f32();
    if (read.rank() > 8) {
      throw base::UserError("tensor \"" + name + "\" has more than 8 axes", {.file = path});
    }
    found = tensors.emplace(name, std::move(read)).first;
  }
  const tensor::Tensor& value = found->second;
  out.dtype = dtype_code(value.dtype());
  out.rank = static_cast<int32_t>(value.rank());
  out.data = value.bytes();
  int64_t stride = 1;
  for (int64_t axis = value.rank() - 1; axis >= 0; --axis) {
    out.shape[axis] = value.shape()[axis];
    out.stride[axis] = stride;
    stride *= value.shape()[axis];
  }
  return ATTNLAB_OK;
}

}  // namespace attnlab::plugin
