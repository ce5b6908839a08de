#include "core/cli/bench_suite.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <regex>
#include <set>

#include "core/base/parallel.hpp"
#include "core/measure/kernel_bench/kernel_bench.hpp"
#include "core/measure/machine.hpp"

namespace attnlab::cli {
namespace {

using base::UserError;
using io::Json;
using measure::KernelBenchRecord;
using measure::KernelCase;
using measure::Spread;

/// The cases whose names match, with their baselines.
std::vector<KernelCase> filtered(const std::vector<KernelCase>& cases, const std::string& filter) {
  std::regex pattern;
  try {
    pattern.assign(filter);
  } catch (const std::regex_error&) {
    throw UserError("--filter: not a regular expression", {.found = filter});
  }
  std::vector<std::string> names;
  std::set<std::string> wanted;
  for (const KernelCase& subject : cases) {
    names.push_back(subject.name);
    if (std::regex_search(subject.name, pattern)) wanted.insert({subject.name, subject.baseline});
  }
  if (wanted.empty()) {
    throw UserError(
        "--filter: no case has such a name",
        {.found = filter, .allowed = base::join(names), .suggestion = base::did_you_mean(filter, names)});
  }
  std::vector<KernelCase> chosen;
  for (const KernelCase& subject : cases) {
    if (wanted.count(subject.name) != 0) chosen.push_back(subject);
  }
  return chosen;
}

/// Three significant digits and a unit.
std::string time_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.3g} µs", seconds * 1e6);
  return seconds < 1 ? fmt::format("{:.3g} ms", seconds * 1e3) : fmt::format("{:.3g} s", seconds);
}

std::string percent_text(const std::vector<double>& shares) {
  if (shares.empty()) return "-";
  const Spread share = measure::spread(shares);
  return fmt::format("{:.0f} ({:.0f}-{:.0f})", share.median * 100, share.minimum * 100, share.maximum * 100);
}

std::string ratio_text(const std::vector<double>& ratios) {
  if (ratios.empty()) return "-";
  const Spread ratio = measure::spread(ratios);
  return fmt::format("{:.2f} ({:.2f}-{:.2f})", ratio.median, ratio.minimum, ratio.maximum);
}

constexpr const char* row_format = "{:<44} {:>8} {:>8} {:>8} {:>4} {:>8} {:>7} {:>12} {:>12}  {}\n";

void print_family(const std::vector<KernelBenchRecord>& records) {
  for (const KernelBenchRecord& record : records) {
    const Spread time = record.time();
    const auto rate = [&](double work) {
      return work > 0 ? fmt::format("{:.1f}", work / time.median / 1e9) : "-";
    };
    std::string last =
        record.ratio.empty() ? record.note : ratio_text(record.ratio) + " " + record.subject.baseline;
    if (!record.ratio.empty() && !record.note.empty()) last += "; " + record.note;
    if (last.empty()) last = "-";
    fmt::print(row_format, record.subject.name, time_text(time.median), time_text(time.minimum),
               time_text(time.maximum), fmt::format("{:.1f}", measure::spread(record.busy).median),
               rate(record.subject.flops), rate(record.subject.bytes), percent_text(record.share_of_flops()),
               percent_text(record.share_of_read()), last);
  }
  std::fflush(stdout);
}

Json heading(const std::string& suite, const measure::CaseContext& context,
             const measure::KernelBenchOptions& options) {
  Json json;
  json["suite"] = suite;
  json["machine"] = measure::describe_machine();
  json["build"] = measure::describe_build();
  json["simd_target"] = context.kernels->target;
  json["threads"] = base::thread_count();
  json["rounds"] = options.rounds;
  json["quick"] = options.quick;
  return json;
}

