#include "core/config/document.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include "core/io/atomic_file.hpp"

namespace attnlab::config {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;

constexpr size_t size_limit = size_t{8} << 20;
constexpr size_t depth_limit = 64;
/// Members of one object: Json keeps their order and finds one by looking at all.
constexpr size_t member_limit = 1024;
/// Files read for one config: n files that each name the next one twice would be 2^n readings.
constexpr int file_limit = 1000;

std::string too_deep() {
  return fmt::format("nested more than {} levels deep", depth_limit);
}

/// Watches a parse: where it is, keys that an object holds twice, and how deep it is.
class ParseWatch {
 public:
  /// For Json::parse. False drops what was parsed.
  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    if (static_cast<size_t>(depth) > depth_limit) excess_ = too_deep();
    if (!open_.empty() && open_.back().keys.size() > member_limit) {
      excess_ = fmt::format("an object has more than {} members", member_limit);
    }
    if (!excess_.empty()) return false;
    switch (event) {
      case Json::parse_event_t::object_start:
      case Json::parse_event_t::array_start:
        open_.push_back({.is_array = event == Json::parse_event_t::array_start});
        break;
      case Json::parse_event_t::object_end:
      case Json::parse_event_t::array_end:
        open_.pop_back();
        end_value();
        break;
      case Json::parse_event_t::value:
        end_value();
        break;
      case Json::parse_event_t::key:
        open_.back().key = parsed.get<std::string>();
        if (!open_.back().keys.insert(open_.back().key).second && duplicate_.empty()) duplicate_ = pointer();
        break;
    }
    return true;
  }
  /// Throws UserError at `prefix` + the place for a duplicate key (nlohmann would silently keep the last),
  /// for nesting that would overflow the stack later, and for objects that would take for ever.
  void check(const std::string& file, const std::string& prefix) const {
    if (!excess_.empty()) throw UserError(excess_, {.file = file, .pointer = prefix});
    if (duplicate_.empty()) return;
    throw UserError(
        "the key \"" + duplicate_.substr(duplicate_.rfind('/') + 1) + "\" appears twice in one object",
        {.file = file, .pointer = prefix + duplicate_});
  }

 private:
  struct Container {
    bool is_array = false;
    size_t index = 0;
    std::string key{};
    std::set<std::string> keys{};
  };
  void end_value() {
    if (!open_.empty()) ++open_.back().index;
  }
  std::string pointer() const {
    std::string text;
    for (const auto& container : open_) {
      text += "/" + (container.is_array ? std::to_string(container.index) : escape(container.key));
    }
    return text;
  }

  std::vector<Container> open_;
  std::string duplicate_;
  std::string excess_;
};

/// Strict parsing, with comments.
Json parse(const std::string& text, const std::string& file) {
  ParseWatch watch;
  Json json;
  try {
    json = Json::parse(text, std::ref(watch), true, true);
  } catch (const Json::out_of_range&) {
    throw UserError("a number is too large for a double", {.file = file});
  } catch (const Json::parse_error& error) {
    std::string message = error.what();
    // "[json.exception.parse_error.101] parse error at line 3, column 5: ..." -> from "line" on.
    size_t start = message.find("line ");
    throw UserError("not valid JSON: " + (start == std::string::npos ? message : message.substr(start)),
                    {.file = file});
  }
  watch.check(file, "");
  if (!json.is_object()) {
    throw UserError("a config is a JSON object",
                    {.file = file, .found = json.type_name(), .allowed = "{ ... }"});
  }
  return json;
}

/// Whether the text can be written as JSON again.
bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(Json(text).dump());
    return true;
  } catch (const Json::type_error&) {
    return false;
  }
}

std::vector<std::string> split(const std::string& pointer) {
  std::vector<std::string> tokens;
  size_t start = 1;
  while (start <= pointer.size() && !pointer.empty()) {
    size_t end = std::min(pointer.find('/', start), pointer.size());
    std::string token = pointer.substr(start, end - start);
    for (size_t at = 0; (at = token.find('~', at)) != std::string::npos; ++at) {
      token.replace(at, 2, token.compare(at, 2, "~1") == 0 ? "/" : "~");
    }
    tokens.push_back(token);
    start = end + 1;
  }
  return tokens;
}

/// Index of an array element that a pointer names; "-" appends.
size_t array_index(const Json& array, const std::string& token, const base::Mistake& where) {
  if (token == "-") return array.size();
  const bool number = !token.empty() && token.size() <= 9 &&
                      std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!number || std::stoul(token) >= array.size()) {
    base::Mistake mistake = where;
    mistake.found = token;
    mistake.allowed = array.empty() ? "- (append)" : fmt::format("0 to {}, or - (append)", array.size() - 1);
    throw UserError("no such list element", mistake);
  }
  return std::stoul(token);
}

}  // namespace

std::string escape(const std::string& key) {
  std::string text;
  for (char c : key) text += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return text;
}

