// attnlab forward against the references: a user's files in, the references' output and gradients out.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "core/io/npy.hpp"
#include "core/io/npz.hpp"
#include "core/plugin/child.hpp"
#include "tests/golden/scheme_case.hpp"

namespace attnlab::golden {
namespace {

namespace fs = std::filesystem;
using graph::Array;
using graph::Element;
using io::Json;

struct ForwardCase {
  std::string golden, config;
  int64_t kv_heads;
  std::string precision;
};

/// Largest distance from the reference, as a share of its largest value.
struct Tolerance {
  double output, gradient;
  double least;  ///< gradients this far below the largest are rounding
};
Tolerance tolerance_of(const std::string& precision) {
  return precision == "f64" ? Tolerance{1e-10, 1e-8, 1e-6} : Tolerance{1e-5, 1e-4, 1e-2};
}

class ForwardCommand : public testing::TestWithParam<ForwardCase> {
 protected:
  void SetUp() override {
    if (!fs::exists(scheme_folder())) GTEST_SKIP() << "needs " << scheme_folder();
    std::string name = testing::TempDir() + "/attnlab_forward_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  /// Runs the case as a user would; the files of its folder "out" are the result.
  void run(const ForwardCase& f, const SchemeCase& c) {
    std::vector<io::NamedTensor> weights;
    for (const std::string& name : c.names("param."))
      weights.emplace_back(name, c.tensor("param." + name).to_tensor());
    io::write_npz(path("w.npz"), weights);
    io::write_npy(path("x.npy"), c.tensor("in.x").to_tensor());
    const auto child = plugin::run_child(
        {ATTNLAB_PROGRAM, "forward", std::string(ATTNLAB_SOURCE_DIR) + "/configs/schemes/" + f.config,
         "--set", "/query_heads=" + c.config()["n_head"].dump(), "--set",
         "/kv_heads=" + std::to_string(f.kv_heads), "--input", path("x.npy"), "--weights", path("w.npz"),
         "--precision", f.precision, "--grad", "--state", "--out", path("out")},
        std::chrono::seconds(60));
    ASSERT_EQ(child.exit_code, 0) << child.errors;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  Array result(const std::string& name) const {
    return Array::from(io::read_npy(path("out/" + name)), Element::f64);
  }

  fs::path folder_;
};

TEST_P(ForwardCommand, WritesTheReferencesOutputAndGradients) {
  const ForwardCase& f = GetParam();
  const SchemeCase c(f.golden);
  const Tolerance tolerance = tolerance_of(f.precision);
  ASSERT_NO_FATAL_FAILURE(run(f, c));
  EXPECT_LT(relative_error(result("output.npy"), c.tensor("out.y")), tolerance.output);
  EXPECT_LT(relative_error(result("step_output.npy"), c.tensor("out.y")), tolerance.output);
  std::vector<std::string> names = c.names("param.");
  names.push_back("x");
  double largest = 0;
  for (const std::string& name : names)
    largest = std::max(largest, largest_magnitude(c.tensor("grad." + name)));
  for (const std::string& name : names) {
    EXPECT_LT(
        relative_error(result("grad." + name + ".npy"), c.tensor("grad." + name), tolerance.least * largest),
        tolerance.gradient)
        << name;
  }
  const Json json = Json::parse(io::read_text(path("out/result.json"), size_t{1} << 20));
  const double loss = c.scalar("loss");
  EXPECT_NEAR(json["output"]["sum_of_squares"].get<double>(), loss, tolerance.output * loss);
  EXPECT_EQ(json["precision"], f.precision == "f64" ? "float64" : "float32");
  EXPECT_EQ(json["parameters"]["shapes"].size(), names.size() - 1);
}

std::vector<ForwardCase> cases() {
  std::vector<ForwardCase> list;
  for (const char* precision : {"f64", "f32"}) {
    list.push_back({"csa", "mha.json", 4, precision});
    list.push_back({"mha", "mha.json", 4, precision});
    list.push_back({"mqa", "mqa.json", 1, precision});
    list.push_back({"gqa_kv2", "gqa.json", 2, precision});
  }
  return list;
}

INSTANTIATE_TEST_SUITE_P(Golden, ForwardCommand, testing::ValuesIn(cases()), [](const auto& the_case) {
  return the_case.param.golden + "_" + the_case.param.precision;
});

}  // namespace
}  // namespace attnlab::golden
