#include <gtest/gtest.h>
#include <attnlab/scorer.hpp>

#include <stdexcept>
#include <string>

namespace {

using attnlab::detail::guard;

attnlab_error fresh() {
  attnlab_error error{};
  error.struct_size = sizeof error;
  return error;
}

template <class Body>
attnlab_status run(attnlab_error& error, Body body) {
  error = fresh();
  const attnlab_status status = guard(&error, body);
  EXPECT_EQ(error.code, status);
  return status;
}

TEST(SdkGuard, TranslatesWhatIsThrown) {
  attnlab_error error;
  EXPECT_EQ(run(error, [] {}), ATTNLAB_OK);
  EXPECT_EQ(run(error, [] { throw attnlab::ParameterError("size", "too large"); }),
            ATTNLAB_INVALID_PARAMETER);
  EXPECT_STREQ(error.message, "too large");
  EXPECT_STREQ(error.pointer, "/size");
  EXPECT_EQ(run(error, [] { throw attnlab::HostError(ATTNLAB_CANCELLED, "stopped"); }), ATTNLAB_CANCELLED);
  EXPECT_STREQ(error.message, "stopped");
  EXPECT_EQ(run(error, [] { throw std::out_of_range("index 7"); }), ATTNLAB_FAILED);
  EXPECT_STREQ(error.message, "index 7");
  EXPECT_STREQ(error.pointer, "");
  EXPECT_EQ(run(error, [] { throw 42; }), ATTNLAB_FAILED);
  EXPECT_STRNE(error.message, "");
}

TEST(SdkGuard, LongMessagesAreCutAndTerminated) {
  attnlab_error error;
  const std::string words(5000, 'x');
  EXPECT_EQ(run(error, [&] { throw attnlab::ParameterError(words, words); }), ATTNLAB_INVALID_PARAMETER);
  EXPECT_EQ(std::string(error.message), words.substr(0, sizeof error.message - 1));
  EXPECT_EQ(std::string(error.pointer), "/" + words.substr(0, sizeof error.pointer - 2));
}

TEST(SdkGuard, AMissingErrorIsNoCrash) {
  EXPECT_EQ(guard(nullptr, [] { throw std::runtime_error("nobody listens"); }), ATTNLAB_FAILED);
}

TEST(SdkGuard, CheckedThrowsTheHostsWords) {
  try {
    attnlab::detail::checked([](attnlab_error* error) {
      attnlab::detail::fill(error, ATTNLAB_UNSUPPORTED, "not today");
      return attnlab_status{ATTNLAB_UNSUPPORTED};
    });
    FAIL();
  } catch (const attnlab::HostError& error) {
    EXPECT_EQ(error.status(), ATTNLAB_UNSUPPORTED);
    EXPECT_STREQ(error.what(), "not today");
  }
}

struct Throwing : attnlab::Masker {
  static void describe(attnlab::Description<Throwing>& d) { d.id("throwing").summary("Throws."); }
  void columns(attnlab::Columns&, const attnlab::Geometry&) const {
    throw attnlab::ParameterError("group", "no divisor");
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const { throw std::runtime_error("select failed"); }
};

struct Bare : attnlab::Scorer {
  static void describe(attnlab::Description<Bare>& d) { d.id("bare").summary("Scores.").selector("top_k"); }
  void score(const attnlab::Tile&, attnlab::Scores&) const {}
};

TEST(SdkTables, NothingUnwindsThroughASlot) {
  const attnlab_masker_table& table = *attnlab::detail::method_of<Throwing>()->masker;
  Throwing self;
  attnlab_error error = fresh();
  attnlab_tile tile{};
  tile.count_read = [](void*, uint64_t) {};
  EXPECT_EQ(table.select(&self, &tile, nullptr, nullptr, &error), ATTNLAB_FAILED);
  EXPECT_STREQ(error.message, "select failed");
  attnlab_geometry geometry{};
  EXPECT_EQ(table.columns(&self, &geometry, nullptr, &error), ATTNLAB_INVALID_PARAMETER);
  EXPECT_STREQ(error.pointer, "/group");
}

TEST(SdkTables, OnlySlotsOfWrittenMethodsAreSet) {
  const attnlab_masker_table& masker = *attnlab::detail::method_of<Throwing>()->masker;
  EXPECT_NE(masker.columns, nullptr);
  EXPECT_NE(masker.encode, nullptr) << "the host expects `columns` and `encode` together";
  EXPECT_EQ(masker.encode(nullptr, nullptr, nullptr, nullptr), ATTNLAB_OK);
  EXPECT_EQ(masker.score, nullptr);
  EXPECT_EQ(masker.end_prompt, nullptr);
  const attnlab_masker_table& scorer = *attnlab::detail::method_of<Bare>()->masker;
  EXPECT_NE(scorer.score, nullptr);
  EXPECT_EQ(scorer.select, nullptr);
  EXPECT_EQ(scorer.columns, nullptr);
  EXPECT_EQ(scorer.encode, nullptr);
  EXPECT_EQ(scorer.feedback, nullptr);
  EXPECT_EQ(scorer.page_size, nullptr);
  EXPECT_EQ(scorer.state, nullptr);
}

ATTNLAB_STATIC_PLUGIN(test_entry, Throwing, Bare);

TEST(SdkTables, AnEntryListsItsMethods) {
  EXPECT_EQ(test_entry.magic, ATTNLAB_MAGIC);
  EXPECT_EQ(test_entry.struct_size, sizeof(attnlab_plugin_entry));
  const attnlab_library* library = nullptr;
  attnlab_error error = fresh();
  ASSERT_EQ(test_entry.describe(&library, &error), ATTNLAB_OK);
  ASSERT_EQ(library->method_count, 2u);
  EXPECT_EQ(attnlab::from_abi(library->methods[1]->id), "bare");
}

TEST(SdkHost, ParallelForRethrowsTheFirstFailureAfterTheLoop) {
  attnlab_host table{};
  table.parallel_for = [](void*, int64_t count, attnlab_loop_body body, void* context) {
    for (int64_t i = count; i-- > 0;) body(context, i);
  };
  std::vector<int> done(10);
  try {
    attnlab::Host(&table).parallel_for(10, [&](int64_t i) {
      done[static_cast<size_t>(i)] = 1;
      if (i % 4 == 3) throw std::runtime_error("item " + std::to_string(i));
    });
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "item 3");
  }
  EXPECT_EQ(done, std::vector<int>(10, 1));
}

}  // namespace
