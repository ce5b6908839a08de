// result.json, time.json and lines of rows.jsonl.
#include "core/io/compact.hpp"
#include "tests/unit/report_test_support.hpp"

namespace attnlab::measure {
namespace {

std::vector<std::string> keys_of(const io::Json& json) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  return keys;
}

TEST(MeasureRecordJsonTest, ResultHoldsNothingOfTheClock) {
  RunRecord run = report::small_run();
  const std::string before = result_json(run).dump();
  run.time = {};
  run.command = "another";
  run.provenance = {{"started", "today"}};
  run.plane = {};
  run.heads.clear();
  EXPECT_EQ(result_json(run).dump(), before);
  EXPECT_EQ(keys_of(result_json(run)),
            (std::vector<std::string>{"run_id", "title", "version", "input", "notes", "pipelines"}));
}

TEST(MeasureRecordJsonTest, KeysComeInOneOrderAndDigitsAreShort) {
  const io::Json pipeline = result_json(report::small_run())["pipelines"][1];
  EXPECT_EQ(keys_of(pipeline), (std::vector<std::string>{"name", "stages", "quality", "reference_error",
                                                         "state_bytes", "cost"}));
  EXPECT_EQ(pipeline["stages"].dump(),
            R"([{"name":"heavy","masker":"oracle_top_k","parameters":{"heavy_size":0.05}}])");
  EXPECT_EQ(pipeline["quality"]["density"].dump(),
            R"({"rows":10,"mean":0.101,"p05":0.0505,"p95":0.202,"min":0.0,"max":1.0})");
  RunRecord run = report::small_run();
  run.pipelines[1].cost.attended_bytes_per_query = 1.5;
  EXPECT_EQ(result_json(run)["pipelines"][1]["cost"].dump(),
            R"({"search_bytes_per_query":1044480.0,"attended_bytes_per_query":1.5,"stages":[{"name":"heavy",)"
            R"("index_bytes_per_token":8.0,"index_bytes_per_sequence":512.0,"state_bytes_per_token":0.5,)"
            R"("search_bytes_per_query":1044480.0}]})");
  run.pipelines[1].failure = "it crashed";
  EXPECT_TRUE(result_json(run)["pipelines"][1]["cost"].is_null());
}

TEST(MeasureRecordJsonTest, PicturesHoldCountsOfOneWidth) {
  RunRecord run = report::small_run();
  io::Json json = pictures_json(run);
  EXPECT_EQ(keys_of(json), (std::vector<std::string>{"layer", "head", "first_query", "queries", "keys",
                                                     "rows", "columns", "type", "visible", "active"}));
  EXPECT_EQ(json["first_query"], 44);
  EXPECT_EQ(json["type"], "uint8");
  EXPECT_EQ(keys_of(json["active"]), (std::vector<std::string>{"dense", "top_k"}));
  EXPECT_EQ(json["visible"], io::compact({100, 0, 0, 100, 100, 50}, 1));
  EXPECT_EQ(json["active"]["top_k"], io::compact({100, 0, 0, 10, 10, 50}, 1));
  run.plane.visible[0] = 256;
  json = pictures_json(run);
  EXPECT_EQ(json["type"], "uint16");
  EXPECT_EQ(json["active"]["top_k"], io::compact({100, 0, 0, 10, 10, 50}, 2));
}

TEST(MeasureRecordJsonTest, AbsentAndNonFiniteFiguresAreNull) {
  RunRecord run = report::small_run();
  run.pipelines[0].quality.output_error.mean = report::infinity;
  run.pipelines[1].reference_error = 1e-6;
  run.input.true_mass_difference = 0;
  const io::Json json = io::Json::parse(result_json(run).dump());
  EXPECT_TRUE(json["input"]["expected_output_difference"].is_null());
  EXPECT_EQ(json["input"]["true_mass_difference"], 0);
  EXPECT_TRUE(json["pipelines"][0]["reference_error"].is_null());
  EXPECT_EQ(json["pipelines"][1]["reference_error"], 1e-6);
  EXPECT_TRUE(json["pipelines"][0]["quality"]["output_error"]["mean"].is_null());
}

TEST(MeasureRecordJsonTest, TimeAndHeads) {
  const RunRecord run = report::small_run();
  EXPECT_EQ(
      time_json(run.time).dump(),
      R"({"wall_seconds":2.0,"threads":2,"load_seconds":0.0,"logits":0.0,"exact_rows":1.5,"measure":0.0,)"
      R"("peak_resident_bytes":0,"scratch_bytes":0,"pipelines":[{"pipeline":"dense","attend":0.0,"stages":[]},)"
      R"({"pipeline":"top_k","attend":0.5,"stages":[{"name":"heavy","seconds":0.25}]}]})");
  EXPECT_EQ(keys_of(head_json(run.heads[5])),
            (std::vector<std::string>{"pipeline", "layer", "head", "density", "mass_recall", "output_error",
                                      "denominator_error", "entropy", "empty_rows"}));
  EXPECT_EQ(head_json(run.heads[5])["head"], 1);
}

}  // namespace
}  // namespace attnlab::measure
