// A training config made real: schemes loaded, model built, tokens opened.
#pragma once

#include <memory>
#include <optional>

#include "core/config/train_plan.hpp"
#include "core/train/trainer.hpp"

namespace attnlab::train {

struct Study {
  config::TrainPlan plan;
  std::unique_ptr<data::TokenSource> source;  ///< of the task
  std::optional<data::Tokeniser> tokeniser;   ///< none: the task has no text form
  std::unique_ptr<model::Gpt> model;          ///< with first values drawn from the seed
  std::vector<std::string> warnings;          ///< of plugins
};

/// Reads the task and builds the model for it. Throws UserError. [main thread]
Study make_study(const config::TrainPlan& plan, const plugin::Catalog& catalog,
                 const config::Document& document, graph::Element precision = graph::Element::f32);
/// The task alone; `tokeniser` replaces the one that the text would give.
std::unique_ptr<data::TokenSource> open_task(const config::TrainPlan& plan,
                                             const std::optional<data::Tokeniser>& tokeniser = {});
/// The model for a vocabulary.
std::unique_ptr<model::Gpt> make_model(const config::TrainPlan& plan, const plugin::Catalog& catalog,
                                       const config::Document& document, int64_t vocabulary,
                                       graph::Element precision, std::vector<std::string>& warnings);
TrainOptions options_of(const config::TrainPlan& plan);

/// Whether the model's logits at some positions keep their bits when later tokens change. Costs two forwards
/// of one window.
bool is_causal(const model::Gpt& model);
/// Throws UserError when the model's logits at some positions change with later tokens: its loss would be no
/// language model's.
void require_causality(const model::Gpt& model, const config::Document& document);

}  // namespace attnlab::train
