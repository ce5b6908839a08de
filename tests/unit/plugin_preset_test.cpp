#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <attnlab/masker.hpp>

#include <functional>
#include <limits>

#include "core/plugin/catalog.hpp"
#include "core/plugin/probe.hpp"

namespace attnlab::plugin {
namespace {

enum class Colour { red, green };

struct Hashes : Masker {
  int tables = 10;
  double share = 0.5;
  Colour colour = Colour::red;
  CountOrFraction size = 1;
  Path weights;
  std::vector<int64_t> widths = {1};

  static void describe(Description<Hashes>& d) {
    d.id("hashes").summary("For tests.");
    d.parameter("tables", &Hashes::tables).range(1, 100).required();
    d.parameter("share", &Hashes::share).range(0, 1);
    d.parameter("colour", &Hashes::colour).names({"red", "green"});
    d.parameter("size", &Hashes::size);
    d.parameter("weights", &Hashes::weights);
    d.parameter("widths", &Hashes::widths);
    d.preset("hashes.paper", "As published.")
        .set("tables", 75)
        .set("share", 1)
        .set("colour", "green")
        .set("size", 0.1);
    d.preset("hashes.wide", "Wide.").set("widths", std::vector<int64_t>{4, 8}).set("colour", Colour::green);
  }
  void select(const Tile&, RowWriter&) const {}
};

/// The method with its first preset changed.
struct Changed {
  attnlab_method method = *attnlab::detail::method_of<Hashes>();
  attnlab_preset preset = method.presets[0];
  std::vector<attnlab_text> keys{preset.keys, preset.keys + preset.count};
  std::vector<attnlab_value> values{preset.values, preset.values + preset.count};

  Descriptor read() {
    preset.keys = keys.data();
    preset.values = values.data();
    preset.count = keys.size();
    method.presets = &preset;
    method.preset_count = 1;
    return from_abi(method);
  }
};

TEST(PluginPreset, ConvertsWhatItFixes) {
  const Descriptor d = from_abi(*attnlab::detail::method_of<Hashes>());
  ASSERT_EQ(d.presets.size(), 2u);
  const Descriptor paper = with_preset(d, d.presets[0]);
  EXPECT_EQ(paper.id, "hashes.paper");
  EXPECT_EQ(paper.method, "hashes");
  EXPECT_EQ(paper.summary, "As published.");
  EXPECT_TRUE(paper.is_preset());
  EXPECT_FALSE(d.is_preset());
  EXPECT_EQ(to_text(paper.parameters[0].default_value), "75");
  EXPECT_FALSE(paper.parameters[0].required) << "the preset gives it";
  EXPECT_EQ(paper.parameters[1].default_value, (Value{1.0}));
  EXPECT_EQ(to_text(paper.parameters[2].default_value), "green");
  EXPECT_EQ(to_text(paper.parameters[3].default_value), "10%");
  EXPECT_FALSE(paper.parameters[4].fixed);
  const Descriptor wide = with_preset(d, d.presets[1]);
  EXPECT_EQ(to_text(wide.parameters[5].default_value), "[4,8]");
  EXPECT_EQ(to_text(wide.parameters[2].default_value), "green");
  EXPECT_TRUE(wide.parameters[0].required);
}

TEST(PluginPreset, TravelsAsJson) {
  const io::Json json = to_json(from_abi(*attnlab::detail::method_of<Hashes>()));
  EXPECT_EQ(to_json(descriptor_from_json(json)), json);
  EXPECT_EQ(json["presets"][0]["fixed"]["size"], "10%");
}

struct Mistake {
  std::function<void(Changed&)> make;
  std::string words;
};

TEST(PluginPreset, BadPresetsAreRefused) {
  static const std::string other = "other.paper", method = "hashes", dot = "hashes.", upper = "hashes.Paper";
  const std::vector<Mistake> mistakes = {
      {[](Changed& c) { c.keys[0] = attnlab::to_abi("tabels"); }, "\"tabels\", which is no parameter"},
      {[](Changed& c) { c.values[0].integer = 101; }, "out of range"},
      {[](Changed& c) { c.values[0].type = ATTNLAB_REAL; }, "of another type"},
      {[](Changed& c) { c.values[0].is_set = 0; }, "wrong type"},
      {[](Changed& c) { c.values[1].real = std::numeric_limits<double>::quiet_NaN(); }, "out of range"},
      {[](Changed& c) { c.values[2].integer = 2; }, "wrong type"},
      {[](Changed& c) { c.values[2].integer = -1; }, "wrong type"},
      {[](Changed& c) { c.values[3].real = 1.5; }, "fraction above 1"},
      {[](Changed& c) {
         c.keys[1] = c.keys[0];
         c.values[1] = c.values[0];
       },
       "\"tables\" twice"},
      {[](Changed& c) {
         c.keys[0] = attnlab::to_abi("weights");
         c.values[0].type = ATTNLAB_PATH;
         c.values[0].text = attnlab::to_abi("a.safetensors");
       },
       "names a file"},
      {[](Changed& c) { c.keys.clear(); }, "fixes no parameter"},
      {[](Changed& c) { c.preset.summary = {}; }, "needs a summary"},
      {[](Changed& c) { c.preset.id = attnlab::to_abi(other); }, "found \"other.paper\""},
      {[](Changed& c) { c.preset.id = attnlab::to_abi(method); }, "found \"hashes\""},
      {[](Changed& c) { c.preset.id = attnlab::to_abi(dot); }, "found \"hashes.\""},
      {[](Changed& c) { c.preset.id = attnlab::to_abi(upper); }, "found \"hashes.Paper\""},
  };
  for (const auto& mistake : mistakes) {
    Changed changed;
    mistake.make(changed);
    try {
      changed.read();
      ADD_FAILURE() << mistake.words;
    } catch (const base::UserError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(mistake.words));
    }
  }
  Changed twice;
  const attnlab_preset pair[] = {twice.preset, twice.preset};
  twice.method.presets = pair;
  twice.method.preset_count = 2;
  EXPECT_THROW(from_abi(twice.method), base::UserError);
}

/// What a probe prints is as little to be trusted as the plugin.
TEST(PluginPreset, BadDescriptionsAreRefused) {
  const io::Json good = to_json(from_abi(*attnlab::detail::method_of<Hashes>()));
  for (const char* fixed : {R"({"tables": 101})", R"({"tables": "many"})", R"({"tabels": 1})", "{}", "[]",
                            "3", R"({"weights": "a"})"}) {
    io::Json bad = good;
    bad["presets"][0]["fixed"] = io::Json::parse(fixed);
    ProbedFile file;
    EXPECT_THROW(read_description(io::Json{{"methods", {bad}}}.dump(), file), base::UserError) << fixed;
  }
  ProbedFile file;
  read_description(io::Json{{"methods", io::Json::array({good})}}.dump(), file);
  EXPECT_EQ(file.methods.at(0).presets.size(), 2u);
}

TEST(PluginPreset, TheCatalogFindsThem) {
  static ATTNLAB_STATIC_PLUGIN(entry, Hashes);
  Catalog catalog;
  catalog.add_static(entry, "static");
  EXPECT_EQ(catalog.ids(), (std::vector<std::string>{"hashes", "hashes.paper", "hashes.wide"}));
  EXPECT_THAT(catalog.why_missing("hashes.papre"), testing::HasSubstr("hashes.paper"));
}

}  // namespace
}  // namespace attnlab::plugin
