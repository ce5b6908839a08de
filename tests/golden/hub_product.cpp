#include "tests/golden/hub_product.hpp"

#include "core/attention/pipeline.hpp"
#include "core/config/run_plan.hpp"
#include "core/io/npz.hpp"
#include "core/measure/experiment.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::golden {

using io::Json;

Product::Product(const HubCase& golden, const Json& pipelines) {
  std::vector<io::NamedTensor> tensors(golden.inputs().begin(), golden.inputs().end());
  io::write_npz(folder_ / "input.npz", tensors);
  const Json config = {{"pipelines", pipelines},
                       {"attention", {{"causal", golden.causal()}, {"scale", golden.scale()}}},
                       {"input", {{"npz", "input.npz"}}}};
  io::write_bytes(folder_ / "config.json", config.dump());
  document_ = config::Document::load(folder_ / "config.json");
}

std::map<std::string, Outcome> Product::run(int64_t seed) {
  document_.set("/seed", seed, {"the test", folder_.path()});
  const config::RunPlan plan = config::resolve(document_, test::catalog());
  std::vector<attention::Pipeline> pipelines;
  for (const auto& pipeline : plan.pipelines) pipelines.emplace_back(pipeline, test::catalog(), document_);
  const auto source = data::open_source(plan.input);
  measure::ExperimentOptions options;
  options.execution.kernels = &kernels::best_table();
  options.dump = {.mask = true, .output = true, .weights = true};
  options.dump_folder = folder_.path();
  measure::check_plan(plan, *source, document_, options);
  const measure::RunRecord record = measure::run_experiment(plan, pipelines, *source, options);

  std::map<std::string, Outcome> outcomes;
  for (const auto& pipeline : record.pipelines) {
    const std::string dump = folder_ / pipeline.name;
    outcomes[pipeline.name] = {Plane::read(dump + "/mask.npy"), Plane::read(dump + "/weights.npy"),
                               Plane::read(dump + "/output.npy"), pipeline.quality.empty_rows};
  }
  return outcomes;
}

Outcome run_case(const HubCase& golden) {
  return Product(golden, {{"case", golden.stages()}}).run().at("case");
}

}  // namespace attnlab::golden
