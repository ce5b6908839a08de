// Author API of attention schemes: differentiable replacements of softmax attention.
//
// A scheme is a struct with parameters as members and
//   static void describe(attnlab::Description<T>&);
// and one of
//   Var forward(Context&, Var q, Var k, Var v) const;
//     an operator: [B, H, T, d] each, returns [B, Hq, T, dv]
//   Var forward(Context&, Var x) const;
//     a layer: [B, T, embed_dim] to the same
//   Var forward(Context&, LayerInputs inputs) const;
//     a layer that may attend to another sequence: its key and value are empty in self-attention
// and, when it needs them,
//   void prepare();
//     checks parameters together, precomputes
//   void declare(Declaration&) const;
//     learned tensors
//   Var step(Context&, State&, Var x) const;
//     new positions on kept state; inputs as in forward
//
// Without `step` the host recomputes the sequence. Instances are immutable after prepare(): forward and step
// run on several threads at once.
#pragma once

#include <attnlab/philox.hpp>
#include <attnlab/var.hpp>

namespace attnlab {

/// How a learned tensor starts and where it writes.
struct Init {
  std::string_view rule =
      "fan_in";           ///< "normal", "zeros", "ones", "constant", "fan_in": N(0, scale^2 / last extent)
  double scale = 1;       ///< standard deviation of "normal", value of "constant", factor of "fan_in"
  bool residual = false;  ///< the tensor writes to the residual stream: the model may scale it by depth
};

/// Inputs of a layer that may attend to another sequence than its own.
struct LayerInputs {
  Var x;           ///< [B, T, embed_dim]
  Var key, value;  ///< [B, S, embed_dim] each, or empty: x
};

/// What a scheme tells about itself for given extents.
class Declaration {
 public:
  Declaration(const attnlab_scheme_context* context, const attnlab_scheme_sink* sink)
      : context_(context), sink_(sink) {}
  int64_t embed_dim() const { return context_->embed_dim; }
  int64_t query_heads() const { return context_->query_heads; }
  int64_t kv_heads() const { return context_->kv_heads; }
  int64_t head_dim() const { return context_->head_dim; }
  int64_t value_dim() const { return context_->value_dim; }

  /// A learned tensor; matrices are [out, in].
  void parameter(std::string_view name, const std::vector<int64_t>& shape, const Init& init = {}) {
    detail::checked([&](attnlab_error* error) {
      return sink_->parameter(sink_->context, to_abi(name), shape.data(), shape.size(), to_abi(init.rule),
                              init.scale, init.residual ? 1 : 0, error);
    });
  }

 private:
  const attnlab_scheme_context* context_;
  const attnlab_scheme_sink* sink_;
};

/// One forward or step: extents, parameters, and what the scheme reports besides its output.
class Context {
 public:
  explicit Context(const attnlab_scheme_context* context) : context_(context) {}

  int32_t layer() const { return context_->layer; }
  int64_t batch() const { return context_->batch; }
  /// New positions of this call, and positions before them (0 in forward).
  int64_t tokens() const { return context_->tokens; }
  int64_t past() const { return context_->past; }
  int64_t embed_dim() const { return context_->embed_dim; }
  int64_t query_heads() const { return context_->query_heads; }
  int64_t kv_heads() const { return context_->kv_heads; }
  int64_t head_dim() const { return context_->head_dim; }
  int64_t value_dim() const { return context_->value_dim; }
  bool causal() const { return context_->causal != 0; }
  bool training() const { return context_->training != 0; }
  /// Of the logits of an operator.
  double scale() const { return context_->scale; }
  Philox random() const { return Philox(context_->rng_key, 0); }

  /// A tensor that `declare` named.
  Var parameter(std::string_view name) const {
    attnlab_node* node = nullptr;
    detail::checked([&](attnlab_error* error) {
      return graph()->parameter(graph()->context, to_abi(name), &node, error);
    });
    return Var::adopt(graph(), node);
  }
  Var constant(double value) const { return detail::constant(graph(), {&value, 1}, {}); }
  /// Row-major elements.
  Var constant(std::span<const double> values, const std::vector<int64_t>& shape) const {
    return detail::constant(graph(), values, shape);
  }

  /// A scalar added to the training loss.
  void report_loss(std::string_view name, const Var& value) const {
    report(ATTNLAB_REPORT_LOSS, name, value);
  }
  /// A tensor that a study may ask for.
  void report_intermediate(std::string_view name, const Var& value) const {
    report(ATTNLAB_REPORT_INTERMEDIATE, name, value);
  }
  /// A scalar for the records.
  void report_metric(std::string_view name, const Var& value) const {
    report(ATTNLAB_REPORT_METRIC, name, value);
  }

  const attnlab_graph* graph() const { return context_->graph; }

 private:
  void report(int32_t kind, std::string_view name, const Var& value) const {
    detail::checked([&](attnlab_error* error) {
      return graph()->report(graph()->context, kind, to_abi(name), value.node(), error);
    });
  }

  const attnlab_scheme_context* context_;
};

/// Named values of one sequence that outlive a step; the host owns them, so that it can count, fork and save
/// them.
class State {
 public:
  State(const attnlab_graph* graph, const attnlab_scheme_state* table) : graph_(graph), table_(table) {}

