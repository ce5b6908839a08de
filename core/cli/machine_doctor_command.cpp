// attnlab doctor.
#include <fmt/core.h>

#include <algorithm>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/measure/kernel_bench/roof.hpp"
#include "core/measure/machine.hpp"

namespace attnlab::cli {
namespace {

using io::Json;

void options(po::options_description& table) {
  table.add_options()("threads", po::value<int>()->value_name("N")->default_value(0, "all cores"), "threads")(
      "quick", "samples so short that their figures mean nothing")("json", "print JSON");
}

/// The best of some samples: others may be at work too.
measure::Roof best_of_samples(const kernels::KernelTable& kernels, int threads, bool quick) {
  measure::RoofProbe probe = measure::RoofProbe::for_machine(kernels, quick);
  measure::Roof best;
  for (int i = 0; i < (quick ? 1 : 9); ++i) {
    const measure::Roof sample = probe.sample(threads);
    best = {std::max(best.flops, sample.flops), std::max(best.read_bytes, sample.read_bytes)};
  }
  return best;
}

int doctor(const po::variables_map& values) {
  const base::ThreadLimit limit(thread_option(values));
  const bool quick = values.count("quick") != 0;
  std::vector<int> thread_counts{1};
  if (base::thread_count() > 1) thread_counts.push_back(base::thread_count());

  Json json;
  json["machine"] = measure::describe_machine();
  json["machine"]["last_level_cache_bytes"] = measure::last_level_cache_bytes();
  json["build"] = measure::describe_build();
  json["simd_targets"] = Json::array();
  for (const kernels::KernelTable* table : kernels::all_tables()) {
    Json target{{"name", table->target}, {"roofs", Json::array()}};
    for (int threads : thread_counts) {
      const measure::Roof roof = best_of_samples(*table, threads, quick);
      target["roofs"].push_back({{"threads", threads},
                                 {"fma_peak_gflops", roof.flops / 1e9},
                                 {"read_bandwidth_gbytes", roof.read_bytes / 1e9}});
    }
    json["simd_targets"].push_back(target);
  }
  if (values.count("json") != 0) {
    std::cout << io::pretty_text(json);
    return 0;
  }
  const Json& machine = json["machine"];
  constexpr double GiB = 1 << 30, MiB = 1 << 20;
  fmt::print("{}, {} cores, {:.1f} GiB of memory, last-level cache {:.0f} MiB\n{}\nattnlab {}, {}\n\n",
             machine["cpu"].get<std::string>(), machine["cores"].get<int>(),
             machine["memory_bytes"].get<double>() / GiB,
             machine["last_level_cache_bytes"].get<double>() / MiB, machine["system"].get<std::string>(),
             json["build"]["attnlab"].get<std::string>(), json["build"]["compiler"].get<std::string>());
  fmt::print("{:<12} {:>7} {:>18} {:>15}\n", "SIMD target", "threads", "multiply-add peak", "read bandwidth");
  for (const Json& target : json["simd_targets"]) {
    for (const Json& roof : target["roofs"]) {
      fmt::print("{:<12} {:>7} {:>10.1f} GFLOP/s {:>10.1f} GB/s\n", target["name"].get<std::string>(),
                 roof["threads"].get<int>(), roof["fma_peak_gflops"].get<double>(),
                 roof["read_bandwidth_gbytes"].get<double>());
    }
  }
  return 0;
}

}  // namespace

Command doctor_command() {
  return {.name = "doctor",
          .arguments = "",
          .summary = "Say what this machine can do at most: the peaks beside which kernels are measured.",
          .details =
              "For each set of SIMD instructions that the kernels can use here, best first: the rate of "
              "independent\n"
              "multiply-adds between registers and the bandwidth of reading memory in order, the best of "
              "nine samples\n"
              "of some milliseconds. What plugins are found says attnlab plugin doctor.",
          .options = options,
          .run = doctor,
          .min_arguments = 0,
          .max_arguments = 0};
}

}  // namespace attnlab::cli