Document Document::load(const std::string& path) {
  Document document;
  document.path_ = path;
  std::vector<fs::path> open;
  int files = 0;
  // Bases first, so that the file itself wins.
  auto read = [&](auto& self, const std::string& file) -> void {
    fs::path identity = fs::weakly_canonical(file);
    if (std::find(open.begin(), open.end(), identity) != open.end()) {
      throw UserError("it extends itself", {.file = file, .pointer = "/extends"});
    }
    if (++files > file_limit) {
      throw UserError(fmt::format("it extends more than {} files", file_limit),
                      {.file = path, .pointer = "/extends"});
    }
    open.push_back(identity);
    Json json = parse(io::read_text(file, size_limit), file);
    Origin origin{file, fs::absolute(file).parent_path().string()};
    if (json.contains("extends")) {
      const Json& value = json["extends"];
      std::vector<Json> bases = value.is_array() ? value.get<std::vector<Json>>() : std::vector<Json>{value};
      for (const auto& base : bases) {
        if (!base.is_string()) {
          throw UserError("\"extends\" has the wrong type", {.file = file,
                                                             .pointer = "/extends",
                                                             .found = base.dump(),
                                                             .allowed = "a path or a list of paths"});
        }
        const std::string base_file =
            (fs::path(origin.folder) / base.get<std::string>()).lexically_normal().string();
        std::error_code ignored;
        if (!fs::exists(base_file, ignored)) {
          throw UserError("it extends a file that does not exist",
                          {.file = file, .pointer = "/extends", .found = base_file});
        }
        self(self, base_file);
      }
      json.erase("extends");
    }
    document.merge(json, origin, "", document.root_);
    open.pop_back();
  };
  read(read, path);
  return document;
}

void Document::merge(const Json& from, const Origin& origin, const std::string& pointer, Json& into) {
  if (from.is_object() && into.is_object()) {
    for (const auto& item : from.items()) {
      std::string child = pointer + "/" + escape(item.key());
      // An entry that does not exist yet takes the new value whole, an empty object included.
      if (!into.contains(item.key())) into[item.key()] = item.value().is_object() ? Json::object() : Json();
      merge(item.value(), origin, child, into[item.key()]);
    }
    if (from.empty()) origins_[pointer] = origin;
    return;
  }
  into = from;
  forget_origins(pointer);
  origins_[pointer] = origin;
}

void Document::forget_origins(const std::string& pointer) {
  std::erase_if(origins_, [&](const auto& entry) {
    return entry.first == pointer || entry.first.starts_with(pointer + "/");
  });
}

void Document::set(const std::string& assignment) {
  size_t equals = assignment.find('=');
  if (equals == std::string::npos || assignment.empty() || assignment[0] != '/') {
    throw UserError("--set needs /pointer=value",
                    {.found = assignment, .allowed = "--set /attention/causal=false"});
  }
  if (!is_utf8(assignment)) {
    throw UserError("--set needs UTF-8 text",
                    {.found = Json(assignment).dump(-1, ' ', true, Json::error_handler_t::replace)});
  }
  std::string text = assignment.substr(equals + 1);
  std::string pointer = assignment.substr(0, equals);
  Json value = text;
  // Strict like a file: a text that is no JSON is a string, but JSON that is wrong is a mistake.
  if (Json::accept(text)) {
    ParseWatch watch;
    value = Json::parse(text, std::ref(watch), false);
    watch.check("--set", pointer);
  }
  set(pointer, std::move(value), {"--set", fs::current_path().string()});
}

void Document::set(const std::string& pointer, Json value, const Origin& origin) {
  Json* place = &root_;
  std::string walked;
  const std::vector<std::string> tokens = split(pointer);
  if (tokens.size() > depth_limit) throw UserError(too_deep(), {.file = origin.label});
  for (const auto& token : tokens) {
    base::Mistake mistake{.file = origin.label, .pointer = walked + "/" + escape(token)};
    if (place->is_null() && token == "-") *place = Json::array();
    if (place->is_array()) {
      size_t index = array_index(*place, token, mistake);
      if (index == place->size()) place->push_back(Json());
      place = &(*place)[index];
      walked += "/" + std::to_string(index);
      continue;
    } else if (place->is_object() || place->is_null()) {
      place = &(*place)[token];
    } else {
      mistake.found = place->dump();
      throw UserError("the value at " + walked + " has no members", mistake);
    }
    walked += "/" + escape(token);
  }
  *place = std::move(value);
  // Not `pointer`: its "-" has become an index.
  forget_origins(walked);
  origins_[walked] = origin;
}

const Origin& Document::origin(const std::string& pointer) const {
  static const Origin unknown{};
  std::string at = pointer;
  while (true) {
    if (auto found = origins_.find(at); found != origins_.end()) return found->second;
    if (at.empty()) break;
    at = at.substr(0, at.rfind('/'));
  }
  // An object that was merged from several places has no origin of its own: the first member's will do.
  auto below = origins_.lower_bound(pointer);
  if (below != origins_.end() && below->first.starts_with(pointer)) return below->second;
  return unknown;
}

base::Mistake Document::where(const std::string& pointer) const {
  const Origin& from = origin(pointer);
  return {.file = from.label.empty() ? path_ : from.label, .pointer = pointer};
}

std::string Document::resolve_path(const std::string& pointer, const std::string& path) const {
  return (fs::path(origin(pointer).folder) / path).lexically_normal().string();
}

}  // namespace attnlab::config