  /// Empty before the first `set` or `append`.
  Var get(std::string_view name) const {
    attnlab_node* node = nullptr;
    detail::checked(
        [&](attnlab_error* error) { return table_->get(table_->context, to_abi(name), &node, error); });
    return Var::adopt(graph_, node);
  }
  /// Replaces a value of constant size, such as a memory.
  void set(std::string_view name, const Var& value) const {
    detail::checked([&](attnlab_error* error) {
      return table_->set(table_->context, to_abi(name), value.node(), error);
    });
  }
  /// Appends tokens (the last axis but one) and returns all of them.
  Var append(std::string_view name, const Var& tokens) const {
    attnlab_node* whole = nullptr;
    detail::checked([&](attnlab_error* error) {
      return table_->append(table_->context, to_abi(name), tokens.node(), &whole, error);
    });
    return Var::adopt(graph_, whole);
  }

 private:
  const attnlab_graph* graph_;
  const attnlab_scheme_state* table_;
};

namespace detail {

template <class T>
concept Operator = requires(const T& t, Context& c, Var v) {
  { t.forward(c, v, v, v) } -> std::convertible_to<Var>;
};
template <class T>
concept Layer = requires(const T& t, Context& c, Var v) {
  { t.forward(c, v) } -> std::convertible_to<Var>;
};
template <class T>
concept CrossLayer = requires(const T& t, Context& c, LayerInputs i) {
  { t.forward(c, i) } -> std::convertible_to<Var>;
};
template <class T>
consteval bool has_step() {
  if constexpr (Operator<T>) {
    return ATTNLAB_HAS_METHOD(T, step, std::declval<Context&>(), std::declval<State&>(), Var(), Var(), Var());
  } else if constexpr (CrossLayer<T>) {
    return ATTNLAB_HAS_METHOD(T, step, std::declval<Context&>(), std::declval<State&>(), LayerInputs());
  } else {
    return ATTNLAB_HAS_METHOD(T, step, std::declval<Context&>(), std::declval<State&>(), Var());
  }
}

/// Calls body(inputs...) with the inputs of T and passes on the result.
template <class T, class Body>
attnlab_status run_scheme(const attnlab_graph* graph, attnlab_node* const* nodes, uint64_t count,
                          attnlab_node** output, attnlab_error* error, const Body& body) noexcept {
  return guard(error, [&] {
    if (count != (Layer<T> ? 1 : 3))
      throw HostError(ATTNLAB_CONTRACT, "the host passed a wrong number of inputs");
    auto input = [&](size_t i) { return Var::share(graph, nodes[i]); };
    Var result;
    if constexpr (Operator<T>) {
      result = body(input(0), input(1), input(2));
    } else if constexpr (CrossLayer<T>) {
      result = body(LayerInputs{input(0), input(1), input(2)});
    } else {
      result = body(input(0));
    }
    if (!result) throw HostError(ATTNLAB_CONTRACT, "the scheme returned no value");
    *output = result.release();
  });
}

}  // namespace detail

/// Base of schemes. See the top of this file for the methods to write.
class AttentionScheme {
 public:
  static constexpr int32_t facet = ATTNLAB_SCHEME;
  void attach(Host host) { host_ = host; }
  const Host& host() const { return host_; }

  template <class T>
  static void fill_table(attnlab_method& method, const T*) {
    static_assert(int{detail::Operator<T>} + int{detail::Layer<T>} + int{detail::CrossLayer<T>} == 1,
                  "a scheme needs one of `Var forward(Context&, Var q, Var k, Var v) const`, `Var "
                  "forward(Context&, Var x) "
                  "const` and `Var forward(Context&, LayerInputs inputs) const`");
    static attnlab_scheme_table table{};
    table.struct_size = sizeof table;
    table.create = &detail::create<T>;
    table.destroy = &detail::destroy<T>;
    table.declare = [](const void* self, const attnlab_scheme_context* context,
                       const attnlab_scheme_sink* sink, attnlab_error* error) noexcept {
      return detail::guard(error, [&] {
        std::vector<std::string_view> inputs{"x"};
        if (detail::Operator<T>) inputs = {"q", "k", "v"};
        if (detail::CrossLayer<T>) inputs = {"x", "key", "value"};
        for (std::string_view name : inputs)
          detail::checked([&](attnlab_error* e) { return sink->input(sink->context, to_abi(name), e); });
        Declaration declaration(context, sink);
        if constexpr (ATTNLAB_HAS_METHOD(T, declare, std::declval<Declaration&>())) {
          static_cast<const T*>(self)->declare(declaration);
        }
      });
    };
    table.forward = [](const void* self, const attnlab_scheme_context* context, attnlab_node* const* inputs,
                       uint64_t count, attnlab_node** output, attnlab_error* error) noexcept {
      return detail::run_scheme<T>(context->graph, inputs, count, output, error, [&](auto... input) {
        Context c(context);
        return static_cast<const T*>(self)->forward(c, std::move(input)...);
      });
    };
    if constexpr (detail::has_step<T>()) {
      table.step = [](const void* self, const attnlab_scheme_context* context,
                      const attnlab_scheme_state* state, attnlab_node* const* inputs, uint64_t count,
                      attnlab_node** output, attnlab_error* error) noexcept {
        return detail::run_scheme<T>(context->graph, inputs, count, output, error, [&](auto... input) {
          Context c(context);
          State s(context->graph, state);
          return static_cast<const T*>(self)->step(c, s, std::move(input)...);
        });
      };
    }
    method.scheme = &table;
  }

 private:
  Host host_;
};

}  // namespace attnlab
