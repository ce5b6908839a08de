#include "core/measure/kernel_bench/kernel_bench.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"

namespace attnlab::measure {
namespace {

/// A sample is so long that clocks and the start of threads do not show.
constexpr double sample_seconds = 4e-3;

io::Json to_json(const Spread& values) {
  return {{"median", values.median}, {"minimum", values.minimum}, {"maximum", values.maximum}};
}

void bench_family(const std::vector<KernelCase>& cases, CaseContext& context, RoofProbe& roof,
                  const KernelBenchOptions& options, std::vector<KernelBenchRecord>& records) {
  std::vector<CaseSampler> samplers;
  for (const KernelCase& subject : cases) {
    samplers.emplace_back(subject, context, options.quick);
    const CaseSampler& sampler = samplers.back();
    records.push_back({subject, sampler.note(), sampler.threads(), sampler.calls()});
    if (sampler.bytes() > 0) records.back().subject.bytes = sampler.bytes();
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < samplers.size(); ++i) {
      KernelBenchRecord& record = records[i];
      const Roof before = roof.sample(record.threads);
      const CaseSampler::Sample sample = samplers[i].sample();
      const Roof after = roof.sample(record.threads);
      record.seconds.push_back(sample.seconds);
      record.busy.push_back(sample.busy);
      record.roofs.push_back({(before.flops + after.flops) / 2, (before.read_bytes + after.read_bytes) / 2});
    }
  }
  for (KernelBenchRecord& record : records) {
    if (record.subject.baseline.empty()) continue;
    const auto baseline = std::find_if(records.begin(), records.end(), [&](const KernelBenchRecord& other) {
      return other.subject.name == record.subject.baseline;
    });
    ATTNLAB_CHECK(baseline != records.end(), record.subject.name + " lacks its baseline");
    for (size_t round = 0; round < record.seconds.size(); ++round) {
      record.ratio.push_back(baseline->seconds[round] / record.seconds[round]);
    }
  }
}

}  // namespace

Spread spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t size = values.size();
  return {(values[(size - 1) / 2] + values[size / 2]) / 2, values.front(), values.back()};
}

std::vector<double> KernelBenchRecord::share_of_flops() const {
  std::vector<double> shares;
  for (size_t i = 0; i < seconds.size() && subject.flops > 0; ++i) {
    shares.push_back(subject.flops / seconds[i] / roofs[i].flops);
  }
  return shares;
}

std::vector<double> KernelBenchRecord::share_of_read() const {
  std::vector<double> shares;
  for (size_t i = 0; i < seconds.size() && subject.bytes > 0; ++i) {
    shares.push_back(subject.bytes / seconds[i] / roofs[i].read_bytes);
  }
  return shares;
}

CaseSampler::CaseSampler(const KernelCase& subject, CaseContext& context, bool quick)
    : prepared_(subject.make(context)), threads_(subject.one_thread ? 1 : base::thread_count()) {
  prepared_.call();
  if (quick) return;
  // No more calls than the pool has places: the second time round, the caches might help.
  const double limit = prepared_.places > 0 ? static_cast<double>(prepared_.places) : 1e6;
  calls_ = static_cast<int64_t>(std::clamp(std::ceil(sample_seconds / sample().seconds), 1.0, limit));
}

CaseSampler::Sample CaseSampler::sample() {
  const Instant start = Instant::now();
  for (int64_t call = 0; call < calls_; ++call) prepared_.call();
  const Instant end = Instant::now();
  const double wall = std::max(1e-9, end.wall - start.wall);
  return {elapsed(start, end, threads_) / static_cast<double>(calls_), (end.cpu - start.cpu) / wall};
}

void bench_kernels(const std::vector<KernelCase>& cases, CaseContext& context,
                   const KernelBenchOptions& options,
                   const std::function<void(const std::vector<KernelBenchRecord>&)>& on_family) {
  RoofProbe roof = RoofProbe::for_machine(*context.kernels, options.quick);
  for (auto first = cases.begin(); first != cases.end();) {
    const auto last = std::find_if(
        first, cases.end(), [&](const KernelCase& subject) { return subject.family != first->family; });
    std::vector<KernelBenchRecord> records;
    bench_family({first, last}, context, roof, options, records);
    on_family(records);
    first = last;
  }
}

io::Json to_json(const KernelBenchRecord& record) {
  std::vector<double> peaks, reads;
  for (const Roof& roof : record.roofs) {
    peaks.push_back(roof.flops / 1e9);
    reads.push_back(roof.read_bytes / 1e9);
  }
  const Spread time = record.time();
  io::Json json;
  json["name"] = record.subject.name;
  json["family"] = record.subject.family;
  json["threads"] = record.threads;
  json["clock"] = record.threads == 1 ? "cpu" : "wall";
  json["calls"] = record.calls;
  json["flops"] = record.subject.flops;
  json["bytes"] = record.subject.bytes;
  json["time_seconds"] = to_json(time);
  if (record.subject.flops > 0) {
    json["gflops"] = record.subject.flops / time.median / 1e9;
    json["share_of_fma_peak"] = to_json(spread(record.share_of_flops()));
  }
  if (record.subject.bytes > 0) {
    json["gbytes"] = record.subject.bytes / time.median / 1e9;
    json["share_of_read_bandwidth"] = to_json(spread(record.share_of_read()));
  }
  if (!record.ratio.empty()) {
    json["baseline"] = record.subject.baseline;
    json["times_faster_than_baseline"] = to_json(spread(record.ratio));
  }
  if (!record.note.empty()) json["note"] = record.note;
  json["seconds"] = record.seconds;
  json["busy_threads"] = record.busy;
  json["fma_peak_gflops"] = peaks;
  json["read_bandwidth_gbytes"] = reads;
  return json;
}

int64_t default_pool_bytes() {
  constexpr int64_t GiB = int64_t{1} << 30;
  return std::min(std::clamp(8 * last_level_cache_bytes(), GiB, 4 * GiB), available_memory_bytes() / 8);
}

}  // namespace attnlab::measure
