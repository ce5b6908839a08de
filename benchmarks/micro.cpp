// The cases of `attnlab bench --suite kernels` under Google Benchmark, for its repetitions, comparisons and
// counters. All cores; --simd and the probes beside each sample are attnlab's own.
#include <benchmark/benchmark.h>

#include "core/measure/kernel_bench/kernel_bench.hpp"

namespace attnlab::measure {
namespace {

void run(benchmark::State& state, const KernelCase& subject, CaseContext& context) {
  const PreparedCase prepared = subject.make(context);
  prepared.call();
  for (auto _ : state) prepared.call();
  const double calls = static_cast<double>(state.iterations());
  using benchmark::Counter;
  if (subject.flops > 0) state.counters["FLOP/s"] = Counter(subject.flops * calls, Counter::kIsRate);
  if (subject.bytes > 0) {
    state.counters["bytes/s"] = Counter(subject.bytes * calls, Counter::kIsRate, Counter::kIs1024);
  }
}

}  // namespace
}  // namespace attnlab::measure

int main(int argc, char** argv) {
  using namespace attnlab::measure;
  CaseContext context;
  context.kernels = &attnlab::kernels::active_table();
  context.pool_bytes = default_pool_bytes();
  for (const KernelCase& subject : kernel_cases(false)) {
    benchmark::RegisterBenchmark(subject.name.c_str(), [subject, &context](benchmark::State& state) {
      run(state, subject, context);
    })->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
