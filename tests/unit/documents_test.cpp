// What the documents say about the tree is true: quoted sources are the sources, links lead somewhere,
// configs are valid.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "core/config/compare_plan.hpp"
#include "core/config/layer_plan.hpp"
#include "core/config/operators_plan.hpp"
#include "core/config/train_plan.hpp"
#include "core/io/atomic_file.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::test {
namespace {

namespace fs = std::filesystem;

const fs::path root = ATTNLAB_SOURCE_DIR;

std::string text_of(const fs::path& path) {
  return io::read_text(path.string(), size_t{1} << 20);
}

std::vector<fs::path> files_below(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == extension) files.push_back(entry.path());
  }
  return files;
}

TEST(Documents, TheReadmeQuotesTheSinkPluginInFull) {
  EXPECT_NE(
      text_of(root / "README.md").find("```cpp\n" + text_of(root / "plugins/maskers/sink/sink.cpp") + "```"),
      std::string::npos);
}

TEST(Documents, LinksLeadSomewhere) {
  auto files = files_below(root / "docs", ".md");
  files.push_back(root / "README.md");
  const std::regex link(R"(\]\(([^)#:]+)(#[^)]*)?\))");
  int links = 0;
  for (const auto& file : files) {
    const std::string text = text_of(file);
    for (std::sregex_iterator it(text.begin(), text.end(), link), end; it != end; ++it, ++links) {
      EXPECT_TRUE(fs::exists(file.parent_path() / (*it)[1].str())) << file << " links to " << (*it)[1].str();
    }
  }
  EXPECT_GT(links, 10);
}

TEST(Documents, CommittedConfigsAreValid) {
  int configs = 0;
  for (const auto& file : files_below(root / "configs", ".json")) {
    config::Document document = config::Document::load(file.string());
    ++configs;
    const std::string folder = file.parent_path().filename().string();
    if (folder == "schemes") {
      EXPECT_NO_THROW(config::resolve_layer(document, catalog())) << file;
      continue;
    }
    if (folder == "train") {
      EXPECT_NO_THROW(config::resolve_training(document, catalog())) << file;
      continue;
    }
    if (folder == "compare") {
      EXPECT_NO_THROW(config::resolve_comparison(document, catalog())) << file;
      continue;
    }
    if (folder == "operators") {
      EXPECT_NO_THROW(config::resolve_operators(document, catalog())) << file;
      continue;
    }
    if (folder == "sweeps") continue;  // SweepPlan.CommittedSweepsAreValid
    // Files made to be extended have no input of their own.
    if (!document.root().contains("input")) {
      document.set("/input", {{"workload", "gaussian"}}, {"test", "."});
    }
    EXPECT_NO_THROW(config::resolve(document, catalog())) << file;
  }
  EXPECT_GE(configs, 5);
}

}  // namespace
}  // namespace attnlab::test
