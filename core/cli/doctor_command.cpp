// attnlab plugin doctor.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/cli/command.hpp"
#include "core/plugin/probe.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using plugin::Examined;
using plugin::ProbedFile;

void options(po::options_description& table) {
  add_plugin_options(table);
  table.add_options()("config", po::value<std::string>()->value_name("CONFIG"),
                      "search its plugin_path too, as a run of it would");
}

std::vector<std::string> ids_of(const ProbedFile& file) {
  std::vector<std::string> ids;
  for (const auto& method : file.methods) ids.push_back(method.id);
  return ids;
}

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::string indented(std::string text) {
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; ++at) text.replace(at, 1, "\n    ");
  return text;
}

/// Prints every place and file; collects the usable methods by id, and the number of refused files.
struct Diagnosis {
  std::map<std::string, std::string> file_of;  ///< usable id -> the file that wins
  int refused = 0;

  void print(const std::vector<Examined>& places) {
    for (const auto& place : places) {
      fmt::print("{}{}{}\n", place.folder.path, place.folder.path.empty() ? "" : "  ",
                 "(" + place.folder.origin + ")");
      if (!place.unreadable.empty()) fmt::print("  not searched: {}\n", place.unreadable);
      if (place.unreadable.empty() && place.files.empty()) fmt::print("  holds no *.so\n");
      for (const auto& file : place.files) print(file);
    }
  }

 private:
  void print(const ProbedFile& file) {
    const std::string name = base::escape_unprintable(fs::path(file.path).filename().string());
    if (!file.refused.empty()) {
      ++refused;
      fmt::print("  REFUSED   {}: {}\n", name, indented(file.refused));
      return;
    }
    std::vector<std::string> used, shadowed;
    for (const auto& id : ids_of(file)) {
      const auto [winner, added] = file_of.emplace(id, file.path);
      if (added || winner->second == file.path) {
        used.push_back(id);
      } else {
        shadowed.push_back(id + " by " + winner->second);
      }
    }
    const bool fast_math = (file.note.flags & ATTNLAB_NOTE_FAST_MATH) != 0;
    if (!used.empty()) {
      fmt::print("  ok        {}: {}{}\n", name, base::join(used),
                 fast_math ? " (compiled with -ffast-math: its sums depend on its compiler)" : "");
    }
    if (!shadowed.empty()) fmt::print("  SHADOWED  {}: {}\n", name, base::join(shadowed));
  }
};

/// Why no place provides `id`, as far as the files tell.
void explain_absence(const std::string& id, const std::vector<Examined>& places, const Diagnosis& diagnosis) {
  fmt::print("\n{}: NOT FOUND\n", id);
  bool explained = false;
  for (const auto& place : places) {
    for (const auto& file : place.files) {
      const bool named = contains(file.note.ids, id) || fs::path(file.path).stem() == id;
      if (!named) continue;
      explained = true;
      if (!file.refused.empty()) {
        fmt::print("  {} is refused: {}\n", file.path, indented(file.refused));
      } else {
        fmt::print("  {} does not hold it, but: {}\n", file.path, base::join(ids_of(file)));
      }
    }
  }
  std::error_code ignored;
  if (const fs::path here = fs::current_path(ignored) / (id + ".so"); fs::exists(here, ignored)) {
    explained = true;
    fmt::print(
        "  {} is not looked at: the current directory is never searched; give it with --plugin ./{}.so\n",
        here.string(), id);
  }
  std::vector<std::string> known;
  for (const auto& [usable, file] : diagnosis.file_of) known.push_back(usable);
  if (const std::string hint = base::did_you_mean(id, known); !hint.empty()) fmt::print("  {}\n", hint);
  if (!explained) {
    fmt::print(
        "  no *.so of these places holds it; put its file into one of them, or give it with --plugin FILE\n");
  }
}

int doctor(const po::variables_map& values) {
  std::vector<std::string> config_folders;
  if (values.count("config") != 0) {
    config_folders = config::plugin_folders(config::Document::load(values["config"].as<std::string>()));
  }
  const std::string program = plugin::probe_program();
  const auto places = plugin::examine(plugin_search(values, config_folders), program);
  Diagnosis diagnosis;
  diagnosis.print(places);
  const auto wanted = positional(values);
  if (wanted.empty()) return static_cast<int>(diagnosis.refused == 0 ? Exit::ok : Exit::plugin_missing);

  const auto found = diagnosis.file_of.find(wanted[0]);
  if (found == diagnosis.file_of.end()) {
    explain_absence(wanted[0], places, diagnosis);
    return static_cast<int>(Exit::plugin_missing);
  }
  fmt::print("\n{}: found in {}\n  attnlab plugin info {} shows its parameters\n", wanted[0], found->second,
             wanted[0]);
  return 0;
}

}  // namespace

Command plugin_doctor_command() {
  return {
      .name = "plugin doctor",
      .arguments = "[ID]",
      .summary = "Say folder by folder which plugin files are used, shadowed or refused, and why.",
      .details =
          "With ID: why a run would find this method, or not. The exit code is 3 when ID is not found, or,\n"
          "without ID, when a file is refused.",
      .options = options,
      .run = doctor,
      .min_arguments = 0,
      .max_arguments = 1};
}

}  // namespace attnlab::cli
