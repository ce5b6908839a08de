// Masks in .npz files: what is written comes back, and wrong files are refused.
#include "core/mask/mask_file.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "core/io/archive.hpp"
#include "core/io/npz.hpp"
#include "tests/unit/mask_test_support.hpp"

namespace attnlab::mask {
namespace {

using tensor::DType;

class MaskFileTest : public ::testing::Test {
 protected:
  void TearDown() override { std::remove(path_.c_str()); }

  template <class T>
  void member(const std::string& name, DType dtype, tensor::Shape shape, const std::vector<T>& values) {
    auto tensor = tensor::Tensor::zeros(dtype, std::move(shape));
    std::ranges::copy(values, tensor.template mutable_values<T>().begin());
    std::erase_if(members_, [&](const auto& known) { return known.first == name; });
    members_.emplace_back(name, tensor);
  }
  void header(std::vector<int64_t> shape, std::vector<int64_t> extents, int64_t state) {
    member<int64_t>("shape", DType::i64, {static_cast<int64_t>(shape.size())}, shape);
    member<int64_t>("extents", DType::i64, {static_cast<int64_t>(extents.size())}, extents);
    member<int64_t>("state", DType::i64, {}, {state});
  }
  Mask load() {
    io::write_npz(path_, members_);
    return load_mask(path_);
  }

  std::string path_ = ::testing::TempDir() + "attnlab_mask_" + std::to_string(::getpid()) + ".npz";
  std::vector<io::NamedTensor> members_;
};

TEST_F(MaskFileTest, EveryStateComesBackBitForBit) {
  const Shape shape{2, 4, 1, 3};
  const float p = std::nextafter(1e-4f, 1.0f);
  const Mask sparse = Mask::sparse(shape, {1, 2}, {0, 2, 3}, {0, 2, 1}, {0, 0.1f, 3});
  const Mask dense = Mask::dense(shape, {2, 1}, {1, p, 0, 0, 0.3f, 1});
  for (const Mask& mask : {Mask::empty(shape), Mask::full(shape), sparse, dense, sparse.to_dense(),
                           dense.to_sparse(), Mask::sparse(shape, {}, {0, 2}, {0, 1}),
                           Mask::sparse(shape, {}, {0, 0}, {}), Mask::dense(shape, {}, {1, 1, 1})}) {
    save_mask(mask, path_);
    EXPECT_TRUE(same_storage(load_mask(path_), mask));
  }
}

TEST_F(MaskFileTest, MembersAreTheDocumentedOnes) {
  const Shape shape{1, 1, 2, 3};
  save_mask(Mask::sparse(shape, {}, {0, 1, 2}, {2, 0}, {1, 2}), path_);
  const auto archive = io::Archive::open(path_);
  EXPECT_EQ(archive.names(),
            (std::vector<std::string>{"shape", "extents", "state", "row_ptr", "column", "log_weight"}));
  EXPECT_EQ(archive.read("state").rank(), 0);
  EXPECT_EQ(archive.read("column").dtype(), DType::i32);
  save_mask(Mask::dense(shape, {}, {1, 0, 0, 0, 0, 0.5f}), path_);
  EXPECT_EQ(io::Archive::open(path_).read("probability").shape(), (tensor::Shape{1, 1, 2, 3}));
}

TEST_F(MaskFileTest, WrongFilesAreRefusedByFileAndMember) {
  EXPECT_REFUSAL(load_mask("/nonexistent/mask.npz"), "/nonexistent/mask.npz");
  header({1, 1, 1, 3}, {1, 1}, 3);
  EXPECT_REFUSAL(load(), "row_ptr");
  member<int64_t>("row_ptr", DType::i64, {2}, {0, 2});
  member<int64_t>("column", DType::i64, {2}, {0, 1});
  EXPECT_REFUSAL(load(), "column.astype(numpy.int32)");
  EXPECT_REFUSAL(load(), path_);
  member<int32_t>("column", DType::i32, {2}, {1, 0});
  EXPECT_REFUSAL(load(), path_ + ": row [0, 0, 0] entry 1");
  member<int32_t>("column", DType::i32, {2}, {0, 1});
  EXPECT_EQ(load().active_count(), 2);
  member<float>("log_weight", DType::f32, {2}, {0, -1});
  EXPECT_REFUSAL(load(), "entry 1");
  header({1, 1, 1, 3}, {1, 1}, 4);
  EXPECT_REFUSAL(load(), "unknown state");
  header({1, 1, 3}, {1, 1}, 3);
  EXPECT_REFUSAL(load(), "shape");
}

TEST_F(MaskFileTest, ClaimedExtentsAllocateNothing) {
  header({1, 1, int64_t{1} << 60, int64_t{1} << 30}, {1, 1}, 1);
  EXPECT_REFUSAL(load(), "shape");
  header({1, 1, 1 << 30, 1 << 30}, {1, 1}, 2);
  member<float>("probability", DType::f32, {2}, {1, 1});
  EXPECT_REFUSAL(load(), "2 elements");
  header({1, 1, 1 << 30, 1 << 30}, {1, 1}, 3);
  member<int64_t>("row_ptr", DType::i64, {0}, {});
  member<int32_t>("column", DType::i32, {0}, {});
  EXPECT_REFUSAL(load(), "row_ptr");
  header({1, 1, 1, 2}, {0, 0}, 2);
  EXPECT_REFUSAL(load(), "extents");
}

}  // namespace
}  // namespace attnlab::mask
