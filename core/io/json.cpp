#include "core/io/json.hpp"

#include <vector>

#include "core/base/error.hpp"

namespace attnlab::io {

Json parse_untrusted(std::string_view text, const std::string& what) {
  std::vector<size_t> members;  // of each object and list that is open
  bool excess = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json&) {
    using Event = Json::parse_event_t;
    if (excess) return false;
    if (event == Event::object_start || event == Event::array_start) members.push_back(0);
    if (event == Event::object_end || event == Event::array_end) members.pop_back();
    excess = depth > json_depth_limit || (event == Event::key && ++members.back() > json_member_limit);
    return !excess;
  };
  Json json;
  try {
    json = Json::parse(text, watch);
  } catch (const Json::exception& error) {
    throw base::UserError(what + " is not valid JSON", {.found = error.what()});
  }
  if (excess) throw base::UserError(what + " is nested too deeply or has too many members");
  return json;
}

std::string pretty_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string line_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void erase_member(Json& object, std::string_view key) {
  if (!object.contains(key)) return;
  Json rest = Json::object();
  for (auto& item : object.items()) {
    if (item.key() != key) rest[item.key()] = std::move(item.value());
  }
  object = std::move(rest);
}

}  // namespace attnlab::io
