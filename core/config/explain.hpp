// Every value of a resolved config with its description and where it came from.
#pragma once

#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/run_plan.hpp"
#include "core/plugin/parameter.hpp"

namespace attnlab::config {

/// A value that a config has or could have.
struct ConfigValue {
  std::string pointer;        ///< with list indices
  std::string named_pointer;  ///< the same with the stage's name instead of its index
  io::Json value;             ///< null: not set, and there is no default
  plugin::Parameter parameter;
  std::string preset;  ///< who gives it when the config does not: "attnlab's default", "default of sink"
  std::vector<Statement> statements;  ///< weakest first; none: the value is `preset`
};

/// All values of `plan`, which was resolved from `document`, in the order of the resolved config.
std::vector<ConfigValue> explain(const Document& document, const RunPlan& plan,
                                 const plugin::Catalog& catalog);

/// Those at or below `pointer`, where a stage may be named instead of numbered. Throws UserError with the
/// nearest key of the same level when there is none.
std::vector<ConfigValue> at_pointer(const std::vector<ConfigValue>& values, const std::string& pointer);

/// "config.json:12:5", or "--set".
std::string place_of(const Statement& statement);

}  // namespace attnlab::config
