// `run` under mpirun gives what one process gives, and its errors end the job.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/io/json.hpp"
#include "tests/cli/cli_program.hpp"
#include "tests/cli/mpi_launch.hpp"
#include "tests/support/method_files.hpp"

namespace attnlab::cli_test {
namespace {

using io::Json;
using testing::HasSubstr;

class RunMpi : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_mpi()) GTEST_SKIP() << "attnlab-mpi is not built: CMake found no MPI";
    std::ofstream(files_.path("long.json")) << R"({
      "pipelines": {
        "dense": [],
        "top": [{"masker": "sink", "sink_size": 4}, {"masker": "oracle_top_k", "heavy_size": "5%"}],
        "sampled": [{"masker": "local", "window_size": 8},
                    {"masker": "random_sampling", "sampling_rate": 0.2}]
      },
      "input": {"workload": "power_law", "layers": 2, "query_heads": 8, "kv_heads": 4, "queries": 40,
                "keys": 1001}
    })";
  }

  /// In the folder of the config.
  Outcome run(const std::vector<std::string>& words) const {
    return run_program(words, files_.path(""), {}, std::chrono::seconds(120));
  }
  Outcome run_alone(std::vector<std::string> words) const {
    words.insert(words.begin(), ATTNLAB_PROGRAM);
    return run(words);
  }
  Outcome run_on(int ranks, const std::vector<std::string>& words) const {
    return run(on_ranks(ranks, words));
  }
  Json result(const std::string& folder) const {
    std::ifstream file(files_.path(folder + "/result.json"));
    return Json::parse(file);
  }

  test::TemporaryFiles files_;
};

void expect_close(const Json& a, const Json& b, const std::string& place) {
  if (a.is_number() && b.is_number()) {
    const double x = a.get<double>(), y = b.get<double>();
    EXPECT_NEAR(x, y, 1e-5 * std::max(1.0, std::abs(x))) << place;
  } else if (a.is_structured() && b.is_structured()) {
    ASSERT_EQ(a.size(), b.size()) << place;
    for (auto x = a.begin(), y = b.begin(); x != a.end(); ++x, ++y) expect_close(*x, *y, place + "/");
  } else {
    EXPECT_EQ(a, b) << place;
  }
}

TEST_F(RunMpi, GivesWhatOneProcessGives) {
  for (const std::string mode : {"question", "decode"}) {
    const std::vector<std::string> words = {"run",    "long.json", "--quiet",   "--queries", "5",
                                            "--mode", mode,        "--threads", "1",         "--out"};
    const auto into = [&](const std::string& folder) {
      auto all = words;
      all.push_back(folder);
      return all;
    };
    const Outcome alone = run_alone(into("alone"));
    ASSERT_EQ(alone.exit_code, 0) << alone.err;
    Json expected = result("alone");
    expected["input"].erase("true_mass_difference");
    std::string first;
    for (const int ranks : {1, 3, 3}) {
      const Outcome together = run_on(ranks, into("together"));
      ASSERT_EQ(together.exit_code, 0) << together.err;
      Json found = result("together");
      EXPECT_EQ(found["run_id"], expected["run_id"]);
      ASSERT_EQ(found["ranks"].size(), static_cast<size_t>(ranks));
      if (first.empty() && ranks == 3) first = found.dump();
      if (ranks == 3) {
        EXPECT_EQ(found.dump(), first);
      }
      found.erase("ranks");
      found["input"].erase("true_mass_difference");
      expect_close(expected, found, mode);
    }
  }
}

TEST_F(RunMpi, RefusesByName) {
  for (const std::string option : {"--isolate", "--reference", "--dump=mask"}) {
    const Outcome refused = run_on(2, {"run", "long.json", option});
    EXPECT_EQ(refused.exit_code, 2) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr(option.substr(0, option.find('='))));
    EXPECT_THAT(refused.err, HasSubstr("is not for runs over ranks"));
  }
}

TEST_F(RunMpi, AnErrorOfAPluginEndsTheJob) {
  const Outcome failed =
      run_on(3, {"run", "long.json", "--plugin", ATTNLAB_FIXTURES "/throws.so", "--set",
                 R"(/pipelines={"all": [{"masker": "throws", "layer": 1}]})", "--out", "failed", "--quiet"});
  EXPECT_FALSE(failed.timed_out);
  EXPECT_EQ(failed.exit_code, 4) << failed.err;
  EXPECT_THAT(failed.err, HasSubstr("the codebook is empty"));
  // The layer before it was finished.
  std::ifstream rows(files_.path("failed/rows.jsonl"));
  std::string line;
  EXPECT_TRUE(std::getline(rows, line));
}

}  // namespace
}  // namespace attnlab::cli_test
