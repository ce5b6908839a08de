// A decode step allocates nothing once its memory is warm: with many sequences at work the allocator would be
// the lock that they meet at. An executable of its own, as it replaces operator new for plugins too.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "core/base/parallel.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/method_files.hpp"
#include "tests/support/methods.hpp"
#include "tests/support/small_problem.hpp"

namespace {

std::atomic<int64_t> allocations{0};

void* allocate(size_t size, size_t alignment) {
  ++allocations;
  size = (std::max<size_t>(size, 1) + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace attnlab::test {
namespace {

class DecodeStep : public testing::TestWithParam<Method> {};

int64_t allocations_of_a_step(const std::vector<attention::Pipeline>& pipelines,
                              const SmallProblem& problem) {
  const base::ThreadLimit one(1);  // Which worker gets which head is chance, and each warms up alone.
  attention::Session session(pipelines, problem.layer, problem.geometry,
                             {.scale = 0.25f, .on_empty_row = config::EmptyRow::zeros, .seed = 3});
  session.append(problem.geometry.keys);
  session.end_prompt();
  attention::Engine engine({.kernels = &kernels::best_table(), .exact = false});
  const std::vector<int64_t> all_heads;
  double sum = 0;
  const attention::Visitor visit = [&](const attention::TileOutcome& outcome) { sum += outcome.lse[0]; };
  const auto step = [&] { engine.attend(session, problem.geometry.queries - 1, 1, all_heads, visit); };
  for (int i = 0; i < 3; ++i) step();
  const int64_t before = allocations;
  step();
  return allocations - before;
}

SmallProblem decode_problem() {
  return make_problem(
      {.query_heads = 4, .kv_heads = 2, .queries = 2, .keys = 5000, .head_dim = 16, .value_dim = 16}, 5);
}

TEST(Allocations, AreCounted) {
  const int64_t before = allocations;
  delete new int;
  EXPECT_GE(allocations - before, 1);
}

TEST(DenseDecodeStep, AllocatesNothing) {
  EXPECT_EQ(allocations_of_a_step(bind(document_with(R"({"dense": []})")), decode_problem()), 0);
}

TEST_P(DecodeStep, AllocatesNothing) {
  const SmallProblem problem = decode_problem();
  TemporaryFiles files;
  const config::Document document = document_with(with_method_files(GetParam().pipelines, problem, files));
  EXPECT_EQ(allocations_of_a_step(bind(document), problem), 0);
}

INSTANTIATE_TEST_SUITE_P(Maskers, DecodeStep, testing::ValuesIn(methods),
                         [](const auto& test) { return std::string(test.param.id); });

}  // namespace
}  // namespace attnlab::test
