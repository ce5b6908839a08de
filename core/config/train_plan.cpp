#include "core/config/train_plan.hpp"

#include <fmt/core.h>

#include "core/config/refuse.hpp"
#include "core/config/rows.hpp"
#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;
using namespace rows;

constexpr double kMany = 1e9;

Parameter above_zero(std::string key, std::string doc, double preset) {
  Parameter p = bounded(std::move(key), 0, 1e9, std::move(doc), preset);
  p.minimum_open = true;
  return p;
}
/// In [0, 1).
Parameter share(std::string key, std::string doc, double preset) {
  Parameter p = bounded(std::move(key), 0, 1, std::move(doc), preset);
  p.maximum_open = true;
  return p;
}

/// Reads and writes members of a plan by the keys of their table.
class Reader {
 public:
  Reader(const Document& document, const std::string& pointer, const std::vector<Parameter>& table,
         const std::vector<std::string>& extra = {}) {
    static const Json nothing = Json::object();
    const Json::json_pointer at(pointer);
    const Json& object = document.root().contains(at) ? document.root().at(at) : nothing;
    values_ = read_object(document, pointer, object, table, extra);
  }
  void operator()(const char* key, int64_t& value) const { value = values_.at(key).as<int64_t>(); }
  void operator()(const char* key, double& value) const { value = values_.at(key).as<double>(); }
  void operator()(const char* key, bool& value) const { value = values_.at(key).as<bool>(); }
  void operator()(const char* key, std::string& value) const { value = values_.at(key).as<std::string>(); }

 private:
  Values values_;
};
class Writer {
 public:
  template <class T>
  void operator()(const char* key, const T& value) {
    json[key] = value;
  }
  Json json = Json::object();
};

template <class Plan, class Visit>
void each_member(Plan& m, Visit&& visit) requires std::is_same_v<std::remove_const_t<Plan>, ModelPlan> {
  visit("layers", m.layers), visit("embed_dim", m.embed_dim), visit("query_heads", m.query_heads);
  visit("kv_heads", m.kv_heads), visit("block", m.block), visit("norm", m.norm),
      visit("position", m.position);
  visit("rope_theta", m.rope_theta), visit("mlp", m.mlp), visit("mlp_dim", m.mlp_dim), visit("bias", m.bias);
  visit("tied_head", m.tied_head), visit("dropout", m.dropout);
}
template <class Plan, class Visit>
void each_member(Plan& t, Visit&& visit) requires std::is_same_v<std::remove_const_t<Plan>, OptimiserPlan> {
  visit("steps", t.steps), visit("batch", t.batch), visit("accumulate", t.accumulate);
  visit("learning_rate", t.learning_rate), visit("minimum_learning_rate", t.minimum_learning_rate);
  visit("warmup", t.warmup), visit("decay_steps", t.decay_steps), visit("constant_rate", t.constant_rate);
  visit("beta1", t.beta1), visit("beta2", t.beta2), visit("epsilon", t.epsilon);
  visit("weight_decay", t.weight_decay), visit("clip", t.clip), visit("evaluate_every", t.evaluate_every);
  visit("evaluate_batch", t.evaluate_batch), visit("checkpoint_every", t.checkpoint_every);
}
template <class Plan, class Visit>
void each_text_member(Plan& t, Visit&& visit) {
  visit("text", t.text), visit("tokeniser", t.tokeniser), visit("training_fraction", t.training_fraction);
}
template <class Plan, class Visit>
void each_recall_member(Plan& t, Visit&& visit) {
  visit("pairs", t.pairs), visit("queries", t.queries), visit("keys", t.keys), visit("values", t.values);
  visit("evaluation_windows", t.evaluation_windows);
}

