#include "core/measure/shard_worker.hpp"

#include <algorithm>
#include <utility>

#include "core/base/stopwatch.hpp"
#include "core/io/wire.hpp"
#include "core/measure/machine.hpp"

namespace attnlab::measure {
namespace {

using Kind = Exchange::Kind;

uint64_t bytes_of(const data::LayerProblem& problem) {
  uint64_t bytes = problem.bias.empty() ? 0 : problem.bias.byte_size();
  for (const auto& tensor : problem.storage) bytes += tensor.byte_size();
  return bytes;
}

void raise(uint64_t& largest, uint64_t value) {
  largest = std::max(largest, value);
}

attention::Execution selecting(attention::Execution execution) {
  execution.exact = false;
  execution.select_only = true;
  return execution;
}

void write(const CostSums& sums, io::WireWriter& out) {
  out.value(sums.attended_bytes);
  out.value(sums.dense_bytes);
  out.value(static_cast<uint64_t>(sums.index.size()));
  out.values(sums.index);
  out.values(sums.tokens);
  out.values(sums.sequences);
}

CostSums read_sums(io::WireReader& in) {
  CostSums sums;
  sums.attended_bytes = in.value<uint64_t>();
  sums.dense_bytes = in.value<uint64_t>();
  const auto stages = in.value<uint64_t>();
  in.values(sums.index, stages);
  in.values(sums.tokens, stages);
  in.values(sums.sequences, stages);
  return sums;
}

}  // namespace

ShardWorker::ShardWorker(const config::RunPlan& plan, const Pipelines& pipelines, const data::Source& source,
                         const ExperimentOptions& options, Exchange& exchange)
    : plan_(plan),
      pipelines_(pipelines),
      source_(source),
      options_(options),
      exchange_(exchange),
      sharding_(plan, source.geometry(), exchange.count()),
      attention_(attention_options(plan, source)),
      count_(measured_queries(plan, source.geometry())),
      selector_(selecting(options.execution)),
      engine_(options.execution, pipelines.size()),
      cost_(pipelines.size()),
      state_bytes_(pipelines.size()) {
  begin_ = source.geometry().queries - count_;
  for (const auto& pipeline : pipelines) {
    selects_ = selects_ || !pipeline.stages().empty();
    feedback_ = feedback_ || pipeline.wants_feedback();
  }
  record_.rank = exchange.rank();
  record_.keys = sharding_.bound(exchange.rank() + 1) - sharding_.bound(exchange.rank());
}

attention::HeadRows ShardWorker::rows() const {
  const data::Geometry& geometry = source_.geometry();
  return {geometry.batch, begin_, count_, geometry.group()};
}

data::LayerProblem ShardWorker::load(int layer, const data::Part& part) {
  const base::StopwatchInto watch(record_.load_seconds);
  return source_.load_part(layer, part);
}

void ShardWorker::run(const Merge& merge) {
  const int rank = exchange_.rank();
  const auto& heads = sharding_.kv_heads;
  for (const int layer : wanted_layers(plan_, source_)) {
    shard_ = {};
    shard_ = load(
        layer, {heads.front(), heads.back() + 1, sharding_.bound(rank), sharding_.bound(rank + 1), begin_});
    sink_logit_ = std::exchange(shard_.sink_logit, {});
    raise(record_.shard_bytes, bytes_of(shard_));
    const auto ranks = static_cast<size_t>(exchange_.count());
    for (size_t begin = 0; begin < heads.size(); begin += ranks) {
      const size_t end = std::min(begin + ranks, heads.size());
      const size_t mine = begin + static_cast<size_t>(rank);
      exchange_.poll();
      if (selects_ && mine < end) select(layer, mine);
      for (size_t index = begin; index < end; ++index) attend(index);
      merge(layer, begin, end);
    }
    ++layer_index_;
  }
  record_.peak_resident_bytes = peak_resident_bytes();
  record_.sent_bytes = exchange_.sent_bytes();
  record_.wait_seconds = exchange_.wait_seconds();
}

/// Runs the stages on one KV head whole, as a process alone would, and sends what they select.
void ShardWorker::select(int layer, size_t index) {
  const data::Geometry& geometry = source_.geometry();
  const int64_t head = sharding_.kv_heads[index];
  // Methods with feedback learn from all queries of the prompt, others may see its last ones.
  const int64_t prompt_end = plan_.mode == config::Mode::prefill ? geometry.queries : begin_;
  const int64_t seen = feedback_ ? prompt_end : std::min(prompt_end, attention::Session::prompt_queries);
  const data::LayerProblem problem =
      load(layer, {head, head + 1, 0, geometry.keys, std::min(begin_, prompt_end - seen)});
  raise(record_.head_bytes, bytes_of(problem));

  const attention::HeadRows rows = this->rows();
  std::vector<std::string> messages(static_cast<size_t>(sharding_.ranks));
  std::vector<uint8_t> empty(pipelines_.size() * static_cast<size_t>(rows.size()));
  std::mutex guard;
  const std::vector<int64_t> bounds = sharding_.bounds();
  const auto visit = [&](const attention::TileOutcome& outcome) {
    std::vector<std::string> own(messages.size());
    attention::append_masks(outcome, bounds, own);
    const attention::TileIndex& tile = outcome.tile->index();
    const int64_t row =
        static_cast<int64_t>(outcome.pipeline) * rows.size() + rows.row(tile.batch, tile.query_begin);
    const std::lock_guard lock(guard);
    std::copy(outcome.empty->begin(), outcome.empty->end(), empty.begin() + row);
    for (size_t i = 0; i < own.size(); ++i) messages[i] += own[i];
  };
  {
    const base::StopwatchInto watch(record_.select_seconds);
    attention::Session session(pipelines_, problem, geometry, attention_);
    attend_by_mode(plan_.mode, session, selector_, {head}, begin_, count_, visit, [](int64_t) {});
    cost_.add_state(session);
    uint64_t index_bytes = 0;
    for (size_t p = 0; p < pipelines_.size(); ++p) {
      index_bytes += session.state_bytes(p);
      state_bytes_[p] += session.state_bytes(p);
    }
    raise(record_.index_bytes, index_bytes);
  }
  for (size_t to = 0; to < messages.size(); ++to) {
    if (static_cast<int>(to) != exchange_.rank()) record_.sent_mask_bytes += messages[to].size();
    exchange_.send(static_cast<int>(to), Kind::masks, tag(index), std::move(messages[to]));
  }
  exchange_.send(0, Kind::selected, tag(index), {empty.begin(), empty.end()});
}

void ShardWorker::attend(size_t index) {
  std::vector<attention::HeadMasks> masks;
  if (selects_) {
    const std::string message = exchange_.wait(sharding_.owner(index), Kind::masks, tag(index));
    raise(record_.mask_bytes, message.size());
    masks = attention::read_masks(message, rows(), pipelines_.size());
  }
  std::string partial;
  {
    const base::StopwatchInto watch(record_.attend_seconds);
    partial =
        engine_
            .attend(shard_, source_.geometry(), attention_, sharding_.kv_heads[index], rows(), masks, cost_)
            .message();
  }
  if (exchange_.rank() != 0) record_.sent_partial_bytes += partial.size();
  exchange_.send(0, Kind::partial, tag(index), std::move(partial));
}

std::string ShardWorker::summary() const {
  io::WireWriter out;
  out.value(record_);
  out.value(selector_.scratch_bytes() + engine_.scratch_bytes());
  attention::Clocks clocks = selector_.clocks();
  clocks.stages.resize(pipelines_.size());
  clocks.search_bytes.resize(pipelines_.size());
  clocks.queries.resize(pipelines_.size());
  const attention::Clocks& shards = engine_.clocks();
  out.value(clocks.logits + shards.logits);
  out.value(shards.exact_rows);
  out.value(clocks.visit + shards.visit);
  for (size_t p = 0; p < pipelines_.size(); ++p) {
    write(cost_.sums(p), out);
    out.value(state_bytes_[p]);
    out.value(shards.attend[p]);
    out.value(clocks.queries[p]);
    const size_t stages = pipelines_[p].stages().size();
    clocks.stages[p].resize(stages);
    clocks.search_bytes[p].resize(stages);
    out.value(static_cast<uint64_t>(stages));
    out.values(clocks.stages[p]);
    out.values(clocks.search_bytes[p]);
  }
  return out.take();
}

void RunTotals::add(const std::string& summary) {
  io::WireReader in(summary);
  ranks.push_back(in.value<RankRecord>());
  scratch_bytes += in.value<uint64_t>();
  attention::Clocks of_rank;
  of_rank.logits = in.value<double>();
  of_rank.exact_rows = in.value<double>();
  of_rank.visit = in.value<double>();
  for (size_t p = 0; p < state_bytes.size(); ++p) {
    cost.add(p, read_sums(in));
    state_bytes[p] += in.value<uint64_t>();
    of_rank.attend.push_back(in.value<double>());
    of_rank.queries.push_back(in.value<uint64_t>());
    const auto stages = in.value<uint64_t>();
    in.values(of_rank.stages.emplace_back(), stages);
    in.values(of_rank.search_bytes.emplace_back(), stages);
  }
  clocks.add(of_rank);
}

}  // namespace attnlab::measure
