// The source tree obeys its own rules: order of rooms, one home for TBB and Boost.DLL, plugins on the public
// path.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace attnlab {
namespace {

namespace fs = std::filesystem;

constexpr int line_limit = 500;

/// From the lowest room to the highest: each may include itself and those before it.
const std::vector<std::string>& rooms() {
  static const std::vector<std::string> order = {
      "base",      "tensor", "io",    "mask",    "kernels", "graph",  "plugin", "config", "data",
      "attention", "model",  "train", "measure", "sweep",   "report", "cli",    "mpi"};
  return order;
}

std::optional<size_t> rank_of(const std::string& room) {
  auto found = std::find(rooms().begin(), rooms().end(), room);
  return found == rooms().end() ? std::nullopt : std::optional<size_t>(found - rooms().begin());
}

struct Include {
  int line;
  bool quoted;
  std::string target;
};

std::vector<Include> includes_of(const std::string& text) {
  static const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]*)[>"])");
  std::vector<Include> includes;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::smatch match;
    if (std::regex_search(line, match, pattern)) includes.push_back({number, match[1] == "\"", match[2]});
  }
  return includes;
}

/// <vector>, <cstdint>, and the C headers that a header for C11 needs. Standard C++ headers have no dot.
bool is_standard(const std::string& target) {
  return target == "stdint.h" || target == "stddef.h" || target.find_first_of("./") == std::string::npos;
}

std::string core_complaint(const std::string& path, const Include& include) {
  const std::string room = path.substr(5, path.find('/', 5) - 5);
  const std::string& target = include.target;
  if (!include.quoted) {
    const bool tbb = target.starts_with("tbb/") || target.starts_with("oneapi/");
    if (tbb && path != "core/base/parallel.cpp") return "only core/base/parallel.cpp includes TBB";
    const bool dll = target.starts_with("boost/dll");
    if (dll && path != "core/plugin/library.cpp") return "only core/plugin/library.cpp includes Boost.DLL";
    if (target == "mpi.h" && path != "core/mpi/mpi_ranks.cpp")
      return "only core/mpi/mpi_ranks.cpp includes MPI";
    return "";
  }
  if (!target.starts_with("core/")) return "a quoted include names a file of core";
  auto mine = rank_of(room), other = rank_of(target.substr(5, target.find('/', 5) - 5));
  if (!mine) return "\"" + room + "\" is no room";
  if (!other) return "it includes a file outside the rooms";
  return *other > *mine ? "room " + room + " includes a room after it" : "";
}

/// Each broken rule of a file at `path` (relative to the repository) as "path:line: target: rule".
std::vector<std::string> complaints(const std::string& path, const std::string& text) {
  std::vector<std::string> found;
  for (const auto& include : includes_of(text)) {
    std::string rule;
    if (path.starts_with("core/")) {
      rule = core_complaint(path, include);
    } else if (include.quoted && path.starts_with("plugins/")) {
      // A plugin's own header, in its folder.
      if (include.target.find('/') != std::string::npos)
        rule = "a quoted include names a file of the same folder";
    } else if (include.quoted || !(include.target.starts_with("attnlab/") || is_standard(include.target))) {
      rule = "only <attnlab/...> and standard headers";
    }
    if (!rule.empty())
      found.push_back(path + ":" + std::to_string(include.line) + ": " + include.target + ": " + rule);
  }
  // The C boundary is one table by design: a reader finds the whole contract in one file.
  const auto lines = std::count(text.begin(), text.end(), '\n');
  if (lines > line_limit && path != "sdk/include/attnlab/abi.h") {
    found.push_back(path + ": " + std::to_string(lines) + " lines: split it");
  }
  return found;
}

bool is_source(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".cpp" || extension == ".hpp" || extension == ".h" || extension == ".c";
}

TEST(IncludeOrder, EveryFileKeepsTheRules) {
  const fs::path root = ATTNLAB_SOURCE_DIR;
  int files = 0;
  for (const char* folder : {"core", "sdk/include", "plugins"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      ++files;
      std::ifstream stream(entry.path());
      const std::string text{std::istreambuf_iterator<char>(stream), {}};
      for (const auto& complaint : complaints(fs::relative(entry.path(), root).generic_string(), text)) {
        ADD_FAILURE() << complaint;
      }
    }
  }
  EXPECT_GT(files, 100) << "the walk found too few files to mean anything";
}

TEST(IncludeOrder, EveryFolderOfCoreIsARoom) {
  for (const auto& entry : fs::directory_iterator(fs::path(ATTNLAB_SOURCE_DIR) / "core")) {
    EXPECT_TRUE(!entry.is_directory() || rank_of(entry.path().filename().string())) << entry.path();
  }
}

size_t count(const std::string& path, const std::string& text) {
  return complaints(path, text).size();
}

TEST(IncludeOrder, TheCheckerSeesBrokenRules) {
  EXPECT_EQ(count("core/mask/a.cpp", "#include \"core/mask/b.hpp\"\n#include \"core/base/c.hpp\"\n"), 0u);
  EXPECT_EQ(complaints("core/mask/a.cpp", "\n  #  include \"core/attention/b.hpp\"\n"),
            (std::vector<std::string>{
                "core/mask/a.cpp:2: core/attention/b.hpp: room mask includes a room after it"}));
  EXPECT_EQ(count("core/mask/a.cpp", "#include \"core/nowhere/b.hpp\"\n"), 1u);
  EXPECT_EQ(count("core/nowhere/a.cpp", "#include \"core/base/b.hpp\"\n"), 1u);
  EXPECT_EQ(count("core/mask/a.cpp", "#include \"b.hpp\"\n"), 1u);
  EXPECT_EQ(count("core/mask/a.cpp", "#include <tbb/parallel_for.h>\n"), 1u);
  EXPECT_EQ(count("core/mask/a.cpp", "#include <oneapi/tbb.h>\n"), 1u);
  EXPECT_EQ(count("core/base/parallel.cpp", "#include <tbb/parallel_for.h>\n"), 0u);
  EXPECT_EQ(count("core/plugin/child.cpp", "#include <boost/dll/shared_library.hpp>\n"), 1u);
  EXPECT_EQ(count("core/plugin/library.cpp", "#include <boost/dll/shared_library.hpp>\n"), 0u);
  for (const char* outside : {"sdk/include/attnlab/a.hpp", "plugins/maskers/a/a.cpp"}) {
    EXPECT_EQ(count(outside, "#include <attnlab/abi.h>\n#include <vector>\n"), 0u);
    for (const char* bad :
         {"\"core/base/error.hpp\"", "\"../a.hpp\"", "<Eigen/Core>", "<unistd.h>", "<fmt/core.h>"}) {
      EXPECT_EQ(count(outside, std::string("#include ") + bad + "\n"), 1u) << bad;
    }
  }
  EXPECT_EQ(count("plugins/maskers/a/a.cpp", "#include \"tables.hpp\"\n"), 0u);
  EXPECT_EQ(count("sdk/include/attnlab/a.hpp", "#include \"tables.hpp\"\n"), 1u);
  EXPECT_EQ(count("core/mask/a.cpp", std::string(500, '\n')), 0u);
  EXPECT_EQ(count("core/mask/a.cpp", std::string(501, '\n')), 1u);
}

}  // namespace
}  // namespace attnlab
