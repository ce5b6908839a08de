// The JSON type of the program: keys keep their order, so that what is written reads as it was meant.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace attnlab::io {

using Json = nlohmann::ordered_json;

/// Strict JSON from a source that nobody vouches for. Throws UserError for syntax errors, for nesting deeper
/// than 64 levels, which would overflow the stack when it is written, and for objects of more than 4096
/// members, in which Json finds one by looking at all. `what` names the text in these errors.
Json parse_untrusted(std::string_view text, const std::string& what);

}  // namespace attnlab::io
