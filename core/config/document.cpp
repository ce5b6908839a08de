#include "core/config/document.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "core/base/utf8.hpp"
#include "core/io/atomic_file.hpp"

namespace attnlab::config {
namespace {

namespace fs = std::filesystem;
using base::Mistake;
using base::UserError;
using io::Json;

/// Of a config and all that it extends.
constexpr size_t size_limit = size_t{8} << 20;
/// Files read for one config: n files that each name the next one twice would be 2^n readings.
constexpr int file_limit = 1000;

Mistake at(const std::string& file, const Places& places, const std::string& pointer) {
  Mistake mistake{.file = file, .pointer = pointer};
  if (auto found = places.find(pointer); found != places.end()) {
    mistake.line = found->second.line;
    mistake.column = found->second.column;
  }
  return mistake;
}

/// Where the value at `pointer` stands, or the nearest one around it.
Place nearest_place(const Places& places, std::string pointer) {
  while (true) {
    if (auto found = places.find(pointer); found != places.end()) return found->second;
    if (pointer.empty()) return {};
    pointer.resize(pointer.rfind('/'));
  }
}

bool is_index(const std::string& token) {
  return !token.empty() && token.size() <= 9 && token.find_first_not_of("0123456789") == std::string::npos;
}

/// "name", or the method's id that stands in for it; "" for what is no stage.
std::string stage_name(const Json& element) {
  if (!element.is_object()) return "";
  for (const char* key : {"name", "masker"}) {
    if (auto found = element.find(key); found != element.end() && found->is_string()) {
      return found->get<std::string>();
    }
  }
  return "";
}

void merge(const Json& from, Json& into) {
  if (!from.is_object() || !into.is_object()) {
    into = from;
    return;
  }
  for (const auto& item : from.items()) {
    // An entry that does not exist yet takes the new value whole, an empty object included.
    if (!into.contains(item.key())) into[item.key()] = item.value().is_object() ? Json::object() : Json();
    merge(item.value(), into[item.key()]);
  }
}

/// The files that a file extends. Throws for what names none.
std::vector<std::string> bases_of(const ParsedText& parsed, const std::string& file, const fs::path& folder) {
  std::vector<std::string> files;
  auto found = parsed.json.find("extends");
  if (found == parsed.json.end()) return files;
  const std::vector<Json> bases =
      found->is_array() ? found->get<std::vector<Json>>() : std::vector<Json>{*found};
  for (size_t i = 0; i < bases.size(); ++i) {
    Mistake mistake =
        at(file, parsed.places, found->is_array() ? "/extends/" + std::to_string(i) : "/extends");
    if (!bases[i].is_string()) {
      mistake.found = bases[i].dump().substr(0, 80);
      mistake.allowed = "a path or a list of paths";
      throw UserError("\"extends\" has the wrong type", mistake);
    }
    const fs::path base = (folder / bases[i].get<std::string>()).lexically_normal();
    std::error_code ignored;
    if (!fs::exists(base, ignored)) {
      mistake.found = base.string();
      std::vector<std::string> names;
      for (const auto& entry : fs::directory_iterator(fs::absolute(base).parent_path(), ignored)) {
        if (entry.path().extension() == ".json") names.push_back(entry.path().filename());
      }
      mistake.suggestion = base::did_you_mean(base.filename().string(), names);
      if (mistake.suggestion.empty()) mistake.suggestion = "paths are relative to the file that names them";
      throw UserError("it extends a file that does not exist", mistake);
    }
    files.push_back(base.string());
  }
  return files;
}

}  // namespace

size_t array_index(const Json& array, const std::string& token, const Mistake& where) {
  if (token == "-") return array.size();
  if (is_index(token) && std::stoul(token) < array.size()) return std::stoul(token);
  Mistake mistake = where;
  mistake.found = token;
  std::vector<std::string> names;
  size_t named = array.size();
  for (size_t i = 0; i < array.size(); ++i) {
    const std::string name = stage_name(array[i]);
    if (name.empty()) continue;
    if (name == token && named < array.size()) {
      mistake.allowed = fmt::format("0 to {}", array.size() - 1);
      throw UserError("two list elements have this name", mistake);
    }
    if (name == token) named = i;
    names.push_back(name);
  }
  if (named < array.size()) return named;
  mistake.allowed = array.empty() ? "- (append)" : fmt::format("0 to {}, or - (append)", array.size() - 1);
  if (!names.empty()) mistake.allowed += ", or a name: " + base::join(names);
  mistake.suggestion = is_index(token) ? "" : base::did_you_mean(token, names);
  throw UserError("no such list element", mistake);
}

Document Document::load(const std::string& path) {
  Document document;
  document.path_ = path;
  std::vector<std::pair<fs::path, std::string>> open;
  int files = 0;
  size_t bytes = 0;
  // Bases first, so that the file itself wins.
  auto read = [&](auto& self, const std::string& file, const Mistake& wanted) -> void {
    std::error_code ignored;
    const fs::path identity = fs::weakly_canonical(file, ignored);
    auto same = [&](const auto& other) { return other.first == identity; };
    if (const auto first = std::find_if(open.begin(), open.end(), same); first != open.end()) {
      Mistake mistake = wanted;
      for (auto each = first; each != open.end(); ++each) mistake.found += each->second + " -> ";
      mistake.found += file;
      mistake.suggestion = "remove one of these \"extends\"";
      throw UserError("it extends itself", mistake);
    }
    if (++files > file_limit) {
      throw UserError(fmt::format("it extends more than {} files", file_limit),
                      {.file = path, .pointer = "/extends"});
    }
    const std::string text = io::read_text(file, size_limit - bytes);
    bytes += text.size();
    ParsedText parsed = parse_text(text, {.file = file}, TextKind::file);
    if (!parsed.json.is_object()) {
      throw UserError("a config is a JSON object",
                      {.file = file, .found = parsed.json.type_name(), .allowed = "{ ... }"});
    }
    open.emplace_back(identity, file);
    const std::string folder = fs::absolute(file).parent_path().string();
    for (const auto& base : bases_of(parsed, file, fs::path(file).parent_path())) {
      self(self, base, at(file, parsed.places, "/extends"));
    }
    io::erase_member(parsed.json, "extends");
    io::erase_member(parsed.json, "$schema");
    merge(parsed.json, document.root_);
    document.layers_.push_back({"", std::move(parsed.json), {file, folder}, std::move(parsed.places), true});
    open.pop_back();
  };
  read(read, path, {.file = path});
  return document;
}

void Document::set(const std::string& assignment) {
  size_t equals = assignment.find('=');
  if (equals == std::string::npos || assignment.empty() || assignment[0] != '/') {
    throw UserError("--set needs /pointer=value",
                    {.found = assignment, .allowed = "--set /attention/causal=false"});
  }
  if (!base::is_utf8(assignment)) {
    throw UserError("--set needs UTF-8 text",
                    {.found = Json(assignment).dump(-1, ' ', true, Json::error_handler_t::replace)});
  }
  std::string text = assignment.substr(equals + 1);
  std::string pointer = assignment.substr(0, equals);
  Json value = text;
  // Strict like a file: a text that is no JSON is a string, but JSON that is wrong is a mistake.
  if (Json::accept(text))
    value = parse_text(text, {.file = "--set", .pointer = pointer}, TextKind::argument).json;
  set(pointer, std::move(value), {"--set", fs::current_path().string()});
}

void Document::set(const std::string& pointer, Json value, const Origin& origin) {
  // A copy: a refused assignment changes nothing.
  Json root = root_;
  Json* place = &root;
  std::string walked;
  const std::vector<std::string> tokens = split_pointer(pointer);
  if (tokens.size() > size_t{io::json_depth_limit}) throw UserError(too_deep(), {.file = origin.label});
  std::string new_member, suggestion;
  for (const auto& token : tokens) {
    Mistake mistake{.file = origin.label, .pointer = walked + "/" + escape(token)};
    if (place->is_null() && !new_member.empty() && is_index(token)) {
      mistake.pointer = walked;
      mistake.suggestion = suggestion;
      throw UserError("there is no list \"" + new_member + "\"", mistake);
    }
    if (place->is_null() && token == "-") *place = Json::array();
    if (place->is_array()) {
      size_t index = array_index(*place, token, mistake);
      if (index == place->size()) place->push_back(Json());
      place = &(*place)[index];
      walked += "/" + std::to_string(index);
      continue;
    } else if (place->is_object() || place->is_null()) {
      if (!place->contains(token)) {
        std::vector<std::string> known;
        for (const auto& member : place->items()) known.push_back(member.key());
        new_member = token;
        suggestion = base::did_you_mean(token, known);
      }
      place = &(*place)[token];
    } else {
      mistake.found = place->dump();
      throw UserError("the value at " + walked + " has no members", mistake);
    }
    walked += "/" + escape(token);
  }
  *place = value;
  root_ = std::move(root);
  // Not `pointer`: its "-" and its names have become indices.
  layers_.push_back({walked, std::move(value), origin, {}, false});
}

Document::Says Document::says(const Layer& layer, const std::string& pointer, const Json*& value) {
  value = &layer.value;
  if (!(pointer + "/").starts_with(layer.pointer + "/")) {
    return layer.pointer.starts_with(pointer + "/") ? Says::part : Says::nothing;
  }
  for (const auto& token : split_pointer(pointer.substr(layer.pointer.size()))) {
    if (value->is_object()) {
      auto found = value->find(token);
      if (found == value->end()) return layer.merges ? Says::nothing : Says::removed;
      value = &*found;
    } else if (value->is_array() && is_index(token) && std::stoul(token) < value->size()) {
      value = &(*value)[std::stoul(token)];
    } else {
      return Says::removed;
    }
  }
  return Says::value;
}

const Document::Layer* Document::decisive_layer(const std::string& pointer) const {
  const Json* value = nullptr;
  const Layer* of_part = nullptr;
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    const Says said = says(*layer, pointer, value);
    if (said == Says::value || said == Says::removed) return &*layer;
    if (said == Says::part && of_part == nullptr) of_part = &*layer;
  }
  if (of_part != nullptr || pointer.empty()) return of_part;
  return decisive_layer(pointer.substr(0, pointer.rfind('/')));
}

Origin Document::origin(const std::string& pointer) const {
  const Layer* layer = decisive_layer(pointer);
  return layer == nullptr ? Origin{} : layer->origin;
}

base::Mistake Document::where(const std::string& pointer) const {
  const Layer* layer = decisive_layer(pointer);
  if (layer == nullptr) return {.file = path_, .pointer = pointer};
  const Place place = nearest_place(layer->places, pointer);
  return {.file = layer->origin.label, .line = place.line, .column = place.column, .pointer = pointer};
}

std::string Document::resolve_path(const std::string& pointer, const std::string& path) const {
  return (fs::path(origin(pointer).folder) / path).lexically_normal().string();
}

std::vector<Statement> Document::statements(const std::string& pointer) const {
  std::vector<Statement> list;
  for (const auto& layer : layers_) {
    const Json* value = nullptr;
    const Says said = says(layer, pointer, value);
    if (said == Says::removed) list.clear();
    if (said == Says::part) list.push_back({layer.pointer, layer.value, layer.origin, {}});
    if (said == Says::value) {
      list.push_back({pointer, *value, layer.origin, nearest_place(layer.places, pointer)});
    }
  }
  return list;
}

}  // namespace attnlab::config
