// The figures of shared/golden/mhla of MHLA's attention, from its matrix written out, and those of the
// specification's probe, from the configs of the repository.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/io/atomic_file.hpp"
#include "core/io/json.hpp"
#include "core/io/npy.hpp"
#include "core/measure/operators.hpp"
#include "core/measure/spectrum.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::golden {
namespace {

namespace fs = std::filesystem;
using measure::MatrixView;

fs::path mhla_folder() {
  const char* shared = std::getenv("ATTNLAB_SHARED");
  return fs::path(shared != nullptr ? shared : ATTNLAB_SHARED_DIR) / "golden" / "mhla";
}

/// The feature map of the cases: with a small number added so that no row is without weight.
double feature(const std::string& map, double x) {
  constexpr double least = 1e-6;
  if (map == "relu") return std::max(x, 0.0) + least;
  if (map == "elu+1") return (x > 0 ? x + 1 : std::exp(x)) + least;
  if (map == "exp-approx") return std::exp(std::min(x, 5.0)) + least;
  ADD_FAILURE() << "a feature map that this test does not know: " << map;
  return 0;
}

/// A case and its attention A [N, N]: A_ts = mixing(block t, block s) q_t.k_s, its rows normalised.
struct MhlaCase {
  io::Json manifest;
  int64_t tokens = 0, blocks = 0;
  bool causal = false;
  std::vector<double> attention;

  explicit MhlaCase(const fs::path& folder)
      : manifest(io::Json::parse(io::read_text((folder / "manifest.json").string(), size_t{1} << 20))) {
    const io::Json& params = manifest["params"];
    tokens = params["N"].get<int64_t>(), blocks = params["M"].get<int64_t>();
    causal = params["causal"].get<bool>();
    const int64_t dim = params["K"].get<int64_t>(), length = tokens / blocks;
    const auto q = io::read_npy((folder / "q.npy").string()), k = io::read_npy((folder / "k.npy").string()),
               mixing = io::read_npy((folder / "mixing.npy").string());
    const std::string map = params["feature_map"].get<std::string>();
    attention.assign(static_cast<size_t>(tokens * tokens), 0);
    for (int64_t t = 0; t < tokens; ++t) {
      double total = 0;
      double* row = attention.data() + t * tokens;
      for (int64_t s = 0; s < (causal ? t + 1 : tokens); ++s) {
        for (int64_t c = 0; c < dim; ++c) {
          row[s] += feature(map, q.values<double>()[static_cast<size_t>(t * dim + c)]) *
                    feature(map, k.values<double>()[static_cast<size_t>(s * dim + c)]);
        }
        row[s] *= mixing.values<double>()[static_cast<size_t>(t / length * blocks + s / length)];
        total += row[s];
      }
      for (int64_t s = 0; s < tokens; ++s) row[s] /= total;
    }
  }
  MatrixView view() const { return {attention.data(), tokens, tokens}; }
  double check(const char* name) const { return manifest["checks"][name].get<double>(); }
};

class MhlaSpectrum : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(mhla_folder())) GTEST_SKIP() << "needs " << mhla_folder();
    for (const auto& entry : fs::directory_iterator(mhla_folder())) {
      if (entry.path().filename().string().starts_with("derived_eq4_")) folders_.push_back(entry.path());
    }
    std::sort(folders_.begin(), folders_.end());
    ASSERT_GE(folders_.size(), 20u);
  }
  std::vector<fs::path> folders_;
};

TEST_F(MhlaSpectrum, RanksAreThoseOfTheCases) {
  for (const fs::path& folder : folders_) {
    SCOPED_TRACE(folder.filename().string());
    const MhlaCase c(folder);
    const std::vector<double> singular = measure::singular_values(c.view());
    EXPECT_EQ(measure::numerical_rank(singular, c.tokens, c.tokens), c.check("attention_numerical_rank"));
    EXPECT_NEAR(measure::effective_rank(singular), c.check("attention_erank"),
                1e-9 * c.check("attention_erank"));
    if (!c.manifest["checks"].contains("bound_rank_Mc_times_d")) continue;
    EXPECT_LE(measure::numerical_rank(singular, c.tokens, c.tokens), c.check("bound_rank_Mc_times_d"));
  }
}

