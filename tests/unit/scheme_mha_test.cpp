// The mha scheme's policies: inputs that are not finite, inputs of other channels, and what its metrics
// count.
#include <gtest/gtest.h>

#include <attnlab/philox.hpp>

#include <cmath>
#include <limits>

#include "tests/support/schemes.hpp"

namespace attnlab::test {
namespace {

using graph::Array;
using graph::Element;
using graph::value_of;

Array normal(const graph::Extents& shape) {
  Array x(Element::f64, shape);
  attnlab::Philox random(2);
  for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<double>()[i] = random.normal();
  return x;
}

Array forward(const io::Json& attention, const Array& x, int64_t embed_dim = 16) {
  plugin::SchemeGeometry geometry = sample_geometry();
  geometry.embed_dim = embed_dim;
  TestLayer layer(attention, geometry, Element::f64);
  layer.bind(false);
  const Var input = layer.the_graph().constant(x);
  return value_of(layer.forward({&input, 1})).packed();
}

void expect_equal(const Array& a, const Array& b) {
  ASSERT_EQ(a.shape(), b.shape());
  for (int64_t i = 0; i < a.size(); ++i) ASSERT_EQ(a.data<double>()[i], b.data<double>()[i]) << i;
}

class MhaNan : public testing::TestWithParam<double> {
 protected:
  static constexpr int64_t bad = 2 * 16 + 5;  // row 2, channel 5
  /// Elements [begin, end) replaced by zeros.
  static Array with_zeros(int64_t begin, int64_t end) {
    Array x = normal({1, 4, 16});
    std::fill(x.mutable_data<double>() + begin, x.mutable_data<double>() + end, 0.0);
    return x;
  }
  Array damaged() const {
    Array x = normal({1, 4, 16});
    x.mutable_data<double>()[bad] = GetParam();
    return x;
  }
  static io::Json policy(const char* name) { return {{"scheme", "mha"}, {"nan_policy", name}}; }
};

TEST_P(MhaNan, ErrorNamesHowMany) {
  try {
    forward(policy("error"), damaged());
    FAIL() << "accepted";
  } catch (const base::UserError& error) {
    EXPECT_NE(std::string(error.what())
                  .find("1 of the input's values are NaN or infinite; nan_policy can replace them"),
              std::string::npos)
        << error.what();
  }
}
TEST_P(MhaNan, ZeroElement) {
  expect_equal(forward(policy("zero_element"), damaged()),
               forward(policy("error"), with_zeros(bad, bad + 1)));
}
TEST_P(MhaNan, ZeroRow) {
  expect_equal(forward(policy("zero_row"), damaged()), forward(policy("error"), with_zeros(2 * 16, 3 * 16)));
}
TEST_P(MhaNan, ZeroTensor) {
  expect_equal(forward(policy("zero_tensor"), damaged()), forward(policy("error"), with_zeros(0, 4 * 16)));
}
INSTANTIATE_TEST_SUITE_P(Values, MhaNan,
                         testing::Values(std::numeric_limits<double>::quiet_NaN(),
                                         std::numeric_limits<double>::infinity(),
                                         -std::numeric_limits<double>::infinity()));

TEST(Mha, GoodInputsAreTheSameUnderEveryPolicy) {
  const Array x = normal({2, 3, 16});
  const Array plain = forward({{"scheme", "mha"}}, x);
  for (const char* name : {"zero_element", "zero_row", "zero_tensor"})
    expect_equal(forward({{"scheme", "mha"}, {"nan_policy", name}}, x), plain);
}

TEST(Mha, AlignsToExpectedDims) {
  // 384 channels brought to 768 by zeros are 384 channels: the weights of the others meet zeros alone.
  for (const auto& [channels, expected] : {std::pair<int64_t, int64_t>{384, 768}, {768, 384}, {24, 16}}) {
    for (const char* policy : {"pad", "truncate", "project"}) {
      const Array y = forward({{"scheme", "mha"},
                               {"num_heads", 4},
                               {"key_dim", 8},
                               {"expected_dim", expected},
                               {"dim_policy", policy}},
                              normal({1, 3, channels}), channels);
      EXPECT_EQ(y.extent(2), channels) << policy;
    }
  }
}

TEST(Mha, TruncationReadsTheFirstChannelsAlone) {
  const io::Json attention = {
      {"scheme", "mha"}, {"key_dim", 4}, {"expected_dim", 12}, {"dim_policy", "truncate"}};
  const Array x = normal({1, 3, 16});
  Array changed(Element::f64, x.shape());
  graph::copy_elements(x, changed);
  for (int64_t t = 0; t < 3; ++t) changed.mutable_data<double>()[t * 16 + 13] += 5;
  expect_equal(forward(attention, changed), forward(attention, x));
}

std::string refusal(const io::Json& attention, int64_t embed_dim = 16) {
  try {
    forward(attention, normal({1, 2, embed_dim}), embed_dim);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Mha, RefusesWhatDoesNotFit) {
  const std::pair<io::Json, const char*> cases[] = {
      {{{"scheme", "mha"}, {"num_heads", 3}}, "num_heads: must divide the embedding's 16 channels"},
      {{{"scheme", "mha"}, {"num_heads", 4}, {"num_kv_heads", 3}},
       "num_kv_heads: must divide num_heads, 4: found 3"},
      {{{"scheme", "mha"}, {"num_kv_heads", 3}}, "num_kv_heads: must divide the 4 query heads: found 3"},
      {{{"scheme", "mha"}, {"dim_policy", "pad"}}, "expected_dim: is needed by this dim_policy"},
      {{{"scheme", "mha"}, {"expected_dim", 768}},
       "expected_dim: is 768, but inputs have 16 channels; dim_policy can align them"},
      {{{"scheme", "mha"}, {"key_dim", 5}, {"rope", true}},
       "rope: rotates pairs of channels: key_dim 5 is odd"},
  };
  for (const auto& [attention, expected] : cases) {
    const std::string said = refusal(attention);
    EXPECT_NE(said.find("/attention/"), std::string::npos) << said;
    const std::string text = expected;
    EXPECT_NE(said.find(text.substr(text.find(' ') + 1)), std::string::npos) << said;
  }
}

TEST(Mha, MetricsCountVisibleKeysAlone) {
  TestLayer layer({{"scheme", "mha"}, {"report_scores", true}}, sample_geometry(), Element::f64);
  // With keys of zeros every visible key has the same weight.
  for (auto& parameter : layer.parameters.all()) {
    if (parameter.name == "k_proj.weight")
      std::fill_n(parameter.value.mutable_data<double>(), parameter.value.size(), 0.0);
  }
  layer.bind(false);
  const Var x = layer.the_graph().constant(normal({2, 5, 16}));
  layer.forward({&x, 1});
  auto metric = [&](const char* name) { return value_of(layer.reported(name)).scalar(); };
  double entropy = 0, largest = 0;
  for (int seen = 1; seen <= 5; ++seen) entropy += std::log(seen) / 5, largest += 1.0 / seen / 5;
  EXPECT_NEAR(metric("attention_entropy"), entropy, 1e-5);
  EXPECT_NEAR(metric("attention_entropy_share"), 0.8, 1e-5);  // 1 where two or more are seen
  EXPECT_NEAR(metric("attention_largest"), largest, 1e-12);
  EXPECT_NEAR(metric("mean_attention_score"), 5.0 / 15, 1e-12);
  EXPECT_NEAR(metric("attention_sparsity"), 0, 1e-12);
}

}  // namespace
}  // namespace attnlab::test
