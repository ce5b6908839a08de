#include "core/attention/session.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>

namespace attnlab::attention {
Session::Session(const std::vector<Pipeline>& pipelines, const data::LayerProblem& problem,
                 const data::Geometry& geometry, const AttentionOptions& options)
    : pipelines_(&pipelines), problem_(&problem), geometry_(geometry), options_(options) {
  for (const auto& pipeline : pipelines) {
    states_.push_back(pipeline.make_state(problem.layer, geometry, options.seed));
    received_.push_back(pipeline.wants_feedback()
                            ? std::make_unique<StepMass>(geometry.batch * geometry.kv_heads, geometry.keys)
                            : nullptr);
  }
}

template <class Body>
void Session::for_each_state(const Body& body) {
  for (auto& pipeline : states_) {
    for (auto& stage : pipeline) {
      for (size_t head = 0; head < stage.size(); ++head) {
        if (holds(static_cast<int64_t>(head))) body(stage[head], static_cast<int64_t>(head));
      }
    }
  }
}

attnlab_key_block Session::block_of(int64_t head) const {
  attnlab_key_block block{};
  block.struct_size = sizeof block;
  block.layer = problem_->layer;
  block.batch = head / geometry_.kv_heads;
  block.kv_head = head % geometry_.kv_heads;
  block.head_dim = geometry_.head_dim;
  block.value_dim = geometry_.value_dim;
  const int64_t head_in_part = block.kv_head - problem_->kv_head_begin;
  block.key = problem_->key.row(block.batch, head_in_part, 0);
  block.key_stride = problem_->key.token_stride;
  block.value = problem_->value.row(block.batch, head_in_part, 0);
  block.value_stride = problem_->value.token_stride;
  return block;
}

int64_t Session::valid_keys(int64_t head, int64_t keys) const {
  // `keys` counts from the longest sequence: a shorter one is as many keys behind as its valid length is
  // shorter.
  const int64_t valid = problem_->valid[static_cast<size_t>(head / geometry_.kv_heads)];
  return std::max<int64_t>(0, keys - (geometry_.keys - valid));
}

void Session::append(int64_t keys) {
  for_each_state(
      [&](KeyState& state, int64_t head) { state.append(block_of(head), valid_keys(head, keys)); });
  key_count_ = keys;
}

void Session::truncate(int64_t keys) {
  for_each_state(
      [&](KeyState& state, int64_t head) { state.truncate(block_of(head), valid_keys(head, keys)); });
  key_count_ = keys;
}

void Session::end_prompt() {
  for (size_t p = 0; p < states_.size(); ++p) {
    for (size_t s = 0; s < states_[p].size(); ++s) {
      const Stage& stage = (*pipelines_)[p].stages()[s];
      if (!stage.masker.wants_end_prompt()) continue;
      for (size_t head = 0; head < states_[p][s].size(); ++head) {
        if (!holds(static_cast<int64_t>(head))) continue;
        attnlab_prompt prompt{};
        prompt.struct_size = sizeof prompt;
        prompt.keys = block_of(static_cast<int64_t>(head));
        prompt.keys.end = valid_keys(static_cast<int64_t>(head), key_count_);
        prompt.group = geometry_.group();
        prompt.scale = options_.scale;
        prompt.rng_key = mix_key(options_.seed, stage.seed, (*pipelines_)[p].place_of(s),
                                 static_cast<uint64_t>(problem_->layer), head);
        // Queries before the end of the prompt: query i sits at position i + keys - queries.
        const int64_t end = std::max<int64_t>(0, key_count_ - (geometry_.keys - geometry_.queries));
        prompt.query_count = std::min(prompt_queries, end);
        std::vector<float> queries;
        for (int64_t i = end - prompt.query_count; i < end; ++i) {
          for (int64_t g = 0; g < prompt.group; ++g) {
            const int64_t head_in_part = (prompt.keys.kv_head - problem_->kv_head_begin) * prompt.group + g;
            const float* row =
                problem_->query.row(prompt.keys.batch, head_in_part, i - problem_->query_begin);
            queries.insert(queries.end(), row, row + geometry_.head_dim);
          }
        }
        prompt.query = queries.data();
        prompt.query_stride = geometry_.head_dim;
        states_[p][s][head].end_prompt(prompt);
      }
    }
  }
}

void Session::end_step() {
  for (size_t p = 0; p < states_.size(); ++p) {
    if (received_[p] == nullptr) continue;
    for (size_t s = 0; s < states_[p].size(); ++s) {
      if (!(*pipelines_)[p].stages()[s].masker.wants_feedback()) continue;
      for (size_t head = 0; head < states_[p][s].size(); ++head) {
        const auto at = static_cast<int64_t>(head);
        if (received_[p]->rows(at) == 0) continue;
        const std::vector<float> mass = received_[p]->of(at, states_[p][s][head].key_count());
        attnlab_feedback feedback{};
        feedback.struct_size = sizeof feedback;
        feedback.layer = problem_->layer;
        feedback.batch = at / geometry_.kv_heads;
        feedback.kv_head = at % geometry_.kv_heads;
        feedback.key_count = static_cast<int64_t>(mass.size());
        feedback.mass = mass.data();
        feedback.row_count = received_[p]->rows(at);
        states_[p][s][head].feedback(feedback);
      }
    }
    received_[p]->clear();
  }
}

bool Session::wants_feedback() const {
  return std::any_of(received_.begin(), received_.end(), [](const auto& mass) { return mass != nullptr; });
}

Session Session::fork() const {
  Session copy(*pipelines_, *problem_, geometry_, options_);
  copy.key_count_ = key_count_;
  for (size_t p = 0; p < states_.size(); ++p) {
    for (size_t s = 0; s < states_[p].size(); ++s) {
      for (size_t head = 0; head < states_[p][s].size(); ++head) {
        copy.states_[p][s][head] = states_[p][s][head].fork();
      }
    }
  }
  return copy;
}

std::vector<IndexBytes> Session::index_bytes(size_t pipeline) const {
  std::vector<IndexBytes> bytes(states_[pipeline].size());
  for (size_t s = 0; s < bytes.size(); ++s) {
    for (size_t head = 0; head < states_[pipeline][s].size(); ++head) {
      if (holds(static_cast<int64_t>(head))) bytes[s] += states_[pipeline][s][head].bytes();
    }
  }
  return bytes;
}

uint64_t Session::state_bytes(size_t pipeline) const {
  uint64_t total = 0;
  for (const auto& bytes : index_bytes(pipeline)) total += bytes.total();
  return total;
}

}  // namespace attnlab::attention