ModelPlan resolve_model(const Document& document, const plugin::Catalog& catalog) {
  ModelPlan m;
  each_member(m, Reader(document, "/model", model_parameters()));
  if (m.kv_heads == 0) m.kv_heads = m.query_heads;
  if (m.embed_dim % m.query_heads != 0)
    refuse(document, "/model/query_heads", "heads must share the embedding's channels evenly",
           std::to_string(m.query_heads), fmt::format("a divisor of embed_dim, {}", m.embed_dim));
  if (m.query_heads % m.kv_heads != 0)
    refuse(document, "/model/kv_heads", "KV heads must share the query heads evenly",
           std::to_string(m.kv_heads), fmt::format("a divisor of query_heads, {}", m.query_heads));
  if (m.position == "rope" && m.embed_dim / m.query_heads % 2 != 0)
    refuse(document, "/model/position", "rotary positions need an even head_dim",
           fmt::format("{}", m.embed_dim / m.query_heads), "an even embed_dim / query_heads");
  if (!document.root().contains("attention"))
    refuse(document, "", "the config has no \"attention\"", "",
           "{\"scheme\": \"mha\"}, or a list with one for each layer");
  const Json& attention = document.root()["attention"];
  if (!attention.is_array()) {
    m.attention.assign(static_cast<size_t>(m.layers), resolve_scheme(document, "/attention", catalog));
    return m;
  }
  if (static_cast<int64_t>(attention.size()) != m.layers)
    refuse(document, "/attention", "a list of schemes has one for each layer",
           std::to_string(attention.size()), fmt::format("{}, as \"layers\" says", m.layers));
  for (size_t i = 0; i < attention.size(); ++i)
    m.attention.push_back(resolve_scheme(document, fmt::format("/attention/{}", i), catalog));
  return m;
}

TaskPlan resolve_task(const Document& document) {
  TaskPlan task;
  if (!document.root().contains("task"))
    refuse(document, "", "the config has no \"task\"", "",
           "{\"text\": \"FILE\"} | {\"generated\": \"recall\"}");
  const Json& object = document.root()["task"];
  const bool text = object.is_object() && object.contains("text");
  if (!object.is_object() || text == object.contains("generated"))
    refuse(document, "/task", "a task is a text or is generated", object.dump().substr(0, 80),
           "{\"text\": \"FILE\"} | {\"generated\": \"recall\"}");
  if (text) {
    each_text_member(task, Reader(document, "/task", text_parameters()));
  } else {
    static const std::vector<Parameter> generated = [] {
      std::vector<Parameter> table = recall_parameters();
      table.push_back(choice("generated", {"recall"}, "The generated task."));
      return table;
    }();
    each_recall_member(task, Reader(document, "/task", generated));
  }
  return task;
}

}  // namespace

const std::vector<Parameter>& model_parameters() {
  static const std::vector<Parameter> table = {
      integer("layers", 1, 1024, "Blocks of attention and MLP.", whole(4)),
      integer("embed_dim", 1, 65536, "Channels of the residual stream.", whole(128)),
      integer("query_heads", 1, 1024, "Query heads; embed_dim / query_heads is head_dim.", whole(4)),
      integer("kv_heads", 0, 1024, "Key and value heads; 0: query_heads.", whole(0)),
      integer("block", 1, 1 << 20, "Longest sequence.", whole(64)),
      choice("norm", {"layer", "rms"}, "Norm before attention, before the MLP and at the end.",
             {std::string("layer")}),
      choice("position", {"learned", "rope", "none"},
             "Learned positions, or rotary ones in operators; schemes that are layers have their own.",
             {std::string("learned")}),
      above_zero("rope_theta", "Base of the rotary frequencies.", 10000),
      choice("mlp", {"gelu", "swiglu"}, "The MLP.", {std::string("gelu")}),
      integer("mlp_dim", 0, 1 << 20, "Its hidden width; 0: 4 embed_dim, of swiglu 8/3.", whole(0)),
      flag("bias", "Biases in the model's linear layers and norms.", false),
      flag("tied_head", "The head's weights are the token embedding.", true),
      share("dropout", "Dropout of embeddings and residual outputs.", 0),
  };
  return table;
}

