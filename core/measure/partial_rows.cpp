#include "core/measure/partial_rows.hpp"

#include <limits>

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

RowMerger::RowMerger(const std::vector<PartialRows>& shards)
    : shards_(shards),
      exact_(shards.size()),
      own_(shards.size()),
      sum_(shards[0].exact_out.size() / shards[0].exact_lse.size()) {}

double RowMerger::merge_row(const std::vector<attention::PartialRow>& parts, std::vector<float>& out) {
  const double lse = attention::merge_row(parts, sink_logit_, sum_);
  out.assign(sum_.begin(), sum_.end());
  return lse;
}

void RowMerger::start(int64_t row, std::optional<double> sink_logit) {
  row_ = static_cast<size_t>(row);
  sink_logit_ = sink_logit;
  for (size_t i = 0; i < shards_.size(); ++i)
    exact_[i] = {shards_[i].exact_out.data() + row_ * sum_.size(), double{shards_[i].exact_lse[row_]}};
  exact_lse_ = merge_row(exact_, exact_out_);
  mass_ = sink_logit ? attention::merge_row(exact_, {}, sum_) : exact_lse_;
}

RowMetrics RowMerger::merge(size_t pipeline) {
  MeasuredRow measured;
  for (size_t i = 0; i < shards_.size(); ++i) {
    const PartialRows::OfPipeline& part = shards_[i].pipelines[pipeline];
    own_[i] = part.exact
                  ? exact_[i]
                  : attention::PartialRow{part.out.data() + row_ * sum_.size(), double{part.lse[row_]}};
    if (exact_[i].lse > nothing) measured.sums.add(part.sums[row_], exact_[i].lse - mass_);
    measured.active += part.active[row_];
    measured.visible += shards_[i].visible[row_];
  }
  measured.lse = merge_row(own_, out_);
  measured.exact_lse = exact_lse_;
  measured.out = out_.data();
  measured.exact_out = exact_out_.data();
  measured.value_dim = static_cast<int64_t>(sum_.size());
  return metrics_of(measured);
}

}  // namespace attnlab::measure
