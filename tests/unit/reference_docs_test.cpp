// The help that docs/reference/cli.md quotes is what the program prints.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "core/io/atomic_file.hpp"
#include "core/plugin/child.hpp"

namespace attnlab::test {
namespace {

/// A fenced block after the line "`attnlab help run` prints:".
struct HelpBlock {
  std::string command;  ///< "run", "plugin list"; empty for the general help
  std::string text;
};

std::string cli_page() {
  return io::read_text(ATTNLAB_SOURCE_DIR "/docs/reference/cli.md", size_t{1} << 20);
}

std::vector<HelpBlock> help_blocks(const std::string& page) {
  const std::string before = "`attnlab help", after = "` prints:", fence = "```";
  std::vector<HelpBlock> blocks;
  std::istringstream lines(page);
  std::string line;
  while (std::getline(lines, line)) {
    if (!line.starts_with(before) || !line.ends_with(after)) continue;
    HelpBlock block;
    block.command = line.substr(before.size(), line.size() - before.size() - after.size());
    if (block.command.starts_with(' ')) block.command.erase(0, 1);
    std::string blank, opening;
    std::getline(lines, blank);
    std::getline(lines, opening);
    EXPECT_TRUE(blank.empty() && opening == fence) << "no fenced block after: " << line;
    while (std::getline(lines, line) && line != fence) block.text += line + "\n";
    blocks.push_back(std::move(block));
  }
  return blocks;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// What the program does not make again is checked by eye; what it makes must be as it makes it.
TEST(ReferenceDocs, GeneratedPartsAreWhatTheProgramPrints) {
  int pages = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ATTNLAB_SOURCE_DIR "/docs/reference")) {
    const std::string page = entry.path().string();
    const auto child = plugin::run_child({ATTNLAB_PROGRAM, "reference-page", page}, std::chrono::seconds(20));
    ASSERT_FALSE(child.timed_out) << page;
    EXPECT_EQ(child.exit_code, 0) << child.errors;
    EXPECT_EQ(io::read_text(page, size_t{1} << 20), child.output) << page << ": run ./dev docs";
    ++pages;
  }
  EXPECT_GE(pages, 5);
}

// A block without the line that introduces it would go unchecked.
TEST(ReferenceDocs, EveryUsageTextIsChecked) {
  const std::string page = cli_page();
  size_t checked = 0;
  for (const auto& block : help_blocks(page)) checked += count(block.text, "usage: attnlab");
  EXPECT_EQ(checked, count(page, "usage: attnlab"));
}

}  // namespace
}  // namespace attnlab::test
