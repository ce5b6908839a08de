#include <attnlab/scheme.hpp>

using attnlab::Var;

/// Titans' long-term memory (arXiv:2501.00663, section 3.1): a network M whose weights learn k -> v at test
/// time,
///   S_t = eta_t S_{t-1} - theta_t grad |M(k_t) - v_t|^2,   M_t = (1 - alpha_t) M_{t-1} + S_t,   y_t =
///   M_t(q_t).
/// Gradients are taken at the weights of the start of each chunk; a chunk of 1 is the sequential rule.
struct NeuralMemory : attnlab::AttentionScheme {
  int64_t depth = 1, chunk = 16;

  static void describe(attnlab::Description<NeuralMemory>& d) {
    d.id("stub.titans").summary("A memory that learns while it reads.").paper("arXiv:2501.00663");
    d.parameter("depth", &NeuralMemory::depth).doc("Layers of the memory, silu between them.").range(1, 8);
    d.parameter("chunk", &NeuralMemory::chunk)
        .doc("Tokens whose gradients share their weights.")
        .range(1, 4096);
  }

  void declare(attnlab::Declaration& d) const {
    const int64_t n = d.embed_dim();
    for (auto name : {"W_q", "W_k", "W_v"}) d.parameter(name, {n, n});
    d.parameter("W_o", {n, n}, {.residual = true});
    for (auto [name, start] : {std::pair{"alpha", -4.0}, {"theta", -3.0}, {"eta", 2.0}}) {
      d.parameter(std::string("W_") + name, {1, n}, {.rule = "zeros"});
      d.parameter(std::string("b_") + name, {1}, {.rule = "constant", .scale = start});
    }
    for (int64_t l = 0; l < depth; ++l) d.parameter(named("M", l), {n, n});
  }

  Var forward(attnlab::Context& ctx, Var x) const {
    Memory memory = fresh(ctx, x.size(0));
    return advance(ctx, memory, x);
  }

  Var step(attnlab::Context& ctx, attnlab::State& state, Var x) const {
    Memory memory = fresh(ctx, x.size(0));
    for (size_t l = 0; l < memory.size(); ++l) {
      if (Var weight = state.get(named("weight", l))) memory[l].weight = weight;
      if (Var anchor = state.get(named("anchor", l))) memory[l].anchor = anchor;
      memory[l].momentum = state.get(named("momentum", l));
    }
    Var y = advance(ctx, memory, x);
    for (size_t l = 0; l < memory.size(); ++l) {
      state.set(named("weight", l), memory[l].weight);
      state.set(named("anchor", l), memory[l].anchor);
      state.set(named("momentum", l), memory[l].momentum);
    }
    return y;
  }

 private:
  /// [B, n, n] each: weights now and at the start of the chunk, and their momentum.
  struct Layer {
    Var weight, anchor, momentum;
  };
  using Memory = std::vector<Layer>;

  template <class Index>
  static std::string named(const char* name, Index l) {
    return name + std::to_string(l);
  }
  Memory fresh(const attnlab::Context& ctx, int64_t batch) const {
    Memory memory;
    for (int64_t l = 0; l < depth; ++l) {
      Var weight = broadcast(ctx.parameter(named("M", l)), {batch, ctx.embed_dim(), ctx.embed_dim()});
      memory.push_back({weight, weight, {}});
    }
    return memory;
  }
  static Var recall(const std::vector<Var>& weights, Var h) {
    for (size_t l = 0; l < weights.size(); ++l) h = matmul(l == 0 ? h : silu(h), weights[l]);
    return h;
  }

  Var advance(attnlab::Context& ctx, Memory& memory, const Var& x) const {
    const int64_t n = ctx.embed_dim(), batch = x.size(0), tokens = x.size(1);
    auto project = [&](const char* name) { return linear(x, ctx.parameter(name)); };
    auto gate = [&](const std::string& name) {
      return sigmoid(linear(x, ctx.parameter("W_" + name), ctx.parameter("b_" + name)));
    };
    const Var q = l2_norm(silu(project("W_q"))), k = l2_norm(silu(project("W_k"))), v = silu(project("W_v"));
    const Var alpha = gate("alpha"), theta = gate("theta"), eta = gate("eta");
    std::vector<Var> outputs;
    for (int64_t begin = 0; begin < tokens;) {
      const int64_t offset = (ctx.past() + begin) % chunk, count = std::min(chunk - offset, tokens - begin);
      auto part = [&](const Var& all) {  // [B, count, 1, width]
        return reshape(slice(all, 1, begin, begin + count), {batch, count, 1, -1});
      };
      // One copy of the weights for each token keeps the gradients of the tokens apart.
      std::vector<Var> copies, weights;
      for (auto& layer : memory) {
        if (offset == 0) layer.anchor = layer.weight;
        copies.push_back(watch(broadcast(reshape(layer.anchor, {batch, 1, n, n}), {batch, count, n, n})));
      }
      const Var error = recall(copies, part(k)) - part(v);
      auto gradients = grad(sum(error * error), copies);
      for (size_t l = 0; l < memory.size(); ++l) {
        const Var gradient = ctx.training() ? gradients[l] : detach(gradients[l]);
        const Var momentum = scan(part(eta), -(part(theta) * gradient), memory[l].momentum, 1);
        weights.push_back(scan(1 - part(alpha), momentum, memory[l].weight, 1));
        auto last = [&](const Var& all) { return reshape(slice(all, 1, count - 1, count), {batch, n, n}); };
        memory[l].momentum = last(momentum);
        memory[l].weight = last(weights[l]);
      }
      outputs.push_back(reshape(recall(weights, part(q)), {batch, count, n}));
      begin += count;
    }
    return linear(concat(outputs, 1), ctx.parameter("W_o"));
  }
};

ATTNLAB_PLUGIN(NeuralMemory);
