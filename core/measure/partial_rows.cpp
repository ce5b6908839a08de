#include "core/measure/partial_rows.hpp"

#include <algorithm>
#include <limits>

#include "core/attention/merge.hpp"
#include "core/io/wire.hpp"

namespace attnlab::measure {
namespace {

constexpr double nothing = -std::numeric_limits<double>::infinity();

}  // namespace

std::string PartialRows::message() const {
  io::WireWriter out;
  out.values(exact_out);
  out.values(exact_lse);
  out.values(visible);
  out.value(static_cast<uint64_t>(pipelines.size()));
  for (const OfPipeline& pipeline : pipelines) {
    out.value(static_cast<uint64_t>(pipeline.exact));
    out.values(pipeline.out);
    out.values(pipeline.lse);
    out.values(pipeline.sums);
    out.values(pipeline.active);
  }
  return out.take();
}

PartialRows PartialRows::read(const std::string& message, const attention::HeadRows& rows,
                              int64_t value_dim) {
  const auto count = static_cast<size_t>(rows.size()), values = count * static_cast<size_t>(value_dim);
  PartialRows partial;
  io::WireReader in(message);
  in.values(partial.exact_out, values);
  in.values(partial.exact_lse, count);
  in.values(partial.visible, count);
  partial.pipelines.resize(in.value<uint64_t>());
  for (OfPipeline& pipeline : partial.pipelines) {
    pipeline.exact = in.value<uint64_t>() != 0;
    in.values(pipeline.out, pipeline.exact ? 0 : values);
    in.values(pipeline.lse, pipeline.exact ? 0 : count);
    in.values(pipeline.sums, count);
    in.values(pipeline.active, count);
  }
  return partial;
}

void merge_shards(const std::vector<PartialRows>& shards, size_t pipeline, int64_t row,
                  std::optional<double> sink_logit, MergedRow& merged) {
  const auto at = static_cast<size_t>(row);
  const size_t width = shards[0].exact_out.size() / shards[0].exact_lse.size();
  std::vector<attention::PartialRow> exact, own;
  MeasuredRow measured;
  for (const PartialRows& shard : shards) {
    const PartialRows::OfPipeline& part = shard.pipelines[pipeline];
    exact.push_back({shard.exact_out.data() + at * width, double{shard.exact_lse[at]}});
    if (!part.exact)
      own.push_back({part.out.data() + at * width, double{part.lse[at]}});
    else
      own.push_back(exact.back());
    measured.active += part.active[at];
    measured.visible += shard.visible[at];
  }
  std::vector<double> out(width);
  const auto merge = [&](const std::vector<attention::PartialRow>& parts, std::vector<float>& to) {
    const double lse = attention::merge_row(parts, sink_logit, out);
    to.assign(out.begin(), out.end());
    return lse;
  };
  measured.exact_lse = merge(exact, merged.exact_out);
  measured.lse = merge(own, merged.out);
  const double mass = attention::merge_row(exact, {}, out);
  for (size_t i = 0; i < shards.size(); ++i) {
    if (exact[i].lse > nothing)
      measured.sums.add(shards[i].pipelines[pipeline].sums[at], exact[i].lse - mass);
  }
  measured.out = merged.out.data();
  measured.exact_out = merged.exact_out.data();
  measured.value_dim = static_cast<int64_t>(width);
  merged.metrics = metrics_of(measured);
}

}  // namespace attnlab::measure
