// Golden cases run through the product: config, catalog, plugins, experiment and dump, as `attnlab run` does.
#pragma once

#include <map>
#include <string>

#include "core/config/document.hpp"
#include "tests/golden/hub_case.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::golden {

/// What a pipeline gave, rows numbered as in Plane.
struct Outcome {
  Plane mask;     ///< inclusion probability, 0 where not visible
  Plane weights;  ///< normalised attention weights
  Plane output;
  int64_t empty_rows = 0;
};

/// A case set up in a temporary folder.
class Product {
 public:
  /// `pipelines`: an object of stage lists, as in a config.
  Product(const HubCase& golden, const io::Json& pipelines);
  /// Runs all pipelines; by pipeline name. Throws UserError for a config that the product refuses.
  std::map<std::string, Outcome> run(int64_t seed = 0);

 private:
  io::TemporaryFolder folder_;
  config::Document document_;
};

/// The case's own pipeline.
Outcome run_case(const HubCase& golden);

}  // namespace attnlab::golden
