// parse_value for every parameter type, and values as text, JSON and in the layout of abi.h.
#include "core/plugin/parameter.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/plugin/descriptor.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::plugin {
namespace {

using io::Json;

Parameter of_type(ParameterType type, ParameterType item_type = ParameterType::integer) {
  Parameter p;
  p.key = "thing";
  p.type = type;
  p.item_type = item_type;
  if (type == ParameterType::enumeration) p.enum_names = {"mean", "max"};
  return p;
}

Value parsed(const Parameter& p, const std::string& json) {
  return parse_value(p, Json::parse(json), {.file = "a.json", .pointer = "/thing"});
}

/// Every text of `legal` must parse to the value beside it, every text of `illegal` must be refused with
/// place, found and allowed.
void expect_table(const Parameter& p, const std::vector<std::pair<std::string, Value>>& legal,
                  const std::vector<std::string>& illegal) {
  for (const auto& entry : legal) {
    EXPECT_EQ(io::refusal([&] { EXPECT_EQ(parsed(p, entry.first), entry.second) << entry.first; }), "")
        << entry.first;
  }
  for (const auto& json : illegal) {
    try {
      const Value value = parsed(p, json);
      ADD_FAILURE() << name_of(p.type) << " took " << json << " as " << to_text(value);
    } catch (const base::UserError& error) {
      EXPECT_EQ(error.mistake().file, "a.json");
      EXPECT_TRUE(error.mistake().pointer.starts_with("/thing")) << error.mistake().pointer;
      EXPECT_NE(error.summary().find("\"thing\""), std::string::npos) << error.summary();
      EXPECT_FALSE(error.mistake().found.empty());
      EXPECT_FALSE(error.mistake().allowed.empty());
    }
  }
}

Value text(const std::string& value) {
  return {value};
}
Value whole(int64_t value) {
  return {value};
}
Value count(int64_t keys) {
  return {Size{false, keys, 0}};
}
Value share(double fraction) {
  return {Size{true, 0, fraction}};
}

TEST(PluginParseValue, Boolean) {
  expect_table(of_type(ParameterType::boolean), {{"true", {true}}, {"false", {false}}},
               {"0", "1", "\"true\"", "null", "[true]", "{}"});
}

TEST(PluginParseValue, Integer) {
  Parameter p = of_type(ParameterType::integer);
  expect_table(p,
               {{"0", whole(0)},
                {"-5", whole(-5)},
                {"9223372036854775807", whole(INT64_MAX)},
                {"-9223372036854775808", whole(INT64_MIN)}},
               {"1.0", "1e3", "true", "\"1\"", "null", "[]", "9223372036854775808", "18446744073709551615",
                "18446744073709551616"});
  p.minimum = 1;
  p.maximum = 64;
  expect_table(p, {{"1", whole(1)}, {"64", whole(64)}}, {"0", "65", "-1", "18446744073709551615"});
  p.minimum_open = p.maximum_open = true;
  expect_table(p, {{"2", whole(2)}, {"63", whole(63)}}, {"1", "64"});
}

TEST(PluginParseValue, Real) {
  Parameter p = of_type(ParameterType::real);
  expect_table(p, {{"0.5", {0.5}}, {"3", {3.0}}, {"-1e300", {-1e300}}},
               {"true", "\"0.5\"", "null", "[0.5]", "\"nan\""});
  p.minimum = 0;
  p.maximum = 1;
  p.minimum_open = true;
  expect_table(p, {{"1", {1.0}}, {"1e-300", {1e-300}}}, {"0", "0.0", "-0.1", "1.0000001"});
  p.minimum_open = false;
  p.maximum_open = true;
  expect_table(p, {{"0", {0.0}}}, {"1", "1.0"});
  EXPECT_THROW(parse_value(p, Json(std::nan("")), {}), base::UserError);
}

TEST(PluginParseValue, StringAndPath) {
  for (ParameterType type : {ParameterType::string, ParameterType::path}) {
    expect_table(of_type(type), {{"\"a b\"", text("a b")}, {"\"\"", text("")}},
                 {"1", "true", "null", "[\"a\"]"});
  }
}

TEST(PluginParseValue, Enumeration) {
  const Parameter p = of_type(ParameterType::enumeration);
  expect_table(p, {{"\"mean\"", text("mean")}, {"\"max\"", text("max")}}, {"\"Mean\"", "\"\"", "0", "null"});
  EXPECT_REFUSED(parsed(p, "\"maen\""), "did you mean \"mean\"?");
  EXPECT_REFUSED(parsed(p, "\"maen\""), "\"mean\" | \"max\"");
}

TEST(PluginParseValue, CountOrFraction) {
  expect_table(of_type(ParameterType::count_or_fraction),
               {{"1", count(1)},
                {"128", count(128)},
                {"2147483647", count(INT32_MAX)},
                {"0.1", share(0.1)},
                {"1.0", share(1)},
                {"\"10%\"", share(0.1)},
                {"\"100%\"", share(1)},
                {"\"0.5%\"", share(0.005)}},
               {"0",        "-1",       "0.0",      "-0.0",       "-0.5",
                "1.5",      "2.0",      "1e9",      "2147483648", "18446744073709551615",
                "true",     "false",    "null",     "\"10\"",     "\"%\"",
                "\"ten%\"", "\"10%%\"", "\"10 %\"", "\"0%\"",     "\"-1%\"",
                "\"101%\"", "\"nan%\"", "\"inf%\"", "\"1e999%\"", "[1]",
                "{}"});
}

TEST(PluginParseValue, PercentagesAreDecimalNumbers) {
  expect_table(of_type(ParameterType::count_or_fraction), {}, {"\"0x10%\"", "\" 10%\"", "\"\\t10%\""});
}

/// "0.7%" and 0.007 are the same number to a user; 0.7 / 100 is another double than 0.007.
TEST(PluginParseValue, APercentageIsTheDecimalFractionItStandsFor) {
  const Parameter p = of_type(ParameterType::count_or_fraction);
  std::vector<int> wrong;
  for (int tenths = 1; tenths <= 1000; ++tenths) {
    const std::string percentage = std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + "%";
    if (parsed(p, "\"" + percentage + "\"") != share(tenths / 1000.0)) wrong.push_back(tenths);
  }
  EXPECT_EQ(wrong.size(), 0u) << "the first is " << wrong.front() << " tenths of a percent";
}

TEST(PluginParseValue, OffsetAllowsZero) {
  expect_table(
      of_type(ParameterType::offset),
      {{"0", count(0)}, {"0.0", share(0)}, {"\"0%\"", share(0)}, {"7", count(7)}, {"\"25%\"", share(0.25)}},
      {"-1", "-0.5", "1.5", "\"-1%\"", "true", "null", "\"\""});
}

TEST(PluginParseValue, CountsBuiltInCodeHaveTheSameLimit) {
  const Parameter p = of_type(ParameterType::count_or_fraction);
  EXPECT_THROW(parse_value(p, Json(int64_t{1} << 40), {}), base::UserError);
}

TEST(PluginParseValue, ListsNameTheItem) {
  Parameter p = of_type(ParameterType::list, ParameterType::integer);
  p.minimum = 0;
  expect_table(p, {{"[]", {std::vector<Value>{}}}, {"[1, 2]", {std::vector<Value>{whole(1), whole(2)}}}},
               {"1", "{}", "null", "[1, \"2\"]", "[1, -1]", "[[1]]"});
  try {
    parsed(p, "[3, 4, -1]");
    ADD_FAILURE();
  } catch (const base::UserError& error) {
    EXPECT_EQ(error.mistake().pointer, "/thing/2");
    EXPECT_EQ(error.mistake().found, "-1");
  }
  expect_table(of_type(ParameterType::list, ParameterType::offset),
               {{"[0, \"50%\"]", {std::vector<Value>{count(0), share(0.5)}}}}, {"[0, 1.5]"});
}

TEST(PluginParseValue, PipelinesAreLists) {
  expect_table(of_type(ParameterType::pipeline),
               {{"[]", {StageList{}}},
                {R"([{"masker": "sink"}])", {StageList{Json::parse(R"([{"masker": "sink"}])"), nullptr}}}},
               {"{}", "\"main\"", "null"});
}

TEST(PluginParseValue, LongValuesAreShortenedInErrors) {
  EXPECT_LT(io::refusal([] {
              parsed(of_type(ParameterType::integer), "\"" + std::string(100000, 'x') + "\"");
            }).size(),
            1000u);
}

TEST(PluginParameter, SaysWhatIsAllowed) {
  Parameter p = of_type(ParameterType::integer);
  EXPECT_EQ(p.allowed(), "integer");
  p.minimum = 1;
  EXPECT_EQ(p.allowed(), "integer >= 1");
  p.maximum = 64;
  EXPECT_EQ(p.allowed(), "integer in [1, 64]");
  p.minimum_open = p.maximum_open = true;
  p.unit = "keys";
  EXPECT_EQ(p.allowed(), "integer in (1, 64) (keys)");
  p.minimum = -std::numeric_limits<double>::infinity();
  EXPECT_EQ(p.allowed(), "integer < 64 (keys)");
  EXPECT_EQ(of_type(ParameterType::list, ParameterType::real).allowed(), "a list, each: number");
  EXPECT_EQ(of_type(ParameterType::boolean).allowed(), "true | false");
}

TEST(PluginSize, RoundsFractionsDownButToAtLeastOne) {
  EXPECT_EQ((Size{false, 7, 0}.of(3)), 7);
  EXPECT_EQ((Size{true, 0, 0.5}.of(7)), 3);
  EXPECT_EQ((Size{true, 0, 0.01}.of(7)), 1);
  EXPECT_EQ((Size{true, 0, 1.0}.of(7)), 7);
  // 0.29 * 100 is 28.999999999999996 in double: the floor is taken of that, as the methods do.
  EXPECT_EQ((Size{true, 0, 0.29}.of(100)), 28);
}

TEST(PluginValueText, WritesAsAUserWould) {
  EXPECT_EQ(to_text(share(0.1)), "10%");
  EXPECT_EQ(to_text(share(1)), "100%");
  EXPECT_EQ(to_text(share(0)), "0%");
  EXPECT_EQ(to_text(share(0.005)), "0.5%");
  EXPECT_EQ(to_text(count(128)), "128");
  EXPECT_EQ(to_text({true}), "true");
  EXPECT_EQ(to_text(text("mean")), "mean");
  EXPECT_EQ(to_text({std::vector<Value>{whole(1), share(0.25)}}), "[1,\"25%\"]");
  EXPECT_EQ(to_json(Value{}), Json(nullptr));
}

TEST(PluginValueText, FractionsReadBackAsTheSameDouble) {
  const Parameter p = of_type(ParameterType::count_or_fraction);
  std::vector<double> fractions = {1, 0.1, 0.3, 1.0 / 3, 1e-3, 1e-7, 1e-12, 5e-324, 1 - 0x1p-53, 0x1p-30};
  for (int i = 1; i <= 1000; ++i) fractions.push_back(i / 1000.0);
  std::mt19937_64 random(3);
  for (int i = 0; i < 2000; ++i) {
    fractions.push_back(std::max(5e-324, static_cast<double>(random() >> 11) * 0x1p-53));
    fractions.push_back(
        std::ldexp(1 + static_cast<double>(random() >> 12) * 0x1p-52, -1 - static_cast<int>(random() % 60)));
  }
  for (double fraction : fractions) {
    // Through text, as files do.
    const Json json = Json::parse(to_json(share(fraction)).dump());
    EXPECT_EQ(parse_value(p, json, {}), share(fraction)) << json << " " << fraction;
  }
}

TEST(PluginValueText, AShortFractionIsAShortPercentage) {
  std::vector<std::string> wrong;
  for (int i = 1; i <= 1000; ++i) {
    const std::string written = to_text(share(i / 1000.0));
    if (!written.ends_with('%') || written.size() > 5) wrong.push_back(written);
  }
  EXPECT_EQ(wrong.size(), 0u) << "such as " << wrong.front();
}

TEST(PluginParameterJson, TablesSurviveTheWayThroughTheProbe) {
  std::vector<Parameter> table;
  for (int type = ATTNLAB_BOOL; type <= ATTNLAB_OFFSET; ++type) {
    Parameter p = of_type(static_cast<ParameterType>(type), ParameterType::real);
    p.unit = "keys";
    p.doc = "A thing.";
    p.since = "0.2.0";
    table.push_back(p);
  }
  table[0].default_value = {true};
  table[1].default_value = whole(3);
  table[1].minimum = 1;
  table[1].maximum = 9;
  table[1].minimum_open = true;
  table[1].log_scale = true;
  table[1].sweep = {whole(3), whole(5)};
  table[2].default_value = {0.1};
  table[2].required = true;
  table[4].default_value = text("max");
  table[6].default_value = {std::vector<Value>{{0.25}, {1.0}}};
  table[8].default_value = share(1.0 / 3);
  table[8].sweep = {count(4), share(0.1)};
  table[9].default_value = count(0);
  for (const auto& p : table) {
    const Parameter back = parameter_from_json(Json::parse(to_json(p).dump()));
    EXPECT_EQ(to_json(back), to_json(p));
    EXPECT_EQ(back.default_value, p.default_value) << name_of(p.type);
    EXPECT_EQ(back.sweep, p.sweep);
    EXPECT_EQ(back.minimum, p.minimum);
    EXPECT_EQ(back.maximum, p.maximum);
    EXPECT_EQ(back.allowed(), p.allowed());
  }
}

TEST(PluginParameterJson, ADefaultOutsideItsOwnBoundsIsRefused) {
  Parameter p = of_type(ParameterType::integer);
  p.maximum = 9;
  p.default_value = whole(10);
  EXPECT_THROW(parameter_from_json(to_json(p)), base::UserError);
}

TEST(PluginValuePack, LaysValuesOutAsTheAbiSays) {
  const std::vector<Parameter> table = {of_type(ParameterType::boolean),
                                        of_type(ParameterType::integer),
                                        of_type(ParameterType::real),
                                        of_type(ParameterType::string),
                                        of_type(ParameterType::enumeration),
                                        of_type(ParameterType::count_or_fraction),
                                        of_type(ParameterType::list, ParameterType::offset),
                                        of_type(ParameterType::path)};
  const ValuePack pack(table, {{true},
                               whole(-3),
                               {0.5},
                               text("words"),
                               text("max"),
                               share(0.25),
                               {std::vector<Value>{count(0), share(0.5)}},
                               {}});
  ASSERT_EQ(pack.size(), table.size());
  const attnlab_value* v = pack.data();
  for (size_t i = 0; i < table.size(); ++i) {
    EXPECT_EQ(v[i].struct_size, sizeof(attnlab_value));
    EXPECT_EQ(v[i].type, static_cast<int32_t>(table[i].type));
    EXPECT_EQ(v[i].is_set, i == 7 ? 0 : 1);
  }
  EXPECT_EQ(v[0].integer, 1);
  EXPECT_EQ(v[1].integer, -3);
  EXPECT_EQ(v[2].real, 0.5);
  EXPECT_EQ(std::string(v[3].text.data, v[3].text.size), "words");
  EXPECT_EQ(v[4].integer, 1);
  EXPECT_EQ(std::string(v[4].text.data, v[4].text.size), "max");
  EXPECT_EQ(v[5].is_fraction, 1);
  EXPECT_EQ(v[5].real, 0.25);
  ASSERT_EQ(v[6].item_count, 2u);
  EXPECT_EQ(v[6].items[0].is_fraction, 0);
  EXPECT_EQ(v[6].items[0].type, ATTNLAB_OFFSET);
  EXPECT_EQ(v[6].items[1].real, 0.5);
}

}  // namespace
}  // namespace attnlab::plugin
