// Values of the host's differentiable graph, written like mathematics. Every operation is a few lines over
// `apply`: an op of the host named by text, so that a new op needs nothing new here.
// docs/design/plugin-abi.md lists the ops.
//
// Axes may be negative (-1 is the last). Shapes broadcast as in NumPy. Which precision the graph works in
// (float32, or float64 for checks) is the host's choice; scalars and constants are converted to it.
#pragma once

#include <attnlab/plugin.hpp>

#include <cmath>
#include <concepts>
#include <initializer_list>
#include <utility>

namespace attnlab {

/// A reference-counted handle of a node; empty when default-constructed, which as an operand means "absent".
/// Copies share the node. Different handles may be used by different threads.
class Var {
 public:
  Var() = default;
  /// Takes over the one reference that the graph returned with `node`.
  static Var adopt(const attnlab_graph* graph, attnlab_node* node) { return Var(graph, node); }
  /// Adds a reference to a node that somebody else holds.
  static Var share(const attnlab_graph* graph, attnlab_node* node) {
    if (node != nullptr) graph->retain(graph->context, node);
    return Var(graph, node);
  }
  Var(const Var& other) : Var(share(other.graph_, other.node_)) {}
  Var(Var&& other) noexcept : graph_(other.graph_), node_(std::exchange(other.node_, nullptr)) {}
  Var& operator=(Var other) noexcept {
    std::swap(graph_, other.graph_);
    std::swap(node_, other.node_);
    return *this;
  }
  ~Var() {
    if (node_ != nullptr) graph_->release(graph_->context, node_);
  }

  explicit operator bool() const { return node_ != nullptr; }
  attnlab_node* node() const { return node_; }
  const attnlab_graph* graph() const { return graph_; }
  /// Gives the reference to the caller.
  attnlab_node* release() { return std::exchange(node_, nullptr); }

  /// Read-only elements and extents; valid while this handle lives.
  attnlab_tensor view() const {
    attnlab_tensor tensor{};
    tensor.struct_size = sizeof tensor;
    detail::checked(
        [&](attnlab_error* error) { return graph_->view(graph_->context, node_, &tensor, error); });
    return tensor;
  }
  std::vector<int64_t> shape() const {
    auto tensor = view();
    return {tensor.shape, tensor.shape + tensor.rank};
  }
  int64_t size(int64_t axis) const {
    auto tensor = view();
    return tensor.shape[axis < 0 ? axis + tensor.rank : axis];
  }

 private:
  Var(const attnlab_graph* graph, attnlab_node* node) : graph_(graph), node_(node) {}

  const attnlab_graph* graph_ = nullptr;
  attnlab_node* node_ = nullptr;
};

/// A named argument of an op. Borrows: what it points at must outlive the call of `apply`.
struct Attribute : attnlab_attribute {
  template <std::integral T>
  Attribute(std::string_view key, T value) : Attribute(Type{ATTNLAB_ATTRIBUTE_INT}, key) {
    integer = static_cast<int64_t>(value);
  }
  Attribute(std::string_view key, double value) : Attribute(Type{ATTNLAB_ATTRIBUTE_REAL}, key) {
    real = value;
  }
  Attribute(std::string_view key, const char* value) : Attribute(Type{ATTNLAB_ATTRIBUTE_TEXT}, key) {
    text = to_abi(value);
  }
  Attribute(std::string_view key, const std::vector<int64_t>& value)
      : Attribute(Type{ATTNLAB_ATTRIBUTE_INTS}, key) {
    integers = value.data();
    integer_count = value.size();
  }
  Attribute(std::string_view key, const Pipeline& value) : Attribute(Type{ATTNLAB_ATTRIBUTE_HANDLE}, key) {
    handle = value.handle;
  }

