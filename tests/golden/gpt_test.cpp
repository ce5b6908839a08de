// Whole models against the references: logits, gradients, and four steps of AdamW, in float64.
#include <gtest/gtest.h>

#include "core/model/gpt.hpp"
#include "core/train/trainer.hpp"
#include "tests/golden/scheme_case.hpp"
#include "tests/support/scheme_layer.hpp"

namespace attnlab::golden {
namespace {

using graph::Element;
using graph::value_of;
using io::Json;

struct GoldenModel {
  std::string name;
  Json attention;
};

/// The case's tokens, always the same.
class FixedBatch final : public data::TokenSource {
 public:
  explicit FixedBatch(const SchemeCase& c) : vocabulary_(c.config()["vocab_size"].get<int64_t>()) {
    const graph::Array inputs = c.tensor("in.idx"), targets = c.tensor("in.targets");
    batch_.batch = inputs.extent(0), batch_.tokens = inputs.extent(1);
    batch_.inputs.assign(inputs.data<int64_t>(), inputs.data<int64_t>() + inputs.size());
    batch_.targets.assign(targets.data<int64_t>(), targets.data<int64_t>() + targets.size());
  }
  int64_t vocabulary_size() const override { return vocabulary_; }
  int64_t block() const override { return batch_.tokens; }
  data::TokenBatch training(int64_t, uint64_t) const override { return batch_; }
  int64_t evaluation_windows() const override { return batch_.batch; }
  data::TokenBatch evaluation(int64_t, int64_t) const override { return batch_; }

 private:
  int64_t vocabulary_;
  data::TokenBatch batch_;
};

model::Gpt model_of(const SchemeCase& c, const Json& attention) {
  const Json& config = c.config();
  model::GptShape shape;
  shape.vocabulary = config["vocab_size"].get<int64_t>();
  shape.block = config["block_size"].get<int64_t>();
  shape.layers = config["n_layer"].get<int64_t>();
  shape.embed_dim = config["n_embd"].get<int64_t>();
  shape.query_heads = shape.kv_heads = config["n_head"].get<int64_t>();
  shape.bias = config["bias"].get<bool>();
  config::Document document;
  document.set("/attention", attention, {});
  const auto plan = config::resolve_scheme(document, "/attention", test::catalog());
  std::vector<std::shared_ptr<const plugin::Scheme>> schemes;
  for (int64_t layer = 0; layer < shape.layers; ++layer)
    schemes.push_back(std::make_shared<plugin::Scheme>(test::catalog(), *test::catalog().find(plan.scheme),
                                                       plan.values, plugin::Usage{}));
  return model::Gpt(shape, schemes, Element::f64);
}

class Models : public testing::TestWithParam<GoldenModel> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(scheme_folder())) GTEST_SKIP() << "needs " << scheme_folder();
    if (test::catalog().find(GetParam().attention["scheme"].get<std::string>()) == nullptr)
      GTEST_FAIL() << "no such plugin";
  }
};

TEST_P(Models, FourStepsOfAdamW) {
  const SchemeCase c(GetParam().name);
  model::Gpt gpt = model_of(c, GetParam().attention);
  for (const std::string& name : c.names("param."))
    gpt.parameters().assign(name, c.tensor("param." + name).to_tensor(), c.name());
  ASSERT_EQ(c.names("param.").size(), gpt.parameters().all().size());
  const FixedBatch source(c);

  const data::TokenBatch batch = source.training(0, 0);
  const model::Pass pass = gpt.forward({batch.batch, batch.tokens, batch.inputs}, true);
  EXPECT_LT(relative_error(value_of(pass.logits), c.tensor("out.logits")), 1e-10);
  train::StepRecord record;
  const Var loss = train::training_loss(pass, batch, record);
  EXPECT_NEAR(record.loss, c.scalar("loss_step0"), 1e-10);  // without what schemes add
  std::vector<Var> by;
  for (const auto& node : pass.parameters->nodes()) by.push_back(pass.graph->share(node.get()));
  const auto found = graph::gradients(*pass.graph, loss, {}, by, false);
  for (size_t i = 0; i < by.size(); ++i) {
    const std::string& name = gpt.parameters().all()[i].name;
    EXPECT_LT(relative_error(value_of(found[i]), c.tensor("grad." + name)), 1e-8) << name;
  }

  const Json& optim = c.config()["optim"];
  train::TrainOptions options;
  options.schedule = {optim["lr"].get<double>(), 0, 0, 0};
  options.adamw = {optim["beta1"].get<double>(), optim["beta2"].get<double>(), optim["eps"].get<double>(),
                   optim["weight_decay"].get<double>(), optim["grad_clip"].get<double>()};
  train::Trainer trainer(gpt, source, options);
  const graph::Array losses = c.tensor("out.losses"), norms = c.tensor("out.grad_norms");
  for (int64_t step = 0; step < c.config()["steps"].get<int64_t>(); ++step) {
    const train::StepRecord r = trainer.step();
    EXPECT_NEAR(r.gradient_norm, norms.data<double>()[step], 1e-8) << step;
    double total = r.loss;
    for (const auto& [name, value] : r.other_losses) total += value;
    EXPECT_NEAR(total, losses.data<double>()[step], 1e-8) << step;
  }
  for (const model::Parameter& p : gpt.parameters().all())
    EXPECT_LT(relative_error(p.value, c.tensor("final." + p.name)), 1e-8) << p.name;
}

INSTANTIATE_TEST_SUITE_P(Golden, Models,
                         testing::Values(GoldenModel{"gpt_baseline", {{"scheme", "mha"}}},
                                         GoldenModel{"gpt_static_moas",
                                                     {{"scheme", "moas"}, {"mix", "static"}}},
                                         GoldenModel{"gpt_moas", {{"scheme", "moas"}, {"mix", "routed"}}}),
                         [](const auto& the_case) { return the_case.param.name; });

}  // namespace
}  // namespace attnlab::golden
