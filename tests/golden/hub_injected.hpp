// Golden cases whose random ingredients were dumped: run with those ingredients in place of our draws.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tests/golden/hub_product.hpp"
#include "tests/support/stage_scores.hpp"

namespace attnlab::golden {

/// The pipeline of a case on its first batch entry, up to what the test overwrites in its columns.
class Injected {
 public:
  /// `stages` as in a config.
  Injected(const HubCase& golden, const io::Json& stages);
  /// The session refers to its neighbours.
  Injected(const Injected&) = delete;
  Injected& operator=(const Injected&) = delete;

  attention::Session& session() { return *session_; }
  /// A column of the last stage.
  template <class T>
  std::span<T> column(int64_t kv_head, const char* name) const {
    return test::column_of<T>(test::key_state(*session_, stage(), 0, kv_head), name);
  }
  /// Scores of the last stage by query row as in Plane, keys from `first_key` on.
  Plane scores(int64_t first_key = 0) const;
  /// Attends; weights are left out.
  Outcome attend() const;

 private:
  size_t stage() const { return pipelines_.front().stages().size() - 1; }

  config::Document document_;
  std::vector<attention::Pipeline> pipelines_;
  data::LayerProblem problem_;
  std::unique_ptr<attention::Session> session_;
};

/// The elements of a dumped tensor.
std::vector<float> dumped_floats(const HubCase& golden, const std::string& file);
std::vector<int32_t> dumped_integers(const HubCase& golden, const std::string& file);

}  // namespace attnlab::golden
