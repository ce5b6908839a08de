// Descriptors that must not pass, and instances: creation, errors with pointers, columns, the host table.
#include "core/plugin/masker.hpp"

#include <gtest/gtest.h>

#include "core/plugin/descriptor.hpp"
#include "core/plugin/library.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::plugin {
namespace {

enum class Color { red, green };

/// Every parameter type; reports what it was given as metrics.
struct Everything : attnlab::Masker {
  bool flag = true;
  int64_t integer = 3;
  double real = 0.5;
  std::string word = "default";
  Color color = Color::green;
  attnlab::CountOrFraction size = 0.25;
  attnlab::Offset offset = 0;
  std::vector<int64_t> list = {1, 2};

  static void describe(attnlab::Description<Everything>& d) {
    d.id("everything").summary("Has a parameter of each type.");
    d.parameter("flag", &Everything::flag);
    d.parameter("integer", &Everything::integer).range(0, 10);
    d.parameter("real", &Everything::real);
    d.parameter("word", &Everything::word);
    d.parameter("color", &Everything::color).names({"red", "green"});
    d.parameter("size", &Everything::size);
    d.parameter("offset", &Everything::offset);
    d.parameter("list", &Everything::list);
  }
  void prepare() {
    if (word == "invalid") throw attnlab::ParameterError("word", "is not a word");
    if (word == "broken") throw std::runtime_error("out of luck");
    if (word == "strange") throw 7;
    host().metric("flag", flag ? 1 : 0);
    host().metric("integer", static_cast<double>(integer));
    host().metric("real", real);
    host().metric("color", static_cast<double>(color));
    host().metric("size", static_cast<double>(size.of(100)));
    host().metric("offset", static_cast<double>(offset.of(100)));
    for (int64_t item : list) host().metric("list", static_cast<double>(item));
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};
ATTNLAB_STATIC_PLUGIN(everything_entry, Everything);

TEST(PluginMasker, GetsDefaultsAndGivenValues) {
  const Catalog catalog = catalog_of(everything_entry);
  using Metrics = std::map<std::string, std::vector<double>>;
  EXPECT_EQ(instance_of(catalog, "everything").host().metrics(), (Metrics{{"flag", {1}},
                                                                          {"integer", {3}},
                                                                          {"real", {0.5}},
                                                                          {"color", {1}},
                                                                          {"size", {25}},
                                                                          {"offset", {0}},
                                                                          {"list", {1, 2}}}));
  const Masker given = instance_of(catalog, "everything",
                                   {{"flag", {false}},
                                    {"integer", {int64_t{9}}},
                                    {"real", {-2.0}},
                                    {"color", {std::string("red")}},
                                    {"size", {Size{false, 7, 0}}},
                                    {"offset", {Size{true, 0, 0.5}}},
                                    {"list", {std::vector<Value>{}}}});
  EXPECT_EQ(
      given.host().metrics(),
      (Metrics{
          {"flag", {0}}, {"integer", {9}}, {"real", {-2}}, {"color", {0}}, {"size", {7}}, {"offset", {50}}}));
}

TEST(PluginMasker, CreationErrorsSayWhoseFaultItIs) {
  const Catalog catalog = catalog_of(everything_entry);
  const auto failure = [&](const char* word) -> base::UserError {
    try {
      instance_of(catalog, "everything", {{"word", {std::string(word)}}});
    } catch (const base::UserError& error) {
      return error;
    }
    return base::UserError("created");
  };
  const base::UserError invalid = failure("invalid");
  EXPECT_EQ(invalid.exit(), base::Exit::invalid);
  EXPECT_EQ(invalid.mistake().file, "test.json");
  EXPECT_EQ(invalid.mistake().pointer, "/pipelines/main/0/word");
  EXPECT_EQ(invalid.summary(), "everything: is not a word");
  const base::UserError broken = failure("broken");
  EXPECT_EQ(broken.exit(), base::Exit::plugin_broken);
  EXPECT_EQ(broken.mistake().file, "test");
  EXPECT_NE(broken.summary().find("out of luck"), std::string::npos);
  EXPECT_EQ(failure("strange").exit(), base::Exit::plugin_broken);
}

TEST(PluginMasker, AnOffsetBeyondTheStrideIsTheUsersMistake) {
  const io::TemporaryFolder folder;
  const ScopedVariable cache("XDG_CACHE_HOME", folder.path());
  const std::string file = std::string(ATTNLAB_PLUGINS) + "/strided.so";
  const Catalog catalog = Catalog::scan({{file}, {}}, ATTNLAB_PROGRAM);
  EXPECT_EQ(instance_of(catalog, "strided", {{"stride", {int64_t{4}}}, {"offset", {int64_t{3}}}}).file(),
            file);
  try {
    instance_of(catalog, "strided", {{"stride", {int64_t{4}}}, {"offset", {int64_t{4}}}});
    ADD_FAILURE();
  } catch (const base::UserError& error) {
    EXPECT_EQ(error.exit(), base::Exit::invalid);
    EXPECT_EQ(error.mistake().pointer, "/pipelines/main/0/offset");
    EXPECT_EQ(error.summary(), "strided: must be less than the stride");
  }
}

/// A copy of the description of Everything to be bent, with a table of its own.
struct Bent {
  Bent() {
    const attnlab_library& library = library_of(everything_entry, "test");
    method = *library.methods[0];
    masker = *method.masker;
    method.masker = &masker;
  }
  Bent(const Bent&) = delete;
  Bent& operator=(const Bent&) = delete;
  attnlab_method method;
  attnlab_masker_table masker;
};

std::string complaint(const attnlab_method& method) {
  try {
    from_abi(method);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(PluginDescriptor, BrokenDescriptionsAreRefused) {
  EXPECT_EQ(complaint(Bent().method), "");
  const auto text = [](const char* words) {
    return attnlab_text{words, std::char_traits<char>::length(words)};
  };
  for (const char* id : {"", "Sink", "a b", "a/b", "\xc3\xa9"}) {
    Bent bent;
    bent.method.id = text(id);
    EXPECT_NE(complaint(bent.method).find("id must be"), std::string::npos) << id;
  }
  Bent no_summary;
  no_summary.method.summary = {};
  EXPECT_NE(complaint(no_summary.method), "");
  Bent no_table;
  no_table.method.masker = nullptr;
  EXPECT_NE(complaint(no_table.method), "");
  Bent no_select;
  no_select.masker.select = nullptr;
  EXPECT_NE(complaint(no_select.method), "");
  Bent scorer;
  scorer.method.facet = ATTNLAB_SCORER;
  EXPECT_NE(complaint(scorer.method), "") << "a scorer without score";
  Bent scheme;
  scheme.method.facet = ATTNLAB_SCHEME;
  EXPECT_NE(complaint(scheme.method), "");
  Bent unknown;
  unknown.method.facet = 9;
  EXPECT_NE(complaint(unknown.method), "");
  Bent half;
  half.masker.columns = [](const void*, const attnlab_geometry*, const attnlab_column_sink*, attnlab_error*) {
    return attnlab_status{ATTNLAB_OK};
  };
  EXPECT_NE(complaint(half.method), "") << "columns without encode";
}

/// A parameter table that the host cannot serve must be refused when it is read: a list of lists sends
/// Parameter::allowed into endless recursion, an unknown type has no values.
TEST(PluginDescriptor, ParametersOfTypesThatDoNotExistAreRefused) {
  for (auto [type, item_type] : {std::pair{77, ATTNLAB_INT + 0},
                                 {0, ATTNLAB_INT + 0},
                                 {ATTNLAB_LIST + 0, ATTNLAB_LIST + 0},
                                 {ATTNLAB_LIST + 0, ATTNLAB_PIPELINE + 0},
                                 {ATTNLAB_LIST + 0, 77}}) {
    Bent bent;
    attnlab_parameter parameter = *bent.method.parameters[0];
    parameter.type = type;
    parameter.item_type = item_type;
    parameter.default_value = {};
    const attnlab_parameter* table[] = {&parameter};
    bent.method.parameters = table;
    bent.method.parameter_count = 1;
    EXPECT_NE(complaint(bent.method), "") << type << " of " << item_type;
  }
}

TEST(PluginDescriptor, SurvivesTheWayThroughTheProbe) {
  const Descriptor descriptor = from_abi(Bent().method);
  const Descriptor back = descriptor_from_json(io::Json::parse(to_json(descriptor).dump()));
  EXPECT_EQ(to_json(back), to_json(descriptor));
  EXPECT_EQ(back.parameters.size(), 8u);
  EXPECT_EQ(name_of(back.facet), "masker");
}

TEST(PluginDescriptor, NamesItsFlags) {
  EXPECT_EQ(flag_names(0), "");
  EXPECT_EQ(flag_names(ATTNLAB_REFINE | ATTNLAB_ORACLE), "refines, oracle");
}

TEST(PluginLibrary, EntriesOfOtherVersionsAreRefused) {
  attnlab_plugin_entry entry = everything_entry;
  entry.magic ^= 1;
  EXPECT_REFUSED(library_of(entry, "a.so"), "wrong magic number");
  entry = everything_entry;
  entry.abi_minor += 1;
  EXPECT_REFUSED(library_of(entry, "a.so"), "plugin ABI 0.3, this host speaks 0.2");
  entry = everything_entry;
  entry.struct_size -= 8;
  EXPECT_REFUSED(library_of(entry, "a.so"), "rebuild it");
}

/// Declares the column that the test asks for.
struct Declares : attnlab::Masker {
  int64_t per = ATTNLAB_PER_TOKEN, dtype = ATTNLAB_F32, width = 1, page = 1;
  static void describe(attnlab::Description<Declares>& d) {
    d.id("declares").summary("Declares any column.");
    d.parameter("per", &Declares::per);
    d.parameter("dtype", &Declares::dtype);
    d.parameter("width", &Declares::width);
    d.parameter("page", &Declares::page);
  }
  void columns(attnlab::Columns& c, const attnlab::Geometry&) const {
    if (per == ATTNLAB_PER_TOKEN && page == 1 && dtype == ATTNLAB_F32) return c.per_token<float>("c", width);
    if (per == ATTNLAB_PER_PAGE && dtype == ATTNLAB_F32) return c.per_page<float>("c", page, width);
    if (per == ATTNLAB_PER_SEQUENCE) return c.per_sequence<double>("c", width);
  }
  void encode(const attnlab::KeyBlock&, attnlab::ColumnsView&) const {}
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};
ATTNLAB_STATIC_PLUGIN(declares_entry, Declares);

TEST(PluginMasker, ColumnsOfIllegalExtentsAreRefused) {
  const Catalog catalog = catalog_of(declares_entry);
  const attnlab_geometry geometry{sizeof(attnlab_geometry), 0, 1, 1, 1, 1, 4, 4};
  const auto declared = [&](int64_t per, int64_t width, int64_t page) {
    return instance_of(catalog, "declares", {{"per", {per}}, {"width", {width}}, {"page", {page}}})
        .columns(geometry);
  };
  const auto specs = declared(ATTNLAB_PER_PAGE, 3, 16);
  ASSERT_EQ(specs.size(), 1u);
  EXPECT_EQ(specs[0].name, "c");
  EXPECT_EQ(specs[0].per, ATTNLAB_PER_PAGE);
  EXPECT_EQ(specs[0].dtype, ATTNLAB_F32);
  EXPECT_EQ(specs[0].width, 3);
  EXPECT_EQ(specs[0].page_size, 16);
  EXPECT_EQ(declared(ATTNLAB_PER_SEQUENCE, 3, 1).at(0).page_size, 0);
  EXPECT_REFUSED(declared(ATTNLAB_PER_TOKEN, 0, 1), "illegal extents");
  EXPECT_REFUSED(declared(ATTNLAB_PER_TOKEN, -1, 1), "illegal extents");
  EXPECT_REFUSED(declared(ATTNLAB_PER_TOKEN, int64_t{1} << 40, 1), "illegal extents");
  EXPECT_REFUSED(declared(ATTNLAB_PER_PAGE, 1, 0), "illegal extents");
  EXPECT_REFUSED(declared(ATTNLAB_PER_PAGE, 1, int64_t{1} << 40), "illegal extents");
}

}  // namespace
}  // namespace attnlab::plugin
