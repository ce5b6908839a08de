// Data-driven tests of the command line: one test for each tests/cli/cases/*.json. A case is
//   {"about": what a user may rely on,
//    "files": {NAME: text or JSON}, "make": [see cli_files.hpp], "env": {NAME: VALUE},
//    "steps": [{"run": [arguments of attnlab: text, or {"text", "repeat", "times", "repeat_end"}],
//               "exit": 0,                        default 0; a signal or the time limit always fails
//               "stderr_is": [LINE],              all of stderr
//               "stdout": [TEXT], "stderr": [TEXT], "not_stdout": [TEXT], "not_stderr": [TEXT],
//               "stdout_json": {POINTER: VALUE},  stdout is one JSON document with these members
//               "files_out": [PATH | {"path", "text": [TEXT], "json": {POINTER: VALUE}, "npy": {"shape"}}],
//               "no_files": [PATH],
//               "same": [[PATH, PATH, ...]]}]}    equal bytes
// TEXT is plain text to find, or {"regex": ECMAScript}. VALUE is JSON to equal, {"near": x, "within": e},
// {"contains": text} or {"absent": true}. ${CASE}, ${FIXTURES} and ${PLUGINS} stand for folders; a case runs
// in
// ${CASE}, a new one. The file may hold comments; an unknown key fails.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>

#include "cli_files.hpp"
#include "cli_program.hpp"
#include "core/io/npy.hpp"

namespace attnlab::cli_test {
namespace {

namespace fs = std::filesystem;
using io::Json;

constexpr std::chrono::seconds time_limit{60};

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("there is no file " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
  return text;
}

/// A folder of its own for each case, removed at the end.
class CaseFolder {
 public:
  CaseFolder() {
    std::string name = fs::canonical(::testing::TempDir()).string() + "/attnlab_cli_XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    root_ = name;
    fs::create_directories(path());
  }
  ~CaseFolder() { fs::remove_all(root_); }
  /// Output files and the probe cache lie beside it, so that a case sees only its own files.
  std::string path() const { return (root_ / "case").string(); }
  std::string cache() const { return (root_ / "cache").string(); }