TEST_F(MhlaSpectrum, RowEntropiesAreThoseOfTheCases) {
  for (const fs::path& folder : folders_) {
    SCOPED_TRACE(folder.filename().string());
    const MhlaCase c(folder);
    const auto rows = measure::row_figures(c.view(), c.causal);
    ASSERT_TRUE(rows);
    EXPECT_EQ(rows->left_out, 0);
    EXPECT_NEAR(rows->entropy, c.check("attention_row_entropy_nats"), 1e-12);
  }
}

/// The cases cut between blocks only.
TEST_F(MhlaSpectrum, HankelRanksAreThoseOfTheCases) {
  int causal = 0;
  for (const fs::path& folder : folders_) {
    SCOPED_TRACE(folder.filename().string());
    const MhlaCase c(folder);
    if (!c.causal) continue;
    ++causal;
    std::vector<int64_t> cuts;
    for (int64_t block = 1; block < c.blocks; ++block) cuts.push_back(block * c.tokens / c.blocks);
    EXPECT_EQ(measure::hankel_rank(c.view(), cuts), c.check("hankel_rank_max"));
    EXPECT_LE(measure::hankel_rank(c.view(), cuts), c.check("hankel_bound_max"));
  }
  EXPECT_GE(causal, 8);
}

/// A config of the repository with so many samples.
std::map<std::string, measure::OperatorSpectrum> spectra_of(const std::string& name, int64_t samples) {
  config::Document document =
      config::Document::load(std::string(ATTNLAB_SOURCE_DIR) + "/configs/operators/" + name);
  document.set("/spectrum/samples", samples, {"test", "."});
  const config::OperatorsPlan plan = config::resolve_operators(document, test::catalog());
  std::map<std::string, measure::OperatorSpectrum> by_name;
  for (const auto& s : measure::measure_spectra(plan, test::catalog(), document,
                                                [](int64_t, int64_t, const std::string&) { return true; }))
    by_name[s.name] = s;
  return by_name;
}

struct ProbeFigures {
  const char* name;
  double rank, effective_rank, entropy_share;
  double spread = 0.02;  ///< relative, of the effective rank: more where the mixing is drawn
};

/// Section 2 of shared/spec/mhla.md: one draw each of 1024 tokens and 16 channels.
TEST(OperatorProbe, RankConfigGivesTheFiguresOfTheSpecification) {
  const auto spectra = spectra_of("rank.json", 1);
  for (const ProbeFigures& wanted : {ProbeFigures{"softmax", 1024, 333, 0.928, 0.05},
                                     {"linear", 16, 11.3, 0.968},
                                     {"mhla 4", 64, 35, 0.916},
                                     {"mhla 16", 256, 43, 0.940, 0.03},
                                     {"mhla 32", 512, 44, 0.943},
                                     {"mhla 32 random", 512, 176, 0.939, 0.1},
                                     {"mhla 32 sharp", 512, 214, 0.643, 0.15}}) {
    SCOPED_TRACE(wanted.name);
    ASSERT_EQ(spectra.count(wanted.name), 1u);
    const measure::OperatorSpectrum& found = spectra.at(wanted.name);
    EXPECT_EQ(found.refused, "");
    EXPECT_EQ(found.rank.mean, wanted.rank);
    EXPECT_NEAR(found.effective_rank.mean, wanted.effective_rank, wanted.spread * wanted.effective_rank);
    EXPECT_NEAR(found.entropy_share.mean, wanted.entropy_share, wanted.spread > 0.1 ? 0.06 : 0.004);
  }
}

TEST(OperatorProbe, HankelConfigGivesTheFiguresOfTheSpecification) {
  const auto spectra = spectra_of("hankel.json", 1);
  const std::map<std::string, double> wanted = {
      {"softmax", 128},      {"linear", 16},        {"mhla 16 uniform", 16}, {"mhla 16 local", 32},
      {"mhla 4 random", 32}, {"mhla 8 random", 64}, {"mhla 16 random", 128}, {"mhla 32 random", 128}};
  EXPECT_EQ(spectra.size(), wanted.size());
  for (const auto& [name, rank] : wanted) {
    ASSERT_EQ(spectra.count(name), 1u) << name;
    EXPECT_EQ(spectra.at(name).hankel_rank.mean, rank) << name;
    EXPECT_GT(spectra.at(name).rank.mean, 245) << name << ": the mask alone makes the rank full";
  }
}

}  // namespace
}  // namespace attnlab::golden
