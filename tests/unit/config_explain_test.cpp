// Where a value of a resolved config came from, what it overrides and what it may be.
#include "core/config/explain.hpp"

#include <gtest/gtest.h>

#include "tests/support/catalog.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::config {
namespace {

class ConfigExplainTest : public ::testing::Test {
 protected:
  ConfigExplainTest() {
    io::write_bytes(folder_ / "base.json",
                    "{\"pipelines\": {\"dense\": [], \"main\": [{\"masker\": \"sink\"},\n"
                    "{\"masker\": \"oracle_top_k\", \"name\": \"topk\", \"heavy_size\": 64}]},\n"
                    "\"input\": {\"workload\": \"power_law\", \"keys\": 128}, \"seed\": 1}");
    io::write_bytes(folder_ / "config.json", "{\"extends\": \"base.json\",\n\"input\": {\"keys\": 256}}");
    document_ = Document::load(folder_ / "config.json");
  }
  std::vector<ConfigValue> all() const {
    return explain(document_, resolve(document_, test::catalog()), test::catalog());
  }
  ConfigValue one(const std::string& pointer) const {
    const auto found = at_pointer(all(), pointer);
    EXPECT_EQ(found.size(), 1u) << pointer;
    return found.at(0);
  }

  io::TemporaryFolder folder_;
  Document document_;
};

TEST_F(ConfigExplainTest, NamesThePlaceAndWhatIsOverridden) {
  document_.set("/input/keys=512");
  const ConfigValue keys = one("/input/keys");
  EXPECT_EQ(keys.value, 512);
  ASSERT_EQ(keys.statements.size(), 3u);
  EXPECT_EQ(place_of(keys.statements[0]), folder_ / "base.json:3:36");
  EXPECT_EQ(place_of(keys.statements[1]), folder_ / "config.json:2:11");
  EXPECT_EQ(place_of(keys.statements[2]), "--set");
}

TEST_F(ConfigExplainTest, DefaultsAreInNoFile) {
  EXPECT_TRUE(one("/pipelines/main/1/share").statements.empty());
  EXPECT_EQ(one("/pipelines/main/1/share").value, "query_head");
  EXPECT_EQ(one("/pipelines/main/1/share").preset, "attnlab's default");
  EXPECT_EQ(one("/pipelines/main/0/sink_size").preset, "default of sink");
  EXPECT_TRUE(one("/queries").value.is_null());
  EXPECT_TRUE(one("/attention/scale").value.is_null());
  EXPECT_EQ(one("/input/alpha").value, 1.0);
}

TEST_F(ConfigExplainTest, EveryValueOfTheResolvedConfigIsThere) {
  const io::Json resolved = to_json(resolve(document_, test::catalog()), test::catalog());
  const auto values = all();
  const io::Json flat = resolved.flatten();
  for (const auto& item : flat.items()) {
    EXPECT_EQ(at_pointer(values, item.key()).size(), 1u) << item.key();
  }
}

TEST_F(ConfigExplainTest, AStageIsNamedOrNumbered) {
  EXPECT_EQ(one("/pipelines/main/topk/heavy_size").pointer, "/pipelines/main/1/heavy_size");
  EXPECT_EQ(at_pointer(all(), "/pipelines/main/topk").size(), at_pointer(all(), "/pipelines/main/1").size());
  EXPECT_EQ(at_pointer(all(), "").size(), all().size());
}

TEST_F(ConfigExplainTest, AWrongPointerNamesTheNearestKey) {
  EXPECT_REFUSED(at_pointer(all(), "/pipelines/main/topk/heavy_sise"), "did you mean \"heavy_size\"?");
  EXPECT_REFUSED(at_pointer(all(), "/pipelines/mian/topk"), "/pipelines/mian: ");
  EXPECT_REFUSED(at_pointer(all(), "/input/keys/x"), "the value at /input/keys has no members");
  EXPECT_REFUSED(at_pointer(all(), "input"), "a pointer begins with /");
}

}  // namespace
}  // namespace attnlab::config
