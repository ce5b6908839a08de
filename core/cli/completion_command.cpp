// attnlab completion bash, and `attnlab complete`, which the script asks for every word.
#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <regex>

#include "core/cli/command.hpp"
#include "core/config/explain.hpp"

namespace attnlab::cli {
namespace {

using config::ConfigValue;
using Words = std::vector<std::string>;

constexpr const char* script = R"(# Completion of attnlab for bash: source <(attnlab completion bash)
_attnlab() {
  local answer
  mapfile -t answer < <("${1/#\~/$HOME}" complete "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
  COMPREPLY=("${answer[@]:1}")
  case ${answer[0]-} in
    unfinished) compopt -o nospace 2>/dev/null ;;
    files)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "${answer[1]-}")
      ;;
    folders)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "${answer[1]-}")
      ;;
  esac
}
complete -F _attnlab attnlab
)";

/// What may stand at the end of a command line.
struct Candidates {
  enum class Kind { words, unfinished, files, folders };
  Kind kind = Kind::words;
  Words words;  ///< unfinished: more is to follow each of them without a space
};

/// Words of a command line up to the cursor; the last one, which may be empty, is being typed.
Words words_of(const std::string& line) {
  Words words{""};
  char quote = 0;
  bool between = true;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote == 0 && (c == ' ' || c == '\t')) {
      if (!between) words.emplace_back();
      between = true;
      continue;
    }
    between = false;
    if (c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
      words.back() += line[++i];
    } else {
      words.back() += c;
    }
  }
  return words;
}

/// Values of the config that the words name; none when the words or the config have a mistake.
std::vector<ConfigValue> config_values(const Command& command, const Words& words) {
  try {
    const po::variables_map values = parse_arguments(command, words);
    if (positional(values).empty()) return {};
    const config::Document document = load_document(values);
    const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
    return config::explain(document, config::resolve(document, catalog), catalog);
  } catch (const po::error&) {
    return {};
  }
}

Words method_ids(const Command& command, Words words) {
  // The id that is being typed counts as an argument.
  words.emplace_back("id");
  return load_catalog(parse_arguments(command, words), {}).ids();
}

/// Pointers that begin like `typed`: with indices, or else with the names of stages.
Words pointers(const std::vector<ConfigValue>& values, const std::string& typed, const char* end) {
  Words found;
  for (const auto& member : {&ConfigValue::pointer, &ConfigValue::named_pointer}) {
    for (const auto& value : values) {
      if ((value.*member).starts_with(typed)) found.push_back(value.*member + end);
    }
    if (!found.empty()) break;
  }
  return found;
}

/// "/pointer" and "/pointer=value" of --set.
Candidates assignments(const std::vector<ConfigValue>& values, const std::string& typed) {
  const size_t equals = typed.find('=');
  if (equals == std::string::npos) return {Candidates::Kind::unfinished, pointers(values, typed, "=")};
  Candidates result;
  const std::string pointer = typed.substr(0, equals);
  for (const auto& value : values) {
    if (value.pointer != pointer && value.named_pointer != pointer) continue;
    Words texts = value.parameter.enum_names;
    if (value.parameter.type == plugin::ParameterType::boolean) texts = {"true", "false"};
    if (texts.empty() && value.parameter.default_value.is_set()) {
      texts.push_back(to_text(value.parameter.default_value));
    }
    for (const auto& worth_trying : value.parameter.sweep) texts.push_back(to_text(worth_trying));
    for (const auto& text : texts) result.words.push_back(pointer + "=" + text);
  }
  return result;
}

/// The choices that a description lists as "stdout: table | json | csv".
Words listed_choices(const std::string& description) {
  static const std::regex list(R"(\w+( \| \w+)+)"), word(R"(\w+)");
  std::smatch found;
  if (description.size() > 200 || !std::regex_search(description, found, list)) return {};
  const std::string text = found.str();
  Words words;
  for (std::sregex_iterator it(text.begin(), text.end(), word), end; it != end; ++it) {
    words.push_back(it->str());
  }
  return words;
}

/// The value of an option, or an argument, whose help calls it `what`.
Candidates values_of(const Command& command, const Words& before, const std::string& what,
                     const std::string& description, const std::string& typed) {
  const std::string name = what.substr(0, what.find(' '));
  if (name == "/PTR=VALUE") return assignments(config_values(command, before), typed);
  if (name == "[PTR]") return {Candidates::Kind::words, pointers(config_values(command, before), typed, "")};
  if (name == "ID" || name == "[ID]") return {Candidates::Kind::words, method_ids(command, before)};
  if (name == "N" || name == "LIST") return {};
  if (name == "DIR") return {Candidates::Kind::folders, {}};
  if (Words choices = listed_choices(description); !choices.empty())
    return {Candidates::Kind::words, choices};
  return {Candidates::Kind::files, {}};
}

