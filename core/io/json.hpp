// The JSON type of the program: keys keep their order, so that what is written reads as it was meant.
#pragma once

#include <nlohmann/json.hpp>

namespace attnlab::io {

using Json = nlohmann::ordered_json;

}  // namespace attnlab::io