 private:
  struct Type {
    int32_t code;
  };
  Attribute(Type kind, std::string_view key) : attnlab_attribute{} {
    name = to_abi(key);
    type = kind.code;
  }
};

/// Applies the host's op `op` and returns its `output_count` results. Empty inputs are optional operands left
/// out; at least one input is present. Throws HostError when the host has no such op or refuses the operands.
inline std::vector<Var> apply(std::string_view op, std::span<const Var> inputs,
                              std::span<const Attribute> attributes, size_t output_count) {
  const attnlab_graph* graph = nullptr;
  std::vector<attnlab_node*> nodes;
  for (const Var& input : inputs) {
    nodes.push_back(input.node());
    if (input) graph = input.graph();
  }
  if (graph == nullptr)
    throw HostError(ATTNLAB_CONTRACT, "op \"" + std::string(op) + "\" was given no operand");
  const int32_t id = graph->resolve(graph->context, to_abi(op));
  if (id < 0) throw HostError(ATTNLAB_UNSUPPORTED, "this host has no op \"" + std::string(op) + "\"");
  std::vector<attnlab_attribute> arguments(attributes.begin(), attributes.end());
  std::vector<attnlab_node*> results(output_count, nullptr);
  detail::checked([&](attnlab_error* error) {
    return graph->apply(graph->context, id, nodes.data(), nodes.size(), arguments.data(), arguments.size(),
                        results.data(), results.size(), error);
  });
  std::vector<Var> outputs;
  for (attnlab_node* node : results) outputs.push_back(Var::adopt(graph, node));
  return outputs;
}
inline Var apply(std::string_view op, std::initializer_list<Var> inputs,
                 std::initializer_list<Attribute> attributes = {}) {
  return std::move(apply(op, std::span(inputs.begin(), inputs.size()),
                         std::span(attributes.begin(), attributes.size()), 1)[0]);
}

namespace detail {

inline Var constant(const attnlab_graph* graph, std::span<const double> values,
                    const std::vector<int64_t>& shape) {
  attnlab_tensor tensor{};
  tensor.struct_size = sizeof tensor;
  tensor.dtype = ATTNLAB_F64;
  tensor.rank = static_cast<int32_t>(shape.size());
  tensor.data = values.data();
  int64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0; stride *= shape[axis]) {
    tensor.shape[axis] = shape[axis];
    tensor.stride[axis] = stride;
  }
  attnlab_node* node = nullptr;
  checked([&](attnlab_error* error) { return graph->constant(graph->context, &tensor, &node, error); });
  return Var::adopt(graph, node);
}

}  // namespace detail

/// A number beside `like` in the same graph.
inline Var scalar(const Var& like, double value) {
  return detail::constant(like.graph(), {&value, 1}, {});
}

inline Var operator+(const Var& a, const Var& b) {
  return apply("add", {a, b});
}
inline Var operator-(const Var& a, const Var& b) {
  return apply("subtract", {a, b});
}
inline Var operator*(const Var& a, const Var& b) {
  return apply("multiply", {a, b});
}
inline Var operator/(const Var& a, const Var& b) {
  return apply("divide", {a, b});
}
inline Var operator-(const Var& a) {
  return apply("negate", {a});
}
inline Var operator+(const Var& a, double b) {
  return a + scalar(a, b);
}
inline Var operator-(const Var& a, double b) {
  return a - scalar(a, b);
}
inline Var operator*(const Var& a, double b) {
  return a * scalar(a, b);
}
inline Var operator/(const Var& a, double b) {
  return a / scalar(a, b);
}
inline Var operator+(double a, const Var& b) {
  return scalar(b, a) + b;
}
inline Var operator-(double a, const Var& b) {
  return scalar(b, a) - b;
}
inline Var operator*(double a, const Var& b) {
  return scalar(b, a) * b;
}
inline Var operator/(double a, const Var& b) {
  return scalar(b, a) / b;
}

inline Var exp(const Var& x) {
  return apply("exp", {x});
}
inline Var log(const Var& x) {
  return apply("log", {x});
}
inline Var sqrt(const Var& x) {
  return apply("sqrt", {x});
}
inline Var rsqrt(const Var& x) {
  return apply("rsqrt", {x});
}
inline Var sigmoid(const Var& x) {
  return apply("sigmoid", {x});
}
inline Var silu(const Var& x) {
  return apply("silu", {x});
}
inline Var tanh(const Var& x) {
  return apply("tanh", {x});
}
inline Var relu(const Var& x) {
  return apply("relu", {x});
}
/// x Phi(x), Phi the distribution function of the normal (arXiv:1606.08415).
inline Var gelu(const Var& x) {
  return apply("gelu", {x});
}
inline Var maximum(const Var& a, const Var& b) {
  return apply("maximum", {a, b});
}
inline Var minimum(const Var& a, const Var& b) {
  return apply("minimum", {a, b});
}

