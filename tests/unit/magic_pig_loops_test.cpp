// magic_pig's vector loops against plain ones: the same bits from every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "plugins/maskers/magic_pig/vector_loops.cpp"

namespace magic_pig {
namespace {

std::vector<float> normals(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

TEST(MagicPigLoops, ProjectionsAreSumsInTheOrderOfTheCoordinates) {
  std::mt19937 random(1);
  for (const int64_t rows : {1, 3, 4, 9}) {
    for (const int64_t dim : {1, 5, 64}) {
      for (const int64_t planes : {1, 7, 31, 64, 109}) {
        const auto x = normals(rows * dim, random), plane = normals(dim * planes, random);
        std::vector<float> expected(static_cast<size_t>(rows * planes), 0.0F);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t p = 0; p < planes; ++p) {
            for (int64_t i = 0; i < dim; ++i)
              expected[r * planes + p] += x[r * dim + i] * plane[i * planes + p];
          }
        }
        for (const VectorLoops* loops : all_vector_loops()) {
          std::vector<float> found(expected.size());
          loops->project(x.data(), rows, dim, plane.data(), planes, found.data());
          EXPECT_EQ(found, expected) << rows << " rows, dim " << dim << ", planes " << planes;
        }
      }
    }
  }
}

TEST(MagicPigLoops, InnerProductsAreTheSameOnEveryInstructionSet) {
  std::mt19937 random(2);
  for (const int64_t dim : {1, 8, 31, 32, 64, 100, 128, 257}) {
    const auto floats = normals(dim, random), key = normals(dim, random);
    const std::vector<double> query(floats.begin(), floats.end());
    long double exact = 0;
    for (int64_t i = 0; i < dim; ++i)
      exact += static_cast<long double>(query[i]) * static_cast<long double>(key[i]);
    const double first = vector_loops().dot(query.data(), key.data(), dim);
    EXPECT_NEAR(first, static_cast<double>(exact), 1e-15 * static_cast<double>(dim) + 1e-15);
    for (const VectorLoops* loops : all_vector_loops())
      EXPECT_EQ(loops->dot(query.data(), key.data(), dim), first) << dim;
  }
}

}  // namespace
}  // namespace magic_pig
