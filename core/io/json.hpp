// The JSON type of the program: keys keep their order, so that what is written reads as it was meant.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace attnlab::io {

using Json = nlohmann::ordered_json;

/// Levels of nesting that are read: more could overflow the stack when they are written.
constexpr int json_depth_limit = 64;
/// Members of one object that are read: Json keeps their order and finds one by looking at all.
constexpr size_t json_member_limit = 1024;

/// Strict JSON from a source that nobody vouches for. Throws UserError for syntax errors and beyond these
/// limits. `what` names the text in these errors.
Json parse_untrusted(std::string_view text, const std::string& what);

/// The text that is written: indented by two spaces, with a newline at its end; or all in one line, without.
/// Broken UTF-8, as names of files may hold, becomes U+FFFD.
std::string pretty_text(const Json& json);
std::string line_text(const Json& json);

/// Takes a member out of an object, where it is there. Json::erase moves the members behind it without
/// telling their own members where they went, which version 3.11 with diagnostics takes for corruption later.
void erase_member(Json& object, std::string_view key);

}  // namespace attnlab::io