/// Batched product of [..., n, m] and [..., m, p].
inline Var matmul(const Var& a, const Var& b) {
  return apply("matmul", {a, b});
}
inline Var permute(const Var& x, const std::vector<int64_t>& order) {
  return apply("permute", {x}, {{"order", order}});
}
/// The last two axes exchanged.
inline Var transpose(const Var& x) {
  std::vector<int64_t> order(x.shape().size());
  for (size_t axis = 0; axis < order.size(); ++axis) order[axis] = static_cast<int64_t>(axis);
  std::swap(order.at(order.size() - 1), order.at(order.size() - 2));
  return permute(x, order);
}
/// One extent may be -1: what is left.
inline Var reshape(const Var& x, const std::vector<int64_t>& shape) {
  return apply("reshape", {x}, {{"shape", shape}});
}
inline Var broadcast(const Var& x, const std::vector<int64_t>& shape) {
  return apply("broadcast", {x}, {{"shape", shape}});
}
/// Elements [begin, end) of an axis.
inline Var slice(const Var& x, int64_t axis, int64_t begin, int64_t end) {
  return apply("slice", {x}, {{"axis", axis}, {"begin", begin}, {"end", end}});
}
/// [0, at) and [at, size) of the last axis.
inline std::pair<Var, Var> split(const Var& x, int64_t at) {
  return {slice(x, -1, 0, at), slice(x, -1, at, x.size(-1))};
}
inline Var concat(std::span<const Var> parts, int64_t axis) {
  const Attribute attribute{"axis", axis};
  return std::move(apply("concat", parts, {&attribute, 1}, 1)[0]);
}
inline Var concat(const Var& a, const Var& b, int64_t axis = -1) {
  const Var parts[] = {a, b};
  return concat(parts, axis);
}
/// `before` and `after` zeros around the elements of an axis.
inline Var pad(const Var& x, int64_t axis, int64_t before, int64_t after) {
  return apply("pad", {x}, {{"axis", axis}, {"before", before}, {"after", after}});
}
/// Slices of `x` along `axis` by the integers in `index`.
inline Var gather(const Var& x, const Var& index, int64_t axis) {
  return apply("gather", {x, index}, {{"axis", axis}});
}

/// Element by element `condition` != 0 ? `yes` : `no`; what is not taken may be anything, NaN too.
inline Var select(const Var& condition, const Var& yes, const Var& no) {
  return apply("select", {condition, yes, no});
}

/// Sum of all elements, a scalar.
inline Var sum(const Var& x) {
  return apply("sum", {x});
}
/// Sum over an axis, which stays with extent 1.
inline Var sum(const Var& x, int64_t axis) {
  return apply("sum", {x}, {{"axis", axis}});
}
/// Sums over the axes along which `shape` broadcasts to the shape of x.
inline Var sum_to(const Var& x, const std::vector<int64_t>& shape) {
  return x.shape() == shape ? x : apply("sum_to", {x}, {{"shape", shape}});
}
inline Var softmax(const Var& x, int64_t axis = -1) {
  return apply("softmax", {x}, {{"axis", axis}});
}
/// y_t = a_t y_{t-1} + u_t along an axis, y_{-1} = `first` (zero when absent), a, u and first broadcast.
inline Var scan(const Var& a, const Var& u, const Var& first, int64_t axis) {
  return apply("scan", {a, u, first}, {{"axis", axis}});
}

/// The value alone: gradients stop here.
inline Var detach(const Var& x) {
  return apply("detach", {x});
}
/// The same value, whose gradient `grad` can be asked for, also where nothing is trained.
inline Var watch(const Var& x) {
  return apply("watch", {x});
}
/// Gradients of sum(y) by each of `by` (parameters or watched values). They can be differentiated again; in
/// inference `detach` what outlives the step, or its whole history stays alive.
inline std::vector<Var> grad(const Var& y, std::span<const Var> by) {
  std::vector<attnlab_node*> nodes, gradients(by.size(), nullptr);
  for (const Var& x : by) nodes.push_back(x.node());
  detail::checked([&](attnlab_error* error) {
    return y.graph()->grad(y.graph()->context, y.node(), nullptr, nodes.data(), nodes.size(),
                           gradients.data(), error);
  });
  std::vector<Var> results;
  for (attnlab_node* node : gradients) results.push_back(Var::adopt(y.graph(), node));
  return results;
}
inline std::vector<Var> grad(const Var& y, std::initializer_list<Var> by) {
  return grad(y, std::span(by.begin(), by.size()));
}

/// act(x W^T + b) with W [out, in]; activation "none", "relu", "gelu", "gelu_tanh" or "silu".
inline Var linear(const Var& x, const Var& weight, const Var& bias = {}, const char* activation = "none") {
  return apply("linear", {x, weight, bias}, {{"activation", activation}});
}
/// x / (1 - p) with probability 1 - p, else 0; the same elements for the same key.
inline Var dropout(const Var& x, double p, uint64_t key) {
  return p == 0 ? x : apply("dropout", {x}, {{"p", p}, {"key", key}});
}
/// Mean of -log softmax(logits)[target] of logits [..., classes] and integers [...]; negative targets do not
/// count.
inline Var cross_entropy(const Var& logits, const Var& targets) {
  return apply("cross_entropy", {logits, targets});
}
/// x / sqrt(mean(x^2) + epsilon) * weight over the last axis.
inline Var rms_norm(const Var& x, const Var& weight = {}, double epsilon = 1e-6) {
  return apply("norm", {x, weight, {}}, {{"kind", "rms"}, {"epsilon", epsilon}});
}
/// (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis.
inline Var layer_norm(const Var& x, const Var& weight = {}, const Var& bias = {}, double epsilon = 1e-5) {
  return apply("norm", {x, weight, bias}, {{"kind", "layer"}, {"epsilon", epsilon}});
}
/// x / sqrt(sum(x^2) + epsilon) over the last axis.
inline Var l2_norm(const Var& x, double epsilon = 1e-12) {
  return x * rsqrt(sum(x * x, -1) + epsilon);
}

