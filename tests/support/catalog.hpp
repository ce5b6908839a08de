// The plugins of the build, as tests use them.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "core/attention/pipeline.hpp"
#include "core/config/run_plan.hpp"

namespace attnlab::test {

/// All plugins of the build folder, scanned once.
inline const plugin::Catalog& catalog() {
  static const plugin::Catalog instance = [] {
    plugin::SearchPath search;
    search.folders.push_back({ATTNLAB_PLUGINS, "the build"});
    return plugin::Catalog::scan(search, ATTNLAB_PROGRAM);
  }();
  return instance;
}

/// Ids of the maskers and scorers of the build, without presets.
inline std::vector<std::string> method_ids() {
  std::vector<std::string> ids;
  for (const auto& id : catalog().ids()) {
    const plugin::Descriptor& method = catalog().find(id)->descriptor;
    if (!method.is_preset() && method.facet != plugin::Facet::scheme) ids.push_back(id);
  }
  return ids;
}

/// A document with these pipelines (a JSON object as text) and an input that nothing reads.
inline config::Document document_with(const std::string& pipelines) {
  config::Document document;
  const config::Origin origin{"test", "."};
  document.set("/pipelines", io::Json::parse(pipelines), origin);
  document.set("/input", {{"workload", "gaussian"}}, origin);
  return document;
}

inline std::vector<attention::Pipeline> bind(const config::Document& document) {
  std::vector<attention::Pipeline> pipelines;
  for (const auto& plan : config::resolve(document, catalog()).pipelines) {
    pipelines.emplace_back(plan, catalog(), document);
  }
  return pipelines;
}

}  // namespace attnlab::test
