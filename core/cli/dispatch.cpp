// From argv to a command.
#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <sstream>

#include "core/cli/command.hpp"

namespace attnlab::cli {
namespace {

std::vector<std::string> process_words;

using base::Exit;
using base::UserError;

/// A line for each command whose name begins with `prefix`.
std::string command_lines(const std::string& prefix) {
  std::string text;
  for (const auto& command : commands()) {
    if (command.hidden || !command.name.starts_with(prefix)) continue;
    text += fmt::format("  {:<28} {}\n", command.name + " " + command.arguments, command.summary);
  }
  return text;
}

std::string general_help() {
  std::string text =
      "attnlab: sparse and alternative attention, measured on CPUs\n\n"
      "usage: attnlab COMMAND [ARGUMENTS] [OPTIONS]\n\ncommands:\n" +
      command_lines("");
  text +=
      "  help [COMMAND]               this text, or all about a command\n"
      "  version                      version of attnlab and its plugin ABI\n\n"
      "exit codes: 0 ok, 1 failed, 2 usage or invalid config, 3 plugin missing or incompatible,\n"
      "            4 plugin broke its contract or crashed, 5 some trials failed, 6 threshold not met,\n"
      "            130 interrupted\n";
  return text;
}

std::string command_help(const Command& command) {
  std::ostringstream text;
  text << "usage: attnlab " << command.name << ' ' << command.arguments << " [OPTIONS]\n\n"
       << command.summary << "\n";
  if (!command.details.empty()) text << "\n" << command.details << "\n";
  po::options_description options("options", 100);
  if (command.options) command.options(options);
  if (!options.options().empty()) text << "\n" << options;
  return text.str();
}

[[noreturn]] void unknown_command(const std::vector<std::string>& words) {
  std::vector<std::string> names{"help", "version"};
  for (const auto& command : commands()) {
    if (!command.hidden) names.push_back(command.name);
  }
  // "plugin" alone and "plugin lst" both deserve the commands that begin so.
  std::vector<std::string> family;
  for (const auto& name : names) {
    if (name.starts_with(words[0] + " ")) family.push_back(name);
  }
  const std::string typed = words.size() > 1 && !family.empty() ? words[0] + " " + words[1] : words[0];
  const auto& allowed = family.empty() ? names : family;
  std::string suggestion = base::did_you_mean(typed, allowed);
  // "confg show": the slip is in the first of two words.
  if (suggestion.empty() && words.size() > 1)
    suggestion = base::did_you_mean(words[0] + " " + words[1], allowed);
  throw UserError("unknown command \"" + typed + "\"",
                  {.allowed = base::join(allowed), .suggestion = suggestion});
}

int run(const Command& command, const std::vector<std::string>& arguments) {
  po::options_description visible;
  if (command.options) command.options(visible);
  po::variables_map values;
  try {
    values = parse_arguments(command, arguments);
  } catch (const po::unknown_option& error) {
    std::vector<std::string> names;
    for (const auto& option : visible.options()) names.push_back("--" + option->long_name());
    throw UserError(
        "unknown option " + error.get_option_name(),
        {.allowed = base::join(names), .suggestion = base::did_you_mean(error.get_option_name(), names)});
  } catch (const po::error& error) {
    throw UserError(error.what(), {.suggestion = "see attnlab help " + command.name});
  }
  if (values.count("help") != 0) {
    std::cout << command_help(command);
    return 0;
  }
  const auto count = static_cast<int>(positional(values).size());
  if (count < command.min_arguments || count > command.max_arguments) {
    throw UserError(fmt::format("{} takes {} argument(s)", command.name, command.min_arguments),
                    {.found = base::join(positional(values)),
                     .allowed = "attnlab " + command.name + " " + command.arguments,
                     .suggestion = "see attnlab help " + command.name});
  }
  return command.run(values);
}

int dispatch(std::vector<std::string> words) {
  if (words.empty()) {
    std::cerr << general_help();
    return static_cast<int>(Exit::invalid);
  }
  if (words[0] == "version" || words[0] == "--version") {
    fmt::print("attnlab {} (plugin ABI {}.{})\n", ATTNLAB_VERSION, ATTNLAB_ABI_MAJOR, ATTNLAB_ABI_MINOR);
    return 0;
  }
  const auto is_help = [](const std::string& word) { return word == "--help" || word == "-h"; };
  if (words[0] == "help" || is_help(words[0])) {
    std::cout << help_text({words.begin() + 1, words.end()});
    return 0;
  }
  size_t used = 0;
  const Command* command = find_command(words, used);
  if (command != nullptr) return run(*command, {words.begin() + static_cast<int64_t>(used), words.end()});
  const bool family = !command_lines(words[0] + " ").empty();
  if (family && words.size() == 2 && is_help(words[1])) {
    std::cout << help_text({words[0]});
    return 0;
  }
  if (family && words.size() == 1) {
    std::cerr << help_text(words);
    return static_cast<int>(Exit::invalid);
  }
  unknown_command(words);
}

}  // namespace

const Command* find_command(const std::vector<std::string>& words, size_t& used) {
  for (size_t length : {size_t{2}, size_t{1}}) {
    if (words.size() < length) continue;
    const std::string name = length == 2 ? words[0] + " " + words[1] : words[0];
    for (const auto& command : commands()) {
      if (command.name != name) continue;
      used = length;
      return &command;
    }
  }
  return nullptr;
}

std::string help_text(const std::vector<std::string>& words) {
  if (words.empty() || words[0] == "version" || words[0] == "help") return general_help();
  size_t used = 0;
  if (const Command* command = find_command(words, used); command != nullptr) return command_help(*command);
  if (const std::string family = command_lines(words[0] + " "); words.size() == 1 && !family.empty()) {
    return "commands:\n" + family;
  }
  unknown_command(words);
}

po::variables_map parse_arguments(const Command& command, const std::vector<std::string>& arguments) {
  po::options_description all;
  if (command.options) command.options(all);
  all.add_options()("help,h", "")("arguments", po::value<std::vector<std::string>>());
  po::positional_options_description positions;
  positions.add("arguments", -1);
  po::variables_map values;
  // No guessing of abbreviated options: a script must not change its meaning when an option is added.
  const int style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
  po::store(po::command_line_parser(arguments).options(all).positional(positions).style(style).run(), values);
  po::notify(values);
  return values;
}

const std::vector<std::string>& command_line() {
  return process_words;
}

int main(int argc, const char* const* argv) {
  process_words.assign(argv, argv + argc);
  try {
    return dispatch({argv + 1, argv + argc});
  } catch (const UserError& error) {
    std::cerr << "error: " << error.what() << "\n";
    return static_cast<int>(error.exit());
  } catch (const std::bad_alloc&) {
    std::cerr << "error: out of memory\n";
    return static_cast<int>(Exit::failed);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return static_cast<int>(Exit::failed);
  }
}

}  // namespace attnlab::cli