struct Rope {
  int64_t position = 0;     ///< of the first token, usually Context::past()
  double theta = 10000;     ///< base of the frequencies theta^(-2i/d)
  bool interleaved = true;  ///< pairs (2i, 2i+1); otherwise (i, i + d/2)
};
/// Rotary position embedding of [..., tokens, d].
inline Var rope(const Var& x, const Rope& options) {
  return apply(
      "rope", {x},
      {{"position", options.position}, {"theta", options.theta}, {"interleaved", options.interleaved}});
}

struct Attend {
  bool causal = true;  ///< row i of Sq sits at position i + Sk - Sq
  double scale = 0;    ///< of the logits; 0: 1 / sqrt(head_dim)
  int64_t window = 0;  ///< last keys that a row sees; 0: all
  int64_t prefix = 0;  ///< first keys that every row sees, whatever the window
  double dropout =
      0;  ///< share of the weights that is dropped, as by `dropout` of their plane with dropout_key
  uint64_t dropout_key = 0;
  Var bias;        ///< additive, broadcast to [B, Hq, Sq, Sk]
  Var sink_logit;  ///< [Hq], a term of the denominator without a value
  /// Maskers that choose the keys of each row, with neither window, dropout, bias nor sink logits. Gradients
  /// flow through the chosen keys, whose weights are 1/p.
  Pipeline selector;
  int32_t layer = 0;              ///< for the selector: Context::layer()
  uint64_t selector_key = 0;      ///< of what the selector draws
  bool dense_when_empty = false;  ///< a row that selects nothing attends to all it sees; else an error
};
/// softmax(scale q k^T + bias) v of q [B, Hq, Sq, d], k [B, Hkv, Sk, d], v [B, Hkv, Sk, dv]; Hkv divides Hq.
inline Var attend(const Var& q, const Var& k, const Var& v, const Attend& options = {}) {
  return apply("attend", {q, k, v, options.bias, options.sink_logit},
               {{"causal", options.causal},
                {"scale", options.scale},
                {"window", options.window},
                {"prefix", options.prefix},
                {"dropout", options.dropout},
                {"dropout_key", options.dropout_key},
                {"selector", options.selector},
                {"layer", options.layer},
                {"selector_key", options.selector_key},
                {"dense_when_empty", options.dense_when_empty}});
}
struct LinearAttend {
  bool causal = true;
  bool normalise = true;                 ///< divide by phi(q) z; a row whose denominator is 0 is 0
  const char* feature_map = "identity";  ///< phi: "identity", "relu", "elu+1" or "exp"
  double scale = 1;                      ///< of phi(q)
  Var state;                             ///< S_0 [B, Hkv, d, dv] of tokens before these; empty: 0
  Var key_sum;                           ///< z_0 [B, Hkv, d], with `normalise`; empty: 0
};
/// phi(q) S / (phi(q) z) of q [B, Hq, T, d], k [B, Hkv, T, d] and v [B, Hkv, T, dv], Hkv divides Hq, with
/// S = S_0 + sum phi(k) v^T and z = z_0 + sum phi(k) over the tokens up to each, or over all (equations 8 to
/// 12 of arXiv:2006.16236). Chunkwise: O(T (d + 64) dv) a head.
inline Var linear_attend(const Var& q, const Var& k, const Var& v, const LinearAttend& options = {}) {
  return apply("linear_attend", {q, k, v, options.state, options.key_sum},
               {{"causal", options.causal},
                {"normalise", options.normalise},
                {"feature_map", options.feature_map},
                {"scale", options.scale}});
}

/// [B, T, H d] as [B, H, T, d].
inline Var split_heads(const Var& x, int64_t heads) {
  return permute(reshape(x, {x.size(0), x.size(1), heads, -1}), {0, 2, 1, 3});
}
/// [B, H, T, d] as [B, T, H d].
inline Var merge_heads(const Var& x) {
  return reshape(permute(x, {0, 2, 1, 3}), {x.size(0), x.size(2), -1});
}

}  // namespace attnlab