const std::vector<Parameter>& optimiser_parameters() {
  static const std::vector<Parameter> table = {
      integer("steps", 1, kMany, "Updates.", whole(1000)),
      integer("batch", 1, 65536, "Windows of a forward.", whole(12)),
      integer("accumulate", 1, 65536, "Forwards that one update averages.", whole(1)),
      above_zero("learning_rate", "Peak learning rate of AdamW.", 1e-3),
      bounded("minimum_learning_rate", 0, kMany, "At the end of the cosine.", 1e-4),
      integer("warmup", 0, kMany, "Updates of linear warm-up.", whole(100)),
      integer("decay_steps", 0, kMany, "Update at which the cosine ends; 0: the last.", whole(0)),
      flag("constant_rate", "No decay after the warm-up.", false),
      share("beta1", "Decay of the first moment.", 0.9),
      share("beta2", "Decay of the second moment.", 0.99),
      above_zero("epsilon", "Added to the root of the second moment.", 1e-8),
      bounded("weight_decay", 0, kMany, "Decoupled decay of tensors with two or more axes.", 0.1),
      bounded("clip", 0, kMany, "Largest norm of all gradients together; 0: no clipping.", 1),
      integer("evaluate_every", 1, kMany, "Updates between evaluations, a full sweep each.", whole(250)),
      integer("evaluate_batch", 1, 65536, "Windows of an evaluation's forward.", whole(32)),
      integer("checkpoint_every", 1, kMany, "Updates between checkpoints.", whole(250)),
  };
  return table;
}

const std::vector<Parameter>& text_parameters() {
  static const std::vector<Parameter> table = [] {
    Parameter text = of_type(ParameterType::path, "text", "A text file.");
    text.required = true;
    return std::vector<Parameter>{
        text, choice("tokeniser", {"characters", "bytes"}, "What a token is.", {std::string("characters")}),
        open_share("training_fraction", "First part of the text, which trains; the rest validates.", 0.9)};
  }();
  return table;
}

const std::vector<Parameter>& recall_parameters() {
  static const std::vector<Parameter> table = {
      integer("pairs", 1, 1 << 20, "Keys with a value in a window.", whole(8)),
      integer("queries", 1, 1 << 20, "Keys asked for; at most pairs.", whole(8)),
      integer("keys", 1, 1 << 20, "Key symbols; at least pairs.", whole(32)),
      integer("values", 2, 1 << 20, "Value symbols.", whole(32)),
      integer("evaluation_windows", 1, 1 << 20, "Windows of the evaluation.", whole(256)),
  };
  return table;
}

TrainPlan resolve_training(const Document& document, const plugin::Catalog& catalog) {
  static const std::vector<Parameter> top = [] {
    Parameter title = of_type(ParameterType::string, "title", "Shown in results.");
    title.default_value = {std::string()};
    return std::vector<Parameter>{
        title, integer("seed", 0, 9e18, "Of first weights, windows and dropout.", whole(1)),
        flag("allow_noncausal", "Train schemes that look into the future all the same.", false)};
  }();
  TrainPlan plan;
  const Reader reader(document, "", top, {"model", "attention", "task", "train", "plugin_path", "extends"});
  int64_t seed = 0;
  reader("title", plan.title), reader("seed", seed), reader("allow_noncausal", plan.allow_noncausal);
  plan.seed = static_cast<uint64_t>(seed);
  plan.plugin_path = plugin_folders(document);
  plan.model = resolve_model(document, catalog);
  plan.task = resolve_task(document);
  each_member(plan.train, Reader(document, "/train", optimiser_parameters()));
  const OptimiserPlan& t = plan.train;
  if (t.minimum_learning_rate > t.learning_rate)
    refuse(document, "/train/minimum_learning_rate", "the learning rate would rise",
           fmt::format("{}", t.minimum_learning_rate),
           fmt::format("at most learning_rate, {}", t.learning_rate));
  if (t.warmup >= t.steps)
    refuse(document, "/train/warmup", "the warm-up would never end", std::to_string(t.warmup),
           fmt::format("fewer than \"steps\", {}", t.steps));
  return plan;
}

Json to_json(const TrainPlan& plan, const plugin::Catalog& catalog) {
  Json json = {{"title", plan.title}};
  Writer model, task, train;
  each_member(plan.model, model);
  each_member(plan.train, train);
  if (plan.task.text.empty()) {
    task("generated", "recall");
    each_recall_member(plan.task, task);
  } else {
    each_text_member(plan.task, task);
  }
  json["model"] = model.json;
  json["attention"] = Json::array();
  for (const SchemePlan& scheme : plan.model.attention)
    json["attention"].push_back(to_json(scheme, catalog.find(scheme.scheme)->descriptor));
  json["task"] = task.json;
  json["train"] = train.json;
  json["seed"] = plan.seed;
  json["allow_noncausal"] = plan.allow_noncausal;
  if (!plan.plugin_path.empty()) json["plugin_path"] = plan.plugin_path;
  return json;
}

}  // namespace attnlab::config
