#include "core/plugin/probe.hpp"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/base/hash.hpp"
#include "core/base/mapped_file.hpp"
#include "core/io/atomic_file.hpp"
#include "core/plugin/child.hpp"
#include "core/plugin/library.hpp"

namespace attnlab::plugin {
namespace {

namespace fs = std::filesystem;
using io::Json;

constexpr std::chrono::seconds time_limit{5};
constexpr size_t output_limit = size_t{16} << 20;

/// Identity of a file's content without reading it.
std::string stamp(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return "";
  return fmt::format("{}:{}:{}.{}", info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

/// Where the probe of (file, host) is cached; empty when there is no home for caches.
std::string cache_file(const std::string& path, const std::string& program) {
  fs::path folder;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    folder = cache;
  } else if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    folder = fs::path(home) / ".cache";
  } else {
    return "";
  }
  std::string key = path + "\n" + stamp(path) + "\n" + program + "\n" + stamp(program);
  return (folder / "attnlab" / ("probe-" + base::hash_hex(key) + ".json")).string();
}

/// A cache is a convenience: whatever is wrong with it means a fresh probe, never an error.
bool read_cache(const std::string& file, ProbedFile& result) {
  try {
    read_description(io::read_text(file, output_limit), result);
    return true;
  } catch (const base::UserError&) {
    return false;
  }
}

void write_cache(const std::string& file, const std::string& text) {
  std::error_code ignored;
  fs::create_directories(fs::path(file).parent_path(), ignored);
  try {
    io::write_file_atomically(file, text);
  } catch (const base::UserError&) {
    // A read-only home only costs the next probe.
  }
}

/// What the child prints, or {"refused": "..."} when it fails.
struct Answer {
  std::string text;
  bool timed_out = false;
};

Answer run_probe(const std::string& path, const std::string& program) {
  const ChildResult child = run_child({program, "plugin-probe", path}, time_limit);
  std::string words;
  if (child.timed_out) {
    words = fmt::format("it did not describe itself within {} s", time_limit.count());
  } else if (child.signal != 0) {
    words = fmt::format("it crashes when loaded ({})", ::strsignal(child.signal));
  } else if (child.exit_code == 0 && !child.output.empty()) {
    return {child.output};
  } else {
    words = child.errors.empty() ? fmt::format("it ended the probe with exit code {}", child.exit_code)
                                 : child.errors;
    while (!words.empty() && words.back() == '\n') words.pop_back();
    if (words.starts_with("error: ")) words.erase(0, 7);
  }
  return {Json{{"refused", base::escape_unprintable(words)}}.dump(), child.timed_out};
}

/// The note answers "what is in it?" before any code runs, so it must say the same as the code.
std::string wrong_identity(const ElfNote& note, const std::vector<Descriptor>& methods) {
  std::vector<std::string> said = note.ids, held, every;
  for (const auto& method : methods) {
    held.push_back(method.id);
    every.push_back(method.id);
    for (const auto& preset : method.presets) every.push_back(preset.id);
  }
  std::sort(said.begin(), said.end());
  std::sort(held.begin(), held.end());
  std::sort(every.begin(), every.end());
  if (const auto twice = std::adjacent_find(every.begin(), every.end()); twice != every.end()) {
    return "it holds two methods of the id \"" + *twice + "\"";
  }
  // A build without attnlab_add_plugin may leave the ids out of the note.
  if (said.empty() || said == held) return "";
  return fmt::format("its ELF note names {} but it holds {}; build it with attnlab_add_plugin(... IDS {})",
                     base::join(said), base::join(held), base::join(held, " "));
}

}  // namespace

std::string probe_program() {
  if (const char* program = std::getenv("ATTNLAB_PROBE"); program != nullptr) return program;
  std::error_code failure;
  return fs::read_symlink("/proc/self/exe", failure).string();
}

ProbedFile probe(const std::string& path, const std::string& program) {
  ProbedFile result{.path = path, .refused = {}, .note = {}, .methods = {}};
  try {
    if (fs::is_directory(path)) {
      result.refused = "it is a folder: --plugin-path takes folders";
      return result;
    }
    auto file = base::MappedFile::open(path);
    auto note = find_elf_note({file->data(), file->size()}, result.refused);
    if (!note) return result;
    result.note = *note;
    result.refused = refusal(*note);
    if (!result.refused.empty()) return result;

    const std::string cached = cache_file(path, program);
    if (cached.empty() || !read_cache(cached, result)) {
      const Answer answer = run_probe(path, program);
      read_description(answer.text, result);
      // A time-out may be the machine's fault: it is not remembered.
      if (!cached.empty() && !answer.timed_out) write_cache(cached, answer.text);
    }
    if (result.refused.empty()) result.refused = wrong_identity(result.note, result.methods);
  } catch (const base::UserError& error) {
    result.refused = error.mistake().file == path ? error.summary() : error.what();
  }
  return result;
}

void read_description(std::string_view text, ProbedFile& result) {
  try {
    const Json json = io::parse_untrusted(text, "its description");
    if (json.contains("refused")) {
      result.refused = base::escape_unprintable(json.at("refused").get<std::string>());
      return;
    }
    std::vector<Descriptor> methods;
    for (const auto& method : json.at("methods")) methods.push_back(descriptor_from_json(method));
    result.methods = std::move(methods);
  } catch (const Json::exception& error) {
    throw base::UserError("its description cannot be read", {.found = error.what()},
                          base::Exit::plugin_broken);
  }
}

Json describe_file(const std::string& path) {
  std::vector<std::string> warnings;
  const attnlab_library& library = load_library(path, warnings);
  Json json;
  json["methods"] = Json::array();
  for (uint64_t i = 0; i < library.method_count; ++i) {
    json["methods"].push_back(to_json(from_abi(*library.methods[i])));
  }
  return json;
}

}  // namespace attnlab::plugin
