// Every method's folder: source, build file, README and a demo that say what the plugin says.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/config/schema.hpp"
#include "core/config/train_plan.hpp"
#include "core/data/problem.hpp"
#include "core/io/atomic_file.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::test {
namespace {

namespace fs = std::filesystem;

const fs::path source_folder = ATTNLAB_SOURCE_DIR;

/// The names of the folders below plugins/maskers or plugins/schemes, which are method ids.
std::vector<std::string> folders_of(const char* family) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(source_folder / "plugins" / family)) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string text_of(const fs::path& file) {
  return io::read_text(file.string(), size_t{1} << 20);
}

/// Keys that a stage of this method may have: its own, those of every selector for a scorer, and the host's.
std::set<std::string> stage_keys(const plugin::Descriptor& method) {
  std::set<std::string> keys;
  auto add = [&](const std::vector<plugin::Parameter>& table) {
    for (const auto& parameter : table) keys.insert(parameter.key);
  };
  add(method.parameters);
  if (method.facet != plugin::Facet::scheme) add(config::stage_parameters());
  if (method.facet == plugin::Facet::scorer) {
    for (const auto& selector : config::selector_names())
      add(config::selector_parameters(selector, method.selector));
  }
  return keys;
}

/// Targets of the markdown links that name files: [text](target), without anchors.
std::vector<std::string> linked_files(const std::string& markdown) {
  std::vector<std::string> targets;
  for (size_t at = markdown.find("]("); at != std::string::npos; at = markdown.find("](", at + 1)) {
    std::string target = markdown.substr(at + 2, markdown.find(')', at) - at - 2);
    target = target.substr(0, target.find('#'));
    if (!target.empty() && target.find("://") == std::string::npos) targets.push_back(target);
  }
  return targets;
}

/// Source, build file, README and demo; the README says what the plugin says.
void check_folder(const fs::path& folder, const std::string& id) {
  for (const std::string& file :
       {id + ".cpp", std::string("CMakeLists.txt"), std::string("README.md"), std::string("demo.json")}) {
    ASSERT_TRUE(fs::is_regular_file(folder / file)) << file;
  }
  const plugin::CatalogEntry* entry = catalog().find(id);
  ASSERT_NE(entry, nullptr) << "the build has no plugin of this name";

  const std::string readme = text_of(folder / "README.md");
  EXPECT_TRUE(readme.starts_with("# " + id + "\n"));
  for (const auto& key : stage_keys(entry->descriptor)) {
    EXPECT_NE(readme.find("`" + key + "`"), std::string::npos)
        << "README.md does not mention the parameter " << key;
  }
  if (const std::string& paper = entry->descriptor.paper; !paper.empty()) {
    EXPECT_NE(readme.find(paper), std::string::npos) << "README.md does not mention " << paper;
  }
  for (const auto& target : linked_files(readme)) {
    EXPECT_TRUE(fs::exists(folder / target)) << "README.md links to " << target;
  }
}

class MaskerFolder : public testing::TestWithParam<std::string> {
 protected:
  const std::string& id() const { return GetParam(); }
  const fs::path folder = source_folder / "plugins" / "maskers" / GetParam();
};

TEST_P(MaskerFolder, SaysWhatThePluginSays) {
  check_folder(folder, id());
}

TEST_P(MaskerFolder, DemoIsAValidConfig) {
  const config::Document document = config::Document::load((folder / "demo.json").string());
  const config::RunPlan plan = config::resolve(document, catalog());
  bool named = false;
  for (const auto& pipeline : plan.pipelines) {
    for (const auto& stage : pipeline.stages) named = named || stage.masker == id();
  }
  EXPECT_TRUE(named) << "no pipeline of the demo uses the method";
  EXPECT_GE(plan.pipelines.size(), 3u) << "a demo compares the method with others";
  EXPECT_NO_THROW(bind(document));
  EXPECT_NO_THROW(data::open_source(plan.input));
  // A demo runs wherever the repository lies.
  EXPECT_EQ(plan.input.kind, config::InputSpec::Kind::workload);
  EXPECT_FALSE(document.root().contains("plugin_path"));
}

INSTANTIATE_TEST_SUITE_P(Plugins, MaskerFolder, testing::ValuesIn(folders_of("maskers")),
                         [](const auto& test) { return test.param; });

class SchemeFolder : public testing::TestWithParam<std::string> {
 protected:
  const fs::path folder = source_folder / "plugins" / "schemes" / GetParam();
};

TEST_P(SchemeFolder, SaysWhatThePluginSays) {
  check_folder(folder, GetParam());
}

TEST_P(SchemeFolder, DemoTrainsIt) {
  const config::Document document = config::Document::load((folder / "demo.json").string());
  const config::TrainPlan plan = config::resolve_training(document, catalog());
  EXPECT_TRUE(std::any_of(plan.model.attention.begin(), plan.model.attention.end(), [](const auto& layer) {
    return layer.scheme == GetParam();
  })) << "no layer of the demo uses the scheme";
  // A demo runs wherever the repository lies.
  EXPECT_EQ(plan.task.text, "");
  EXPECT_FALSE(document.root().contains("plugin_path"));
}

INSTANTIATE_TEST_SUITE_P(Plugins, SchemeFolder, testing::ValuesIn(folders_of("schemes")),
                         [](const auto& test) { return test.param; });

TEST(PluginFolders, ExistForEveryPluginOfTheBuild) {
  const std::vector<std::string> folders = folders_of("maskers");
  for (const auto& id : method_ids()) {
    EXPECT_TRUE(std::binary_search(folders.begin(), folders.end(), id))
        << "plugins/maskers/" << id << " is missing";
  }
}

}  // namespace
}  // namespace attnlab::test
