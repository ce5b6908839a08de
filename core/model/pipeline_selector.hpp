// A pipeline of maskers as attention of a graph: what a scheme's parameter of type pipeline becomes.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "core/attention/session.hpp"
#include "core/config/scheme_plan.hpp"
#include "core/graph/key_selector.hpp"
#include "core/plugin/scheme.hpp"

namespace attnlab::model {

/// Keys that rows attended to, of those that they could see.
struct SelectionCount {
  uint64_t active = 0, visible = 0, rows = 0;
  double density() const {
    return visible == 0 ? 1 : static_cast<double>(active) / static_cast<double>(visible);
  }
};

/// Runs the stages on every row as mode "prefill" does: key-side state is made of all keys of a call, and a
/// row is told of those at or before its own position. Thread-safe; calls take turns.
class PipelineSelector final : public graph::KeySelector {
 public:
  /// Loads the maskers. Throws base::UserError. [main thread]
  PipelineSelector(const config::PipelinePlan& plan, const plugin::Catalog& catalog,
                   const config::Document& document);
  ~PipelineSelector() override;

  graph::SelectedAttention attend(const graph::SelectorCall& call) const override;
  /// Of all calls since the last reset, by layer.
  std::map<int, SelectionCount> counts() const;
  void reset_counts();
  std::vector<std::string> warnings() const;

 private:
  struct Work;

  std::vector<attention::Pipeline> pipeline_;  ///< one
  mutable std::mutex mutex_;
  std::unique_ptr<Work> work_;
};

/// The scheme of a plan: its pipelines are bound to their plugins and live as long as it does. `name` is for
/// messages. Throws base::UserError. [main thread]
std::shared_ptr<const plugin::Scheme> make_scheme(const config::SchemePlan& plan,
                                                  const plugin::Catalog& catalog,
                                                  const config::Document& document, const std::string& name,
                                                  std::vector<std::string>& warnings);

}  // namespace attnlab::model
