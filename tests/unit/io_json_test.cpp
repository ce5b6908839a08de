// JSON that nobody vouches for.
#include "core/io/json.hpp"

#include <gtest/gtest.h>

#include "tests/unit/io_test_support.hpp"

namespace attnlab::io {
namespace {

std::string refusal_of(const std::string& text) {
  return refusal([&] { parse_untrusted(text, "the answer"); });
}

std::string nested(size_t levels) {
  return std::string(levels, '[') + std::string(levels, ']');
}

std::string object_of(int members) {
  std::string text;
  for (int i = 0; i < members; ++i) text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":0";
  return "{" + text + "}";
}

TEST(IoParseUntrusted, ReadsStrictJson) {
  EXPECT_EQ(parse_untrusted(R"({"b": [1, {"a": null}], "a": 2})", "x").dump(),
            R"({"b":[1,{"a":null}],"a":2})");
  for (const char* text : {"", "{", "[1,]", "// no\n1", "nan", "1 2", "\"\xff\"", "1e999"}) {
    EXPECT_NE(refusal_of(text).find("the answer is not valid JSON"), std::string::npos) << text;
  }
}

TEST(IoParseUntrusted, LimitsNestingAndMembers) {
  EXPECT_EQ(refusal_of(nested(64)), "");
  EXPECT_NE(refusal_of(nested(66)), "");
  EXPECT_NE(refusal_of(nested(1'000'000)), "");
  EXPECT_EQ(refusal_of(object_of(1024)), "");
  EXPECT_NE(refusal_of(object_of(1025)), "");
  EXPECT_NE(refusal_of(object_of(200'000)), "") << "in linear time";
  EXPECT_EQ(refusal_of("[" + object_of(600) + "," + object_of(600) + "]"), "") << "each object by itself";
}

TEST(Json, AMemberIsTakenOutWhole) {
  Json object = {{"a", 1}, {"b", {{"c", {1, 2}}}}, {"d", {{"e", "f"}}}};
  erase_member(object, "a");
  erase_member(object, "none");
  // Without NDEBUG the copy checks that members know where they are.
  const Json copy = object;
  EXPECT_EQ(copy.dump(), R"({"b":{"c":[1,2]},"d":{"e":"f"}})");
  erase_member(object, "d");
  EXPECT_EQ(object.dump(), R"({"b":{"c":[1,2]}})");
}

}  // namespace
}  // namespace attnlab::io
