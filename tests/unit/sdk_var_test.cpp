#include <gtest/gtest.h>
#include <attnlab/scheme.hpp>

#include <map>
#include <string>
#include <vector>

struct attnlab_node_ {
  int references = 1;
  std::vector<int64_t> shape;
  std::string made_by;
  std::vector<attnlab_node_*> inputs;
};

namespace {

using attnlab::Var;

/// A graph that computes nothing: it counts references and writes down what is applied. Results get
/// `next_shape`.
struct Recorder {
  struct Call {
    std::string op;
    std::vector<attnlab_node*> inputs;
    std::map<std::string, double> numbers;
    std::map<std::string, std::string> texts;
    std::map<std::string, std::vector<int64_t>> lists;
  };
  std::vector<Call> calls;
  std::vector<std::string> names;
  std::map<std::string, attnlab_node*> state;
  std::vector<double> constants;
  std::vector<std::pair<int, std::string>> reports;
  std::vector<int64_t> next_shape;
  int alive = 0;
  attnlab_graph table{};
  attnlab_scheme_state state_table{};

  attnlab_node* make(std::string op) {
    ++alive;
    return new attnlab_node{1, next_shape, std::move(op), {}};
  }
  Var var(std::vector<int64_t> shape = {}) {
    attnlab_node* node = make("input");
    node->shape = std::move(shape);
    return Var::adopt(&table, node);
  }
  const Call& last() const { return calls.back(); }