/// Answers each line of stdin, the name of a case, with one sample of it, so that a peer's samples can
/// alternate.
int serve(const std::string& suite, const std::vector<KernelCase>& cases, measure::CaseContext& context,
          const measure::KernelBenchOptions& options) {
  std::vector<measure::CaseSampler> samplers;
  Json ready = heading(suite, context, options);
  ready["cases"] = Json::array();
  for (const KernelCase& subject : cases) {
    samplers.emplace_back(subject, context, options.quick);
    ready["cases"].push_back({{"name", subject.name}, {"flops", subject.flops}, {"bytes", subject.bytes}});
  }
  std::cout << ready.dump() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const auto found = std::find_if(cases.begin(), cases.end(),
                                    [&](const KernelCase& subject) { return subject.name == line; });
    if (found == cases.end()) {
      throw UserError("--serve: stdin names a case that is not served", {.found = line});
    }
    const auto sample = samplers[static_cast<size_t>(found - cases.begin())].sample();
    std::cout << Json{{"name", line}, {"seconds", sample.seconds}, {"busy_threads", sample.busy}}.dump()
              << std::endl;
  }
  return 0;
}

}  // namespace

void add_suite_options(po::options_description& options) {
  options.add_options()("suite", po::value<std::string>()->value_name("NAME"),
                        "instead of CONFIG: kernels | pipelines, beside probes of the machine")(
      "filter", po::value<std::string>()->value_name("REGEX"), "only the suite's cases with such names")(
      "list", "print the names of the suite's cases")(
      "quick", "tiny shapes, to see that the suite runs; the figures mean nothing")(
      "serve", "answer each line of stdin, a case's name, with a sample in JSON");
}

int run_suite(const po::variables_map& values) {
  const std::string suite = values["suite"].as<std::string>();
  const std::vector<std::string> suites{"kernels", "pipelines"};
  if (std::find(suites.begin(), suites.end(), suite) == suites.end()) {
    throw UserError(
        "--suite: there is no such suite",
        {.found = suite, .allowed = base::join(suites), .suggestion = base::did_you_mean(suite, suites)});
  }
  if (!positional(values).empty()) {
    throw UserError("--suite goes without a CONFIG", {.found = base::join(positional(values))});
  }
  measure::KernelBenchOptions options;
  options.rounds = values["repeats"].as<int>();
  options.quick = values.count("quick") != 0;
  const bool kernels_alone = suite == "kernels";
  const auto cases =
      filtered(kernels_alone ? measure::kernel_cases(options.quick) : measure::pipeline_cases(options.quick),
               values.count("filter") != 0 ? values["filter"].as<std::string>() : "");
  if (values.count("list") != 0) {
    for (const KernelCase& subject : cases) std::cout << subject.name << "\n";
    return 0;
  }
  measure::CaseContext context;
  context.kernels = &kernels::active_table();
  const plugin::Catalog catalog = kernels_alone ? plugin::Catalog() : load_catalog(values, {});
  context.catalog = &catalog;
  context.pool_bytes = options.quick ? 0 : measure::default_pool_bytes();
  if (values.count("serve") != 0) return serve(suite, cases, context, options);

  if (values.count("json") != 0) {
    Json json = heading(suite, context, options);
    json["cases"] = Json::array();
    measure::bench_kernels(cases, context, options, [&](const std::vector<KernelBenchRecord>& records) {
      for (const auto& record : records) json["cases"].push_back(to_json(record));
    });
    std::cout << io::pretty_text(json);
    return 0;
  }
  const Json machine = measure::describe_machine();
  const int threads = base::thread_count();
  fmt::print("{}, {} thread{}, {}, {} rounds, a probe before and after each sample\n\n",
             machine["cpu"].get<std::string>(), threads, threads == 1 ? "" : "s", context.kernels->target,
             options.rounds);
  fmt::print(row_format, "case", "median", "min", "max", "busy", "GFLOP/s", "GB/s", "% of FMA", "% of read",
             "times faster than");
  measure::bench_kernels(cases, context, options, print_family);
  return 0;
}

}  // namespace attnlab::cli
