// Files around one layer: a result folder that is complete or not there, and values that are not finite.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/cli/layer_files.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using graph::Array;
using graph::Element;
using Paths = std::vector<std::string>;

class CliLayerFolder : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return root_ / name; }
  /// All files and folders, sorted.
  Paths below() const {
    Paths found;
    for (const auto& entry : fs::recursive_directory_iterator(path("")))
      found.push_back(fs::relative(entry.path(), path("")).string());
    std::sort(found.begin(), found.end());
    return found;
  }
  static void write_some(LayerFolder& folder) {
    folder.write("output.npy", Array::zeros(Element::f32, {2}));
    folder.write("intermediates/scores.npy", Array::zeros(Element::f32, {3}));
    folder.write("result.json", "{}");
  }

  io::TemporaryFolder root_;
};

TEST_F(CliLayerFolder, AppearsComplete) {
  LayerFolder folder(path("deep/out/"));
  write_some(folder);
  EXPECT_FALSE(fs::exists(path("deep/out")));
  folder.commit();
  EXPECT_EQ(below(), (Paths{"deep", "deep/out", "deep/out/intermediates", "deep/out/intermediates/scores.npy",
                            "deep/out/output.npy", "deep/out/result.json"}));
}

TEST_F(CliLayerFolder, IsNotThereWithoutCommit) {
  io::write_bytes(path("out.txt"), "mine");
  {
    LayerFolder folder(path("out"));
    write_some(folder);
  }
  EXPECT_EQ(below(), Paths{"out.txt"});
}

TEST_F(CliLayerFolder, ReplacesEarlierResultsAndKeepsTheRest) {
  fs::create_directories(path("out/intermediates"));
  fs::create_directories(path("out/notes"));
  for (const char* name : {"out/output.npy", "out/grad.x.npy", "out/step_output.npy", "out/result.json",
                           "out/intermediates/old.npy", "out/mine.npy", "out/notes/grad.x.npy"})
    io::write_bytes(path(name), "earlier");
  {
    LayerFolder folder(path("out"));
    write_some(folder);
    EXPECT_EQ(io::read_bytes(path("out/result.json")), "earlier");
  }
  EXPECT_EQ(io::read_bytes(path("out/output.npy")), "earlier") << "without commit nothing changes";
  EXPECT_EQ(below().size(), 10u);
  LayerFolder folder(path("out"));
  write_some(folder);
  folder.commit();
  EXPECT_EQ(io::read_bytes(path("out/result.json")), "{}");
  EXPECT_FALSE(fs::exists(path("out/grad.x.npy")));
  EXPECT_FALSE(fs::exists(path("out/step_output.npy")));
  EXPECT_FALSE(fs::exists(path("out/intermediates/old.npy")));
  EXPECT_TRUE(fs::exists(path("out/mine.npy")));
  EXPECT_TRUE(fs::exists(path("out/notes/grad.x.npy")));
}

TEST_F(CliLayerFolder, LeavesNothingAsideInAFolderThatExists) {
  fs::create_directories(path("out"));
  {
    LayerFolder folder(path("out"));
    write_some(folder);
    folder.commit();
  }
  EXPECT_EQ(below(), (Paths{"out", "out/intermediates", "out/intermediates/scores.npy", "out/output.npy",
                            "out/result.json"}));
}

TEST(CliLayerFiles, TheFirstValueThatIsNotFiniteIsNamed) {
  Array array(Element::f32, {2, 3});
  for (int i = 0; i < 6; ++i) array.mutable_data<float>()[i] = static_cast<float>(i);
  EXPECT_FALSE(find_non_finite(array, {2, 3}));
  array.mutable_data<float>()[5] = std::nanf("");
  array.mutable_data<float>()[4] = -INFINITY;
  const auto found = find_non_finite(array, {2, 3});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->count, 2);
  EXPECT_EQ(found->first, "-inf");
  EXPECT_EQ(found->place, "[1, 1]");
  EXPECT_EQ(find_non_finite(array, {6})->place, "[4]");
  EXPECT_EQ(find_non_finite(array.permuted({1, 0}), {3, 2})->place, "[1, 1]") << "of the view";
}

}  // namespace
}  // namespace attnlab::cli
