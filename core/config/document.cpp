#include "core/config/document.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/io/atomic_file.hpp"

namespace attnlab::config {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;

constexpr size_t size_limit = size_t{64} << 20;
constexpr int depth_limit = 64;

/// Strict parsing: comments are allowed, duplicate keys are not (nlohmann would silently keep the last), and
/// the nesting is bounded because a deep document would overflow the stack later.
Json parse(const std::string& text, const std::string& file) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  bool too_deep = false;
  auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > depth_limit) too_deep = true;
    switch (event) {
      case Json::parse_event_t::object_start:
        keys.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!keys.back().insert(parsed.get<std::string>()).second) duplicate = parsed.get<std::string>();
        break;
      default:
        break;
    }
    return !too_deep;
  };
  Json json;
  try {
    json = Json::parse(text, watch, true, true);
  } catch (const Json::parse_error& error) {
    std::string message = error.what();
    // "[json.exception.parse_error.101] parse error at line 3, column 5: ..." -> from "line" on.
    size_t start = message.find("line ");
    throw UserError("not valid JSON: " + (start == std::string::npos ? message : message.substr(start)),
                    {.file = file});
  }
  if (!duplicate.empty())
    throw UserError("the key \"" + duplicate + "\" appears twice in one object", {.file = file});
  if (too_deep) throw UserError(fmt::format("nested more than {} levels deep", depth_limit), {.file = file});
  if (!json.is_object()) {
    throw UserError("a config is a JSON object",
                    {.file = file, .found = json.type_name(), .allowed = "{ ... }"});
  }
  return json;
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
  // Bases first, so that the file itself wins.
  auto read = [&](auto& self, const std::string& file) -> void {
    fs::path identity = fs::weakly_canonical(file);
    if (std::find(open.begin(), open.end(), identity) != open.end()) {
      throw UserError("it extends itself", {.file = file, .pointer = "/extends"});
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
        self(self, (fs::path(origin.folder) / base.get<std::string>()).lexically_normal().string());
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
  std::string text = assignment.substr(equals + 1);
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) value = text;
  set(assignment.substr(0, equals), std::move(value), {"--set", fs::current_path().string()});
}

void Document::set(const std::string& pointer, Json value, const Origin& origin) {
  Json* place = &root_;
  std::string walked;
  for (const auto& token : split(pointer)) {
    base::Mistake mistake{.file = origin.label, .pointer = walked + "/" + escape(token)};
    if (place->is_array()) {
      size_t index = array_index(*place, token, mistake);
      if (index == place->size()) place->push_back(Json());
      place = &(*place)[index];
    } else if (place->is_object() || place->is_null()) {
      place = &(*place)[token];
    } else {
      mistake.found = place->dump();
      throw UserError("the value at " + walked + " has no members", mistake);
    }
    walked += "/" + escape(token);
  }
  *place = std::move(value);
  forget_origins(pointer);
  origins_[pointer] = origin;
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
