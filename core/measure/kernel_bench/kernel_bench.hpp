// Times kernels beside probes of what the machine can do.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/io/json.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"
#include "core/measure/kernel_bench/roof.hpp"

namespace attnlab::measure {

/// Of one figure over the rounds.
struct Spread {
  double median = 0, minimum = 0, maximum = 0;
};
Spread spread(std::vector<double> values);

struct KernelBenchOptions {
  int rounds = 9;
  bool quick = false;
};

/// What the rounds gave for one case. Vectors have one entry per round, in order.
struct KernelBenchRecord {
  KernelCase subject;
  std::string note;
  int threads = 0;              ///< that it ran on
  int64_t calls = 0;            ///< in each sample
  std::vector<double> seconds;  ///< of a call: CPU time on one thread, else wall time
  std::vector<double> busy;     ///< CPU time over wall time: threads that were at work
  std::vector<Roof> roofs;      ///< mean of a probe before and one after the sample
  std::vector<double> ratio;  ///< the baseline's time in that round over this one's; empty without a baseline

  Spread time() const { return spread(seconds); }
  std::vector<double> share_of_flops() const;  ///< of the multiply-add peak; empty when flops are not counted
  std::vector<double> share_of_read()
      const;  ///< of the raw-read bandwidth; empty when memory is not the limit
};

/// A case that can be sampled at will. [main thread]
class CaseSampler {
 public:
  /// Makes the case's memory, calls it once and finds out how many calls a sample of some milliseconds needs.
  CaseSampler(const KernelCase& subject, CaseContext& context, bool quick);

  struct Sample {
    double seconds;  ///< of a call
    double busy;
  };
  Sample sample();
  int threads() const { return threads_; }
  int64_t calls() const { return calls_; }
  const std::string& note() const { return prepared_.note; }
  double bytes() const { return prepared_.bytes; }

 private:
  PreparedCase prepared_;
  int threads_;
  int64_t calls_ = 1;
};

/// Runs all cases, which must come family by family, those of a family in alternation, and hands over each
/// family's records when they are complete. A baseline must be among the cases.
void bench_kernels(const std::vector<KernelCase>& cases, CaseContext& context,
                   const KernelBenchOptions& options,
                   const std::function<void(const std::vector<KernelBenchRecord>&)>& on_family);

io::Json to_json(const KernelBenchRecord& record);

/// Bytes for each pool of keys and values: eight times the last-level cache, 1 to 4 GiB, at most an eighth of
/// the memory that is free.
int64_t default_pool_bytes();

}  // namespace attnlab::measure
