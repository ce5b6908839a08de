#include "core/graph/op.hpp"

#include <unordered_map>

namespace attnlab::graph {

const Array& Evaluation::input(size_t i) const {
  return inputs[i];
}

const std::vector<Op>& ops() {
  static const std::vector<Op> all = [] {
    std::vector<Op> list;
    for (auto family :
         {pointwise_ops, reduction_ops, softmax_ops, shape_ops, index_ops, product_ops, random_ops,
          linear_ops, norm_ops, loss_ops, position_ops, attention_ops, linear_attention_ops, matrix_ops}) {
      for (Op& op : family()) list.push_back(std::move(op));
    }
    return list;
  }();
  return all;
}

int32_t find_op(std::string_view name) {
  static const std::unordered_map<std::string_view, int32_t> ids = [] {
    std::unordered_map<std::string_view, int32_t> map;
    for (const Op& op : ops()) map.emplace(op.name, static_cast<int32_t>(map.size()));
    return map;
  }();
  const auto found = ids.find(name);
  return found == ids.end() ? -1 : found->second;
}

}  // namespace attnlab::graph