/// Words that follow `words` in the names of commands.
Words names_after(const Words& words) {
  std::string prefix;
  for (const auto& word : words) prefix += word + " ";
  Words names;
  for (const auto& command : commands()) {
    if (command.hidden || !command.name.starts_with(prefix)) continue;
    const std::string rest = command.name.substr(prefix.size());
    const std::string name = rest.substr(0, rest.find(' '));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

Candidates candidates(Words words) {
  const std::string typed = words.back();
  words.pop_back();
  if (words.empty()) {
    Words names = names_after({});
    names.insert(names.end(), {"help", "version"});
    return {Candidates::Kind::words, names};
  }
  if (words[0] == "help") return {Candidates::Kind::words, names_after({words.begin() + 1, words.end()})};
  size_t used = 0;
  const Command* command = find_command(words, used);
  if (command == nullptr) return {Candidates::Kind::words, names_after(words)};

  const Words before(words.begin() + static_cast<int64_t>(used), words.end());
  po::options_description options;
  if (command->options) command->options(options);
  auto option_of = [&](const std::string& word) -> const po::option_description* {
    return word.starts_with("--") ? options.find_nothrow(word.substr(2), false) : nullptr;
  };
  auto takes_value = [](const po::option_description* option) {
    return option != nullptr && option->semantic()->max_tokens() > 0;
  };
  if (!before.empty() && takes_value(option_of(before.back()))) {
    const auto* option = option_of(before.back());
    return values_of(*command, {before.begin(), before.end() - 1}, option->semantic()->name(),
                     option->description(), typed);
  }
  const size_t equals = typed.find('=');
  if (const auto* option = option_of(typed.substr(0, equals));
      equals != std::string::npos && takes_value(option)) {
    Candidates result = values_of(*command, before, option->semantic()->name(), option->description(),
                                  typed.substr(equals + 1));
    for (auto& word : result.words) word = typed.substr(0, equals + 1) + word;
    return result;
  }
  if (typed.starts_with("-")) {
    Words names{"--help"};
    for (const auto& option : options.options()) names.push_back("--" + option->long_name());
    return {Candidates::Kind::words, names};
  }
  Words placeholders{""};
  for (char c : command->arguments) c == ' ' ? placeholders.emplace_back() : placeholders.back() += c;
  size_t index = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    if (takes_value(option_of(before[i]))) {
      ++i;
    } else if (!before[i].starts_with("-")) {
      ++index;
    }
  }
  if (index >= placeholders.size() || placeholders[index].empty()) return {};
  return values_of(*command, before, placeholders[index], "", typed);
}

/// Prints the kind, then the candidates, without what bash took for words of their own at the separators
/// `breaks`.
void answer(const std::string& line, const std::string& breaks) {
  Words words = words_of(line);
  words.erase(words.begin());
  if (words.empty()) return;
  const std::string typed = words.back();
  const size_t last_break = typed.find_last_of(breaks);
  const size_t start = last_break == std::string::npos ? 0 : last_break + 1;
  const Candidates found = candidates(words);
  static const char* const kinds[] = {"words", "unfinished", "files", "folders"};
  fmt::print("{}\n", kinds[static_cast<int>(found.kind)]);
  if (found.kind == Candidates::Kind::files || found.kind == Candidates::Kind::folders) {
    const size_t value = typed.starts_with("--") ? typed.find('=') + 1 : 0;
    fmt::print("{}\n", typed.substr(std::max(start, value)));
    return;
  }
  for (const auto& word : found.words) {
    if (word.starts_with(typed)) fmt::print("{}\n", word.substr(start));
  }
}

}  // namespace

Command completion_bash_command() {
  return {.name = "completion bash",
          .arguments = "",
          .summary = "Print the completion script of bash.",
          .details =
              "Load it with: source <(attnlab completion bash)\n"
              "It completes commands, options and their values, ids of methods, and in --set the\n"
              "pointers of the named config and the values of enumerations.",
          .options = {},
          .run = [](const po::variables_map&) {
            std::cout << script;
            return 0;
          }};
}

Command complete_command() {
  return {.name = "complete",
          .arguments = "LINE BREAKS",
          .summary = "Print what may stand at the end of a command line (used by the completion script).",
          .details = {},
          .options = {},
          .run =
              [](const po::variables_map& values) {
                try {
                  answer(positional(values)[0], positional(values)[1]);
                } catch (const std::exception&) {
                  // Who presses Tab has a mistake shown when the line is run.
                }
                return 0;
              },
          .min_arguments = 2,
          .max_arguments = 2,
          .hidden = true};
}

}  // namespace attnlab::cli