 private:
  fs::path root_;
};

bool found(const std::string& text, const Json& wanted) {
  if (wanted.is_string()) return text.find(wanted.get<std::string>()) != std::string::npos;
  only_keys(wanted, {"regex"});
  return std::regex_search(text, std::regex(wanted.at("regex").get<std::string>()));
}

void expect_text(const std::string& what, const std::string& text, const Json& wanted) {
  for (const Json& part : wanted)
    EXPECT_TRUE(found(text, part)) << what << " lacks " << part << ":\n" << text;
}

void expect_no_text(const std::string& what, const std::string& text, const Json& unwanted) {
  for (const Json& part : unwanted)
    EXPECT_FALSE(found(text, part)) << what << " has " << part << ":\n" << text;
}

bool matches(const Json* actual, const Json& wanted) {
  if (wanted.is_object() && wanted.contains("absent")) {
    only_keys(wanted, {"absent"});
    return actual == nullptr;
  }
  if (actual == nullptr) return false;
  if (wanted.is_object() && wanted.contains("near")) {
    only_keys(wanted, {"near", "within"});
    return actual->is_number() && std::abs(actual->get<double>() - wanted["near"].get<double>()) <=
                                      wanted.at("within").get<double>();
  }
  if (wanted.is_object() && wanted.contains("contains")) {
    only_keys(wanted, {"contains"});
    return actual->is_string() && found(actual->get<std::string>(), wanted["contains"]);
  }
  return *actual == wanted;
}

void expect_json(const std::string& what, const std::string& text, const Json& members) {
  const Json document = Json::parse(text, nullptr, false);
  ASSERT_FALSE(document.is_discarded()) << what << " is not JSON:\n" << text;
  for (const auto& item : members.items()) {
    const Json::json_pointer pointer(item.key());
    const Json* actual = document.contains(pointer) ? &document.at(pointer) : nullptr;
    EXPECT_TRUE(matches(actual, item.value()))
        << what << " at " << item.key() << "\n  is    " << (actual == nullptr ? "absent" : actual->dump())
        << "\n  wants " << item.value();
  }
}

void expect_file(const fs::path& folder, const Json& wanted) {
  const std::string name =
      wanted.is_string() ? wanted.get<std::string>() : wanted.at("path").get<std::string>();
  const fs::path path = folder / name;
  ASSERT_TRUE(fs::is_regular_file(path)) << "there is no file " << name;
  EXPECT_GT(fs::file_size(path), 0u) << name << " is empty";
  if (wanted.is_string()) return;
  only_keys(wanted, {"path", "text", "json", "npy"});
  if (wanted.contains("text")) expect_text(name, read_bytes(path), wanted["text"]);
  if (wanted.contains("json")) expect_json(name, read_bytes(path), wanted["json"]);
  if (wanted.contains("npy")) {
    only_keys(wanted["npy"], {"shape"});
    EXPECT_EQ(io::read_npy(path.string()).shape(), wanted["npy"].at("shape").get<tensor::Shape>()) << name;
  }
}

void expect_same(const fs::path& folder, const Json& names) {
  const std::string first = read_bytes(folder / names.at(0).get<std::string>());
  EXPECT_FALSE(first.empty());
  for (const Json& name : names) {
    EXPECT_TRUE(read_bytes(folder / name.get<std::string>()) == first)
        << name << " differs from " << names[0];
  }
}

/// An argument of the command line, or one too long to write down.
std::string argument(const Json& word) {
  if (word.is_string()) return word.get<std::string>();
  only_keys(word, {"text", "repeat", "times", "repeat_end"});
  std::string open, close;
  for (int i = 0; i < word.at("times").get<int>(); ++i) {
    open += word.at("repeat").get<std::string>();
    close += word.value("repeat_end", "");
  }
  return word.at("text").get<std::string>() + open + close;
}

void run_step(const Json& step, const std::string& folder,
              const std::map<std::string, std::string>& environment) {
  only_keys(step, {"run", "exit", "stdout", "stderr", "stderr_is", "not_stdout", "not_stderr", "stdout_json",
                   "files_out", "no_files", "same"});
  std::vector<std::string> command{ATTNLAB_PROGRAM};
  for (const Json& word : step.at("run")) command.push_back(argument(word));
  const Outcome outcome = run_program(command, folder, environment, time_limit);
  std::string line;
  for (const auto& word : command) line += " " + word.substr(0, 1000);
  SCOPED_TRACE("in " + folder + ":" + line + "\n--- stdout\n" + outcome.out.substr(0, 10000) +
               "--- stderr\n" + outcome.err.substr(0, 10000) + "---");
  ASSERT_FALSE(outcome.timed_out) << "still running after " << time_limit.count() << " s";
  EXPECT_EQ(outcome.signal, 0) << "ended by: " << ::strsignal(outcome.signal);
  EXPECT_EQ(outcome.exit_code, step.value("exit", 0));
  const auto list = [&](const char* key) { return step.value(key, Json::array()); };
  expect_text("stdout", outcome.out, list("stdout"));
  expect_text("stderr", outcome.err, list("stderr"));
  if (step.contains("stderr_is")) {
    std::string text;
    for (const Json& part : step["stderr_is"]) text += part.get<std::string>() + "\n";
    EXPECT_EQ(outcome.err, text);
  }
  expect_no_text("stdout", outcome.out, list("not_stdout"));
  expect_no_text("stderr", outcome.err, list("not_stderr"));
  if (step.contains("stdout_json")) expect_json("stdout", outcome.out, step["stdout_json"]);
  for (const Json& file : list("files_out")) expect_file(folder, file);
  for (const Json& name : list("no_files")) {
    EXPECT_FALSE(fs::exists(fs::path(folder) / name.get<std::string>())) << name << " should not exist";
  }
  for (const Json& names : list("same")) expect_same(folder, names);
}

void run_case(const std::string& file) {
  const CaseFolder folder;
  std::string text = read_bytes(file);
  text = replaced(text, "${CASE}", folder.path());
  text = replaced(text, "${FIXTURES}", ATTNLAB_FIXTURES);
  text = replaced(text, "${PLUGINS}", ATTNLAB_PLUGINS);
  const Json description = Json::parse(text, nullptr, true, true);
  only_keys(description, {"about", "files", "make", "env", "steps"});
  EXPECT_FALSE(description.at("about").get<std::string>().empty());

  write_files(folder.path(), description.value("files", Json::object()));
  for (const Json& recipe : description.value("make", Json::array())) make_file(folder.path(), recipe);
  std::map<std::string, std::string> environment{{"XDG_CACHE_HOME", folder.cache()}};
  const Json variables = description.value("env", Json::object());
  for (const auto& item : variables.items()) {
    environment[item.key()] = item.value().get<std::string>();
  }
  for (const Json& step : description.at("steps")) run_step(step, folder.path(), environment);
}

std::vector<std::string> case_files() {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(ATTNLAB_SOURCE_DIR "/tests/cli/cases")) {
    if (entry.path().extension() == ".json") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string case_name(const ::testing::TestParamInfo<std::string>& file) {
  return fs::path(file.param).stem().string();
}

class CliCase : public ::testing::TestWithParam<std::string> {};

TEST_P(CliCase, Holds) {
  ASSERT_NO_THROW(run_case(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Cli, CliCase, ::testing::ValuesIn(case_files()), case_name);

}  // namespace
}  // namespace attnlab::cli_test