  Recorder();
};

Recorder& self(void* context) {
  return *static_cast<Recorder*>(context);
}
std::string text(attnlab_text t) {
  return std::string(attnlab::from_abi(t));
}

void retain(void*, attnlab_node* node) {
  ++node->references;
}
void release(void* context, attnlab_node* node) {
  if (--node->references > 0) return;
  --self(context).alive;
  delete node;
}

Recorder::Recorder() {
  table.struct_size = sizeof table;
  table.context = this;
  table.retain = retain;
  table.release = release;
  table.resolve = [](void* c, attnlab_text op) -> int32_t {
    if (text(op) == "unheard_of") return -1;
    self(c).names.push_back(text(op));
    return static_cast<int32_t>(self(c).names.size()) - 1;
  };
  table.apply = [](void* c, int32_t op, attnlab_node* const* inputs, uint64_t input_count,
                   const attnlab_attribute* attributes, uint64_t attribute_count, attnlab_node** outputs,
                   uint64_t output_count, attnlab_error* error) -> attnlab_status {
    Call call;
    call.op = self(c).names[static_cast<size_t>(op)];
    if (call.op == "refused") {
      attnlab::detail::fill(error, ATTNLAB_INVALID_PARAMETER, "shapes do not match");
      return ATTNLAB_INVALID_PARAMETER;
    }
    call.inputs.assign(inputs, inputs + input_count);
    for (uint64_t i = 0; i < attribute_count; ++i) {
      const attnlab_attribute& a = attributes[i];
      if (a.type == ATTNLAB_ATTRIBUTE_INT) call.numbers[text(a.name)] = static_cast<double>(a.integer);
      if (a.type == ATTNLAB_ATTRIBUTE_REAL) call.numbers[text(a.name)] = a.real;
      if (a.type == ATTNLAB_ATTRIBUTE_TEXT) call.texts[text(a.name)] = text(a.text);
      if (a.type == ATTNLAB_ATTRIBUTE_INTS)
        call.lists[text(a.name)] = {a.integers, a.integers + a.integer_count};
    }
    for (uint64_t i = 0; i < output_count; ++i) outputs[i] = self(c).make(call.op);
    self(c).calls.push_back(call);
    return ATTNLAB_OK;
  };
  table.grad = [](void* c, attnlab_node*, attnlab_node* seed, attnlab_node* const*, uint64_t count,
                  attnlab_node** gradients, attnlab_error*) -> attnlab_status {
    EXPECT_EQ(seed, nullptr);
    for (uint64_t i = 0; i < count; ++i) gradients[i] = self(c).make("gradient");
    return ATTNLAB_OK;
  };
  table.constant = [](void* c, const attnlab_tensor* tensor, attnlab_node** node,
                      attnlab_error*) -> attnlab_status {
    EXPECT_EQ(tensor->dtype, ATTNLAB_F64);
    self(c).constants.push_back(*static_cast<const double*>(tensor->data));
    *node = self(c).make("constant");
    return ATTNLAB_OK;
  };
  table.parameter = [](void* c, attnlab_text name, attnlab_node** node, attnlab_error*) -> attnlab_status {
    *node = self(c).make(text(name));
    return ATTNLAB_OK;
  };
  table.view = [](void*, attnlab_node* node, attnlab_tensor* tensor, attnlab_error*) -> attnlab_status {
    tensor->rank = static_cast<int32_t>(node->shape.size());
    std::copy(node->shape.begin(), node->shape.end(), tensor->shape);
    return ATTNLAB_OK;
  };
  table.report = [](void* c, int32_t kind, attnlab_text name, attnlab_node*,
                    attnlab_error*) -> attnlab_status {
    self(c).reports.emplace_back(kind, text(name));
    return ATTNLAB_OK;
  };
  state_table.struct_size = sizeof state_table;
  state_table.context = this;
  state_table.get = [](void* c, attnlab_text name, attnlab_node** node, attnlab_error*) -> attnlab_status {
    auto found = self(c).state.find(text(name));
    *node = found == self(c).state.end() ? nullptr : found->second;
    if (*node != nullptr) retain(c, *node);
    return ATTNLAB_OK;
  };
  state_table.set = [](void* c, attnlab_text name, attnlab_node* node, attnlab_error*) -> attnlab_status {
    retain(c, node);
    if (attnlab_node* old = std::exchange(self(c).state[text(name)], node); old != nullptr) release(c, old);
    return ATTNLAB_OK;
  };
  state_table.append = [](void* c, attnlab_text, attnlab_node*, attnlab_node** whole,
                          attnlab_error*) -> attnlab_status {
    *whole = self(c).make("whole");
    return ATTNLAB_OK;
  };
}

TEST(SdkVar, CopiesShareAndTheLastOneReleases) {
  Recorder graph;
  {
    Var a = graph.var();
    Var b = a, c;
    EXPECT_FALSE(c);
    c = b;
    const Var& same = c;
    c = same;
    EXPECT_EQ(a.node()->references, 3);
    Var d = std::move(c);
    EXPECT_FALSE(c);
    EXPECT_EQ(a.node()->references, 3);
    b = graph.var();
    EXPECT_EQ(a.node()->references, 2);
    EXPECT_EQ(graph.alive, 2);
  }
  EXPECT_EQ(graph.alive, 0);
}

TEST(SdkVar, ExpressionsLeaveNothingBehind) {
  Recorder graph;
  {
    Var x = graph.var({2, 3}), w = graph.var({3, 3});
    Var y = softmax(matmul(x, w) * 0.5 - exp(-x) / (1 + sigmoid(x)));
    Var z = l2_norm(y) + maximum(x, relu(w));
    auto gradients = grad(sum(z * z), {x, w});
    EXPECT_EQ(gradients.size(), 2u);
  }
  EXPECT_EQ(graph.alive, 0);
}

TEST(SdkVar, ScalarsBecomeConstantsOnTheRightSide) {
  Recorder graph;
  Var x = graph.var();
  Var y = 3 - x;
  EXPECT_EQ(graph.constants, std::vector<double>{3});
  EXPECT_EQ(graph.last().op, "subtract");
  EXPECT_EQ(graph.last().inputs[1], x.node());
  Var z = x - 3.5;
  EXPECT_EQ(graph.last().inputs[0], x.node());
  EXPECT_EQ(graph.constants.back(), 3.5);
}

TEST(SdkVar, AttributesKeepTheirTypes) {
  Recorder graph;
  Var x = graph.var({2, 4, 6, 8});
  slice(x, -1, 2, 5);
  EXPECT_EQ(graph.last().numbers, (std::map<std::string, double>{{"axis", -1}, {"begin", 2}, {"end", 5}}));
  rope(x, {.position = 7, .theta = 500000, .interleaved = false});
  EXPECT_EQ(graph.last().numbers,
            (std::map<std::string, double>{{"position", 7}, {"theta", 500000}, {"interleaved", 0}}));
  rms_norm(x);
  EXPECT_EQ(graph.last().texts.at("kind"), "rms");
  transpose(x);
  EXPECT_EQ(graph.last().op, "permute");
  EXPECT_EQ(graph.last().lists.at("order"), (std::vector<int64_t>{0, 1, 3, 2}));
}

TEST(SdkVar, AbsentOperandsAreNull) {
  Recorder graph;
  Var x = graph.var(), w = graph.var(), sink = graph.var();
  linear(x, w);
  EXPECT_EQ(graph.last().inputs, (std::vector<attnlab_node*>{x.node(), w.node(), nullptr}));
  attend(x, x, w, {.causal = false, .window = 64, .sink_logit = sink});
  EXPECT_EQ(graph.last().inputs,
            (std::vector<attnlab_node*>{x.node(), x.node(), w.node(), nullptr, sink.node()}));
  EXPECT_EQ(graph.last().numbers.at("causal"), 0);
  EXPECT_EQ(graph.last().numbers.at("window"), 64);
}

TEST(SdkVar, HeadsSplitAndMerge) {
  Recorder graph;
  graph.next_shape = {2, 5, 4, 8};
  split_heads(graph.var({2, 5, 32}), 4);
  ASSERT_EQ(graph.calls.size(), 2u);
  EXPECT_EQ(graph.calls[0].lists.at("shape"), (std::vector<int64_t>{2, 5, 4, -1}));
  EXPECT_EQ(graph.calls[1].lists.at("order"), (std::vector<int64_t>{0, 2, 1, 3}));
  merge_heads(graph.var({2, 4, 5, 8}));
  EXPECT_EQ(graph.last().lists.at("shape"), (std::vector<int64_t>{2, 5, -1}));
}

TEST(SdkVar, WhatTheHostRefusesIsThrown) {
  Recorder graph;
  Var x = graph.var();
  EXPECT_THROW(attnlab::apply("unheard_of", {x}), attnlab::HostError);
  EXPECT_THROW(attnlab::apply("refused", {x}), attnlab::HostError);
  EXPECT_THROW(attnlab::apply("add", {Var(), Var()}), attnlab::HostError);
}

struct Operator : attnlab::AttentionScheme {
  static void describe(attnlab::Description<Operator>& d) { d.id("operator").summary("q, k, v."); }
  Var forward(attnlab::Context& ctx, Var q, Var k, Var v) const {
    ctx.report_loss("balance", q);
    return attend(q, k, v, {.scale = ctx.scale()});
  }
};

struct Layer : attnlab::AttentionScheme {
  static void describe(attnlab::Description<Layer>& d) { d.id("layer").summary("x."); }
  void declare(attnlab::Declaration& d) const {
    d.parameter("W", {d.embed_dim(), 3}, {.rule = "zeros", .residual = true});
  }
  Var forward(attnlab::Context& ctx, Var x) const { return linear(x, ctx.parameter("W")); }
  Var step(attnlab::Context&, attnlab::State& state, Var x) const {
    Var memory = state.get("memory");
    state.set("memory", memory ? memory + x : x);
    return state.append("keys", x);
  }
};

struct Empty : attnlab::AttentionScheme {
  static void describe(attnlab::Description<Empty>& d) { d.id("empty").summary("Returns nothing."); }
  Var forward(attnlab::Context&, Var) const { return {}; }
};

template <class T>
const attnlab_scheme_table& table_of() {
  return *attnlab::detail::method_of<T>()->scheme;
}

/// Inputs and parameters that T declares, one line each.
template <class T>
std::vector<std::string> declared() {
  std::vector<std::string> lines;
  attnlab_scheme_sink sink{};
  sink.context = &lines;
  sink.input = [](void* c, attnlab_text name, attnlab_error*) -> attnlab_status {
    static_cast<std::vector<std::string>*>(c)->push_back("input " + text(name));
    return ATTNLAB_OK;
  };
  sink.parameter = [](void* c, attnlab_text name, const int64_t* shape, uint64_t rank, attnlab_text init,
                      double scale, int32_t residual, attnlab_error*) -> attnlab_status {
    std::string line = "parameter " + text(name);
    for (uint64_t i = 0; i < rank; ++i) line += " " + std::to_string(shape[i]);
    line += " " + text(init) + " " + std::to_string(static_cast<int>(scale)) + " " + std::to_string(residual);
    static_cast<std::vector<std::string>*>(c)->push_back(line);
    return ATTNLAB_OK;
  };
  attnlab_scheme_context context{};
  context.embed_dim = 12;
  T scheme;
  attnlab_error error{};
  EXPECT_EQ(table_of<T>().declare(&scheme, &context, &sink, &error), ATTNLAB_OK) << error.message;
  return lines;
}

TEST(SdkScheme, InputsFollowFromTheSignatureOfForward) {
  EXPECT_EQ(attnlab::detail::method_of<Layer>()->facet, ATTNLAB_SCHEME);
  EXPECT_EQ(attnlab::detail::method_of<Layer>()->masker, nullptr);
  EXPECT_EQ(declared<Operator>(), (std::vector<std::string>{"input q", "input k", "input v"}));
  EXPECT_EQ(declared<Layer>(), (std::vector<std::string>{"input x", "parameter W 12 3 zeros 1 1"}));
  EXPECT_EQ(table_of<Operator>().step, nullptr);
  EXPECT_NE(table_of<Layer>().step, nullptr);
}

TEST(SdkScheme, ForwardHandsOverOneReferenceAndReports) {
  Recorder graph;
  attnlab_scheme_context context{};
  context.graph = &graph.table;
  context.scale = 0.125;
  {
    Var q = graph.var(), k = graph.var(), v = graph.var();
    attnlab_node* inputs[] = {q.node(), k.node(), v.node()};
    attnlab_node* output = nullptr;
    attnlab_error error{};
    Operator scheme;
    ASSERT_EQ(table_of<Operator>().forward(&scheme, &context, inputs, 3, &output, &error), ATTNLAB_OK);
    EXPECT_EQ(graph.last().numbers.at("scale"), 0.125);
    EXPECT_EQ(graph.reports, (std::vector<std::pair<int, std::string>>{{ATTNLAB_REPORT_LOSS, "balance"}}));
    EXPECT_EQ(output->references, 1);
    EXPECT_EQ(q.node()->references, 1) << "inputs are borrowed";
    release(&graph, output);
    EXPECT_EQ(table_of<Operator>().forward(&scheme, &context, inputs, 1, &output, &error), ATTNLAB_CONTRACT);
  }
  EXPECT_EQ(graph.alive, 0);
}

TEST(SdkScheme, StepReadsAndWritesTheHostsState) {
  Recorder graph;
  attnlab_scheme_context context{};
  context.graph = &graph.table;
  {
    Var x = graph.var();
    attnlab_node* inputs[] = {x.node()};
    Layer scheme;
    for (int step = 0; step < 3; ++step) {
      attnlab_node* output = nullptr;
      attnlab_error error{};
      ASSERT_EQ(table_of<Layer>().step(&scheme, &context, &graph.state_table, inputs, 1, &output, &error),
                ATTNLAB_OK);
      EXPECT_EQ(output->made_by, "whole");
      release(&graph, output);
    }
    EXPECT_EQ(graph.calls.size(), 2u) << "the first step finds no memory";
    EXPECT_EQ(graph.alive, 2) << "input and memory";
    release(&graph, graph.state["memory"]);
  }
  EXPECT_EQ(graph.alive, 0);
}

TEST(SdkScheme, NoValueBreaksTheContract) {
  Recorder graph;
  attnlab_scheme_context context{};
  context.graph = &graph.table;
  Var x = graph.var();
  attnlab_node* inputs[] = {x.node()};
  attnlab_node* output = nullptr;
  attnlab_error error{};
  Empty scheme;
  EXPECT_EQ(table_of<Empty>().forward(&scheme, &context, inputs, 1, &output, &error), ATTNLAB_CONTRACT);
  EXPECT_EQ(output, nullptr);
}

}  // namespace
