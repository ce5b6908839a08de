// The help that docs/reference/cli.md quotes is what the program prints.
#include <gtest/gtest.h>

#include <chrono>
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

TEST(ReferenceDocs, HelpBlocksAreWhatTheProgramPrints) {
  const auto blocks = help_blocks(cli_page());
  ASSERT_FALSE(blocks.empty());
  for (const auto& block : blocks) {
    std::vector<std::string> command{ATTNLAB_PROGRAM, "help"};
    std::istringstream words(block.command);
    for (std::string word; words >> word;) command.push_back(word);
    const auto child = plugin::run_child(command, std::chrono::seconds(20));
    ASSERT_FALSE(child.timed_out) << block.command;
    EXPECT_EQ(child.exit_code, 0) << child.errors;
    EXPECT_EQ(block.text, child.output) << "attnlab help " << block.command;
  }
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
