// attnlab bench.
#include <fmt/core.h>

#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/bench_suite.hpp"
#include "core/cli/command.hpp"
#include "core/measure/bench.hpp"

namespace attnlab::cli {
namespace {

void options(po::options_description& table) {
  add_config_options(table);
  add_plugin_options(table);
  add_suite_options(table);
  table.add_options()("repeats", po::value<int>()->value_name("N")->default_value(9), "timed rounds")(
      "threads", po::value<int>()->value_name("N")->default_value(0, "all cores"), "threads")("json",
                                                                                              "print JSON");
  add_simd_option(table);
}

int run(const po::variables_map& values) {
  const int repeats = values["repeats"].as<int>();
  if (repeats < 1 || repeats > 100000)
    throw base::UserError("--repeats is out of range", {.allowed = "1 to 100000"});
  const base::ThreadLimit threads(thread_option(values));
  simd_option(values);
  if (values.count("suite") != 0) return run_suite(values);
  for (const char* option : {"filter", "list", "quick", "serve"}) {
    if (values.count(option) != 0) throw base::UserError(fmt::format("--{} goes with --suite", option));
  }
  if (positional(values).empty()) {
    throw base::UserError("bench needs a CONFIG or --suite", {.suggestion = "see attnlab help bench"});
  }
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  const config::RunPlan plan = config::resolve(document, catalog);
  const auto source = data::open_input(plan.input, document);
  measure::check_plan(plan, *source, document, {});
  attention::Execution execution;
  execution.kernels = &kernels::active_table();
  const auto records = measure::bench(plan, document, catalog, *source, execution, repeats);

  if (values.count("json") != 0) {
    io::Json json;
    json["input"] = source->description();
    json["threads"] = base::thread_count();
    json["simd_target"] = execution.kernels->target;
    for (const auto& record : records) {
      json["pipelines"].push_back({{"name", record.pipeline},
                                   {"density", record.density},
                                   {"median_seconds", record.median},
                                   {"seconds", record.seconds}});
    }
    std::cout << io::pretty_text(json);
    return 0;
  }
  fmt::print("{}\n{} threads, {}, {} rounds, pipelines alternating\n\n{:<28} {:>8} {:>11} {:>9} {:>9}\n",
             source->description(), base::thread_count(), execution.kernels->target, repeats, "pipeline",
             "density", "median ms", "min", "max");
  for (const auto& record : records) {
    fmt::print("{:<28} {:>7.2f}% {:>11.3f} {:>9.3f} {:>9.3f}\n", record.pipeline, record.density * 100,
               record.median * 1e3, record.minimum * 1e3, record.maximum * 1e3);
  }
  return 0;
}

}  // namespace

Command bench_command() {
  return {.name = "bench",
          .arguments = "[CONFIG]",
          .summary = "Time the pipelines of a config, or the kernels by themselves.",
          .details =
              "With CONFIG: attends the last --queries queries (default: all in prefill, 1 otherwise) of\n"
              "the first layer with each pipeline alone, in alternation. Time covers selection and\n"
              "attention; key-side state is built before. KV stays in the caches between rounds when it\n"
              "fits: use a problem larger than the last-level cache to see memory speed.\n\n"
              "With --suite: times single kernels, or whole pipelines against attention to what they\n"
              "chose. Cases of a family alternate, round by round. Before and after each sample the peak\n"
              "rate of multiply-adds and the bandwidth of reading memory are probed with as many threads:\n"
              "shares are medians (least-most) over the rounds. Keys, values and lists come from a pool\n"
              "larger than the last-level cache. On one thread, time is CPU time.",
          .options = options,
          .run = run,
          .min_arguments = 0,
          .max_arguments = 1};
}

}  // namespace attnlab::cli
