#include <gtest/gtest.h>
#include <attnlab/masker.hpp>

#include <cmath>
#include <string>
#include <vector>

namespace {

using attnlab::CountOrFraction;
using attnlab::Offset;

enum class Colour { red, green, blue };

struct Sample : attnlab::Masker {
  bool flag = true;
  int64_t count = 7;
  double share = 0.25;
  std::string label = "middle";
  Colour colour = Colour::green;
  attnlab::Path weights;
  CountOrFraction size = 0.5;
  Offset offset = 3;
  std::vector<int64_t> widths = {1, 2, 3};
  int needed = 0;

  static void describe(attnlab::Description<Sample>& d) {
    d.id("sample").summary("For tests.").paper("arXiv:0000.00000").version("2.1.0").refine().samples();
    d.parameter("flag", &Sample::flag);
    d.parameter("count", &Sample::count).range(1, 9).log_scale().sweep({2, 4}).unit("keys").since("2.0.0");
    d.parameter("share", &Sample::share).above(0).at_most(1).doc("A share.");
    d.parameter("label", &Sample::label);
    d.parameter("colour", &Sample::colour).names({"red", "green", "blue"});
    d.parameter("weights", &Sample::weights);
    d.parameter("size", &Sample::size).sweep({16, 0.1});
    d.parameter("offset", &Sample::offset);
    d.parameter("widths", &Sample::widths);
    d.parameter("needed", &Sample::needed).required();
  }
  void prepare() {
    if (count == 8) throw attnlab::ParameterError("count", "eight is right out");
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

const attnlab_method& method() {
  return *attnlab::detail::method_of<Sample>();
}
const attnlab_parameter& parameter(size_t i) {
  return *method().parameters[i];
}
std::string text(attnlab_text t) {
  return std::string(attnlab::from_abi(t));
}

std::vector<attnlab_value> defaults() {
  std::vector<attnlab_value> values;
  for (uint64_t i = 0; i < method().parameter_count; ++i) values.push_back(parameter(i).default_value);
  return values;
}

attnlab_status create(const std::vector<attnlab_value>& values, Sample& out, attnlab_error& error) {
  error = {};
  error.struct_size = sizeof error;
  void* self = nullptr;
  const attnlab_masker_table& table = *method().masker;
  const attnlab_status status = table.create(nullptr, values.data(), values.size(), &self, &error);
  if (status == ATTNLAB_OK) {
    out = *static_cast<Sample*>(self);
    table.destroy(self);
  }
  return status;
}

TEST(SdkParameters, DescriptionCarriesIdentityAndFlags) {
  EXPECT_EQ(method().struct_size, sizeof(attnlab_method));
  EXPECT_EQ(method().facet, ATTNLAB_MASKER);
  EXPECT_EQ(text(method().id), "sample");
  EXPECT_EQ(text(method().version), "2.1.0");
  EXPECT_EQ(method().flags, uint64_t{ATTNLAB_REFINE | ATTNLAB_SAMPLES});
  EXPECT_EQ(method().parameter_count, 10u);
  EXPECT_EQ(method().scheme, nullptr);
}

TEST(SdkParameters, TypesFollowFromTheMembers) {
  const int32_t types[] = {ATTNLAB_BOOL,
                           ATTNLAB_INT,
                           ATTNLAB_REAL,
                           ATTNLAB_STRING,
                           ATTNLAB_ENUM,
                           ATTNLAB_PATH,
                           ATTNLAB_COUNT_OR_FRACTION,
                           ATTNLAB_OFFSET,
                           ATTNLAB_LIST,
                           ATTNLAB_INT};
  for (size_t i = 0; i < std::size(types); ++i) EXPECT_EQ(parameter(i).type, types[i]) << i;
  EXPECT_EQ(parameter(8).item_type, ATTNLAB_INT);
}

TEST(SdkParameters, DefaultsAreTheMembersInitialisers) {
  EXPECT_EQ(parameter(0).default_value.integer, 1);
  EXPECT_EQ(parameter(1).default_value.integer, 7);
  EXPECT_EQ(parameter(2).default_value.real, 0.25);
  EXPECT_EQ(text(parameter(3).default_value.text), "middle");
  EXPECT_EQ(parameter(4).default_value.integer, 1);
  EXPECT_EQ(text(parameter(4).default_value.text), "green");
  EXPECT_EQ(parameter(5).default_value.is_set, 0) << "an empty path is no value";
  EXPECT_EQ(parameter(6).default_value.is_fraction, 1);
  EXPECT_EQ(parameter(6).default_value.real, 0.5);
  EXPECT_EQ(parameter(7).default_value.is_fraction, 0);
  EXPECT_EQ(parameter(7).default_value.integer, 3);
  ASSERT_EQ(parameter(8).default_value.item_count, 3u);
  EXPECT_EQ(parameter(8).default_value.items[2].integer, 3);
}

TEST(SdkParameters, RequiredParametersHaveNoDefault) {
  EXPECT_EQ(parameter(9).required, 1);
  EXPECT_EQ(parameter(9).default_value.is_set, 0);
  EXPECT_EQ(parameter(1).required, 0);
}

TEST(SdkParameters, BoundsMayBeOpenClosedOrAbsent) {
  EXPECT_EQ(parameter(1).minimum, 1);
  EXPECT_EQ(parameter(1).maximum, 9);
  EXPECT_EQ(parameter(1).minimum_open, 0);
  EXPECT_EQ(parameter(2).minimum, 0);
  EXPECT_EQ(parameter(2).minimum_open, 1);
  EXPECT_EQ(parameter(2).maximum, 1);
  EXPECT_EQ(parameter(2).maximum_open, 0);
  EXPECT_EQ(parameter(9).minimum, -INFINITY);
  EXPECT_EQ(parameter(9).maximum, INFINITY);
}

TEST(SdkParameters, TextsAndSweepsAreKept) {
  EXPECT_EQ(text(parameter(1).unit), "keys");
  EXPECT_EQ(text(parameter(1).since), "2.0.0");
  EXPECT_EQ(text(parameter(2).doc), "A share.");
  EXPECT_EQ(parameter(1).log_scale, 1);
  ASSERT_EQ(parameter(1).sweep_count, 2u);
  EXPECT_EQ(parameter(1).sweep[1].integer, 4);
  ASSERT_EQ(parameter(6).sweep_count, 2u);
  EXPECT_EQ(parameter(6).sweep[0].integer, 16);
  EXPECT_EQ(parameter(6).sweep[1].is_fraction, 1);
  ASSERT_EQ(parameter(4).enum_count, 3u);
  EXPECT_EQ(text(parameter(4).enum_names[2]), "blue");
}

TEST(SdkParameters, ValuesReachTheMembers) {
  auto values = defaults();
  values[0].integer = 0;
  values[2].real = 0.75;
  values[3].text = attnlab::to_abi("end");
  values[4].integer = 2;
  values[5].text = attnlab::to_abi("/tmp/weights");
  values[5].is_set = 1;
  values[6].is_fraction = 0;
  values[6].integer = 12;
  attnlab_value items[2] = {attnlab::detail::empty_value(ATTNLAB_INT),
                            attnlab::detail::empty_value(ATTNLAB_INT)};
  for (auto& item : items) item.is_set = 1;
  items[1].integer = 40;
  values[8].items = items;
  values[8].item_count = 2;
  Sample made;
  attnlab_error error;
  ASSERT_EQ(create(values, made, error), ATTNLAB_OK) << error.message;
  EXPECT_FALSE(made.flag);
  EXPECT_EQ(made.count, 7);
  EXPECT_EQ(made.share, 0.75);
  EXPECT_EQ(made.label, "end");
  EXPECT_EQ(made.colour, Colour::blue);
  EXPECT_EQ(made.weights.value, "/tmp/weights");
  EXPECT_EQ(made.size.of(1000), 12);
  EXPECT_EQ(made.widths, (std::vector<int64_t>{0, 40}));
}

TEST(SdkParameters, UnsetValuesLeaveTheInitialiser) {
  auto values = defaults();
  values[1].is_set = 0;
  values[1].integer = 99;
  Sample made;
  attnlab_error error;
  ASSERT_EQ(create(values, made, error), ATTNLAB_OK);
  EXPECT_EQ(made.count, 7);
}

TEST(SdkParameters, PrepareRefusesWithThePointerOfTheParameter) {
  auto values = defaults();
  values[1].integer = 8;
  Sample made;
  attnlab_error error;
  EXPECT_EQ(create(values, made, error), ATTNLAB_INVALID_PARAMETER);
  EXPECT_STREQ(error.message, "eight is right out");
  EXPECT_STREQ(error.pointer, "/count");
}

TEST(SdkParameters, ATableOfAnotherLengthBreaksTheContract) {
  auto values = defaults();
  values.pop_back();
  Sample made;
  attnlab_error error;
  EXPECT_EQ(create(values, made, error), ATTNLAB_CONTRACT);
}

TEST(SdkCountOrFraction, CountsAreTakenAsTheyAre) {
  EXPECT_EQ(CountOrFraction(5).of(100), 5);
  EXPECT_EQ(CountOrFraction(500).of(100), 500);
  EXPECT_EQ(Offset(0).of(100), 0);
}

TEST(SdkCountOrFraction, FractionsAreFlooredInDouble) {
  EXPECT_EQ(CountOrFraction(0.1).of(100), 10);
  EXPECT_EQ(CountOrFraction(0.1).of(99), 9);
  EXPECT_EQ(CountOrFraction(1.0).of(77), 77);
  EXPECT_EQ(CountOrFraction(0.29).of(100), 28) << "0.29 * 100 is 28.999999999999996 in double";
  EXPECT_EQ(CountOrFraction(0.01).of(2000000000000), 20000000000);
}

TEST(SdkCountOrFraction, AFractionKeepsAtLeastOneKeyAnOffsetMayBeNone) {
  EXPECT_EQ(CountOrFraction(0.001).of(100), 1);
  EXPECT_EQ(CountOrFraction(0.5).of(0), 1);
  EXPECT_EQ(Offset(0.001).of(100), 0);
  EXPECT_EQ(Offset(0.5).of(5), 2);
}

}  // namespace
