// Tokens to train on: text, tokenisers, windows of text, associative recall.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <attnlab/philox.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "core/base/error.hpp"
#include "core/data/recall_task.hpp"
#include "core/data/text.hpp"
#include "core/data/token_source.hpp"
#include "core/data/tokeniser.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::data {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The UserError of an action that must be refused.
UserError error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was refused";
  return UserError("");
}

Mistake mistake_of(const std::function<void()>& action) {
  return error_of(action).mistake();
}

std::string of_code(uint32_t code) {
  std::string text;
  append_character(text, code);
  return text;
}

TEST(DataText, RefusesEachMalformedSequence) {
  const std::map<std::string, std::vector<std::string>> bad = {
      {"stray continuation", {"\x80", "\xbf"}},
      {"overlong",
       {"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf"}},
      {"truncated", {"\xc3", "\xe2\x82", "\xf0\x9f\x98"}},
      {"no continuation", {"\xc3(", "\xe2(\xa1", "\xe2\x82(", "\xf0\x9f\x98(", "\xc3\xc3\xa9"}},
      {"surrogate", {"\xed\xa0\x80", "\xed\xbf\xbf"}},
      {"past U+10FFFF", {"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xf8\x88\x80\x80\x80"}},
      {"no byte of UTF-8", {"\xfe", "\xff"}}};
  for (const auto& [reason, sequences] : bad) {
    for (const auto& bytes : sequences) {
      SCOPED_TRACE(reason + ": " + base::escape_unprintable(bytes));
      EXPECT_EQ(first_character(bytes).size, 0u);
      EXPECT_EQ(first_malformed("aé" + bytes), 3u);
      EXPECT_EQ(first_malformed("aé" + bytes + "plain"), 3u);
    }
  }
  EXPECT_EQ(first_character("").size, 0u);
}

TEST(DataText, ReadsNothingBeyondItsEnd) {
  const std::string_view text = "é日😀";  // of 2, 3 and 4 bytes
  for (const auto& [begin, size] : {std::pair(0u, 2u), std::pair(2u, 3u), std::pair(5u, 4u)}) {
    EXPECT_EQ(first_character(text.substr(begin, size)).size, size);
    for (size_t part = 1; part < size; ++part) EXPECT_EQ(first_character(text.substr(begin, part)).size, 0u);
  }
}

TEST(DataText, ReadsEveryCodePoint) {
  for (uint32_t code = 0; code <= 0x10ffff; ++code) {
    if (code == 0xd800) code = 0xe000;
    std::string text;
    append_character(text, code);
    const Character character = first_character(text);
    ASSERT_EQ(character.code, code);
    ASSERT_EQ(character.size, text.size());
    ASSERT_EQ(text.size(), code < 0x80 ? 1u : code < 0x800 ? 2u : code < 0x10000 ? 3u : 4u);
  }
}

TEST(DataText, AgreesWithTheJsonLibraryOnWhatIsUtf8) {
  Philox random(5);
  const std::string bytes = "a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc2\xdf\xe0\xe1\xed\xef\xf0\xf1\xf4";
  int malformed = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (uint64_t size = random.below(6); size > 0; --size) text += bytes[random.below(bytes.size())];
    bool refused = false;
    try {
      static_cast<void>(Json(text).dump());
    } catch (const Json::type_error&) {
      refused = true;
    }
    malformed += refused;
    ASSERT_EQ(first_malformed(text) != std::string::npos, refused) << base::escape_unprintable(text);
  }
  EXPECT_GT(malformed, 500);
  EXPECT_LT(malformed, 2900);
}

TEST(DataText, CountsLinesAndCharacters) {
  const std::string text = "añ\n\n日本x";
  const auto place = [&](size_t offset) {
    const TextPlace found = place_of(text, offset);
    return std::pair(found.line, found.column);
  };
  EXPECT_EQ(place(0), std::pair(1, 1));
  EXPECT_EQ(place(3), std::pair(1, 3)) << "the line end belongs to its line";
  EXPECT_EQ(place(4), std::pair(2, 1));
  EXPECT_EQ(place(5), std::pair(3, 1));
  EXPECT_EQ(place(8), std::pair(3, 2));
  EXPECT_EQ(place(11), std::pair(3, 3));
}

TEST(DataText, ReadsFilesAsTheyAre) {
  const io::TemporaryFolder folder;
  const std::string text = std::string("\xef\xbb\xbfone\r\ntwo\0three", 16) + "😀";
  io::write_bytes(folder / "text", text);
  EXPECT_EQ(read_text(folder / "text"), text);
  io::write_bytes(folder / "latin", "caf\xe9");
  EXPECT_EQ(read_text(folder / "latin", TextEncoding::bytes), "caf\xe9");
}

TEST(DataText, RefusesFilesThatAreNoText) {
  const io::TemporaryFolder folder;
  for (const auto encoding : {TextEncoding::utf8, TextEncoding::bytes}) {
    const UserError missing = error_of([&] { read_text(folder / "none", encoding); });
    EXPECT_EQ(missing.mistake().file, folder / "none");
    EXPECT_THAT(missing.summary(), HasSubstr("No such file"));
    const UserError is_folder = error_of([&] { read_text(folder.path(), encoding); });
    EXPECT_EQ(is_folder.mistake().file, folder.path());
    EXPECT_THAT(is_folder.summary(), HasSubstr("folder"));
    io::write_bytes(folder / "empty", "");
    const UserError empty = error_of([&] { read_text(folder / "empty", encoding); });
    EXPECT_EQ(empty.mistake().file, folder / "empty");
    EXPECT_THAT(empty.summary(), HasSubstr("empty"));
  }
}

TEST(DataText, SaysWhereAFileIsNotUtf8AndWhatToDo) {
  const io::TemporaryFolder folder;
  io::write_bytes(folder / "latin", "né\nun caf\xe9 noir");
  const Mistake mistake = mistake_of([&] { read_text(folder / "latin"); });
  EXPECT_EQ(mistake.file, folder / "latin");
  EXPECT_EQ(mistake.line, 2);
  EXPECT_EQ(mistake.column, 7);
  EXPECT_EQ(mistake.found, "byte 0xE9 at offset 10");
  EXPECT_THAT(mistake.suggestion, HasSubstr("\"bytes\""));
  EXPECT_THAT(mistake.suggestion, HasSubstr("iconv -f LATIN1 -t UTF-8"));
  io::write_bytes(folder / "utf16", std::string("\xff\xfe"
                                                "a\0",
                                                4));
  EXPECT_THAT(mistake_of([&] { read_text(folder / "utf16"); }).suggestion, HasSubstr("iconv -f UTF-16"));
}

TEST(DataTokeniser, NumbersCharactersByCodePoint) {
  const auto tokeniser = Tokeniser::characters("ba\né😀a");
  EXPECT_EQ(tokeniser.kind(), Tokeniser::Kind::characters);
  EXPECT_EQ(tokeniser.vocabulary_size(), 5);
  EXPECT_THAT(tokeniser.encode("\nabé😀"), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_TRUE(tokeniser.encode("").empty());
}

TEST(DataTokeniser, BytesAreTheirOwnIds) {
  const auto tokeniser = Tokeniser::bytes();
  EXPECT_EQ(tokeniser.vocabulary_size(), 256);
  EXPECT_THAT(tokeniser.encode("a\xff\xc3"), ElementsAre(97, 255, 195));
  std::string all(256, '\0');
  std::iota(all.begin(), all.end(), '\0');
  EXPECT_EQ(tokeniser.decode(tokeniser.encode(all)), all);
}

TEST(DataTokeniser, DecodesWhatItEncodes) {
  Philox random(3);
  for (int i = 0; i < 50; ++i) {
    std::string text;
    for (int size = 0; size < 40; ++size) {
      const auto code = static_cast<uint32_t>(random.below(1u << (1 + random.below(20))));
      append_character(text, code >= 0xd800 && code <= 0xdfff ? '?' : code);
    }
    const auto tokeniser = Tokeniser::characters(text);
    const auto ids = tokeniser.encode(text);
    EXPECT_EQ(ids.size(), 40u);
    EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), static_cast<size_t>(tokeniser.vocabulary_size()));
    EXPECT_EQ(tokeniser.decode(ids), text);
  }
}

TEST(DataTokeniser, NamesACharacterOutsideItsAlphabet) {
  const auto tokeniser = Tokeniser::characters("hello\nwörld");
  const UserError error = error_of([&] { tokeniser.encode("hell\nöo→", "prompt"); });
  const Mistake& mistake = error.mistake();
  EXPECT_EQ(mistake.file, "prompt");
  EXPECT_EQ(mistake.line, 2);
  EXPECT_EQ(mistake.column, 3);
  EXPECT_EQ(mistake.found, "\"→\" (U+2192)");
  EXPECT_EQ(mistake.allowed, "the 9 characters \"\\ndehlorwö\"");
  EXPECT_THAT(mistake.suggestion, HasSubstr("bytes"));
  EXPECT_THAT(error.what(), HasSubstr("prompt:2:3: "));
  EXPECT_EQ(mistake_of([&] { tokeniser.encode("\t"); }).found, "\"\\t\" (U+0009)");
}

TEST(DataTokeniser, ShowsAPartOfALargeAlphabet) {
  std::string text;
  for (uint32_t code = 0x4e00; code < 0x4e00 + 3000; ++code) append_character(text, code);
  const auto tokeniser = Tokeniser::characters(text);
  EXPECT_EQ(tokeniser.vocabulary_size(), 3000);
  const std::string allowed = mistake_of([&] { tokeniser.encode("a"); }).allowed;
  EXPECT_THAT(allowed, HasSubstr("the 3000 characters \"一"));
  EXPECT_THAT(allowed, HasSubstr("\" and so on"));
  EXPECT_LT(allowed.size(), 500u);
}

TEST(DataTokeniser, RefusesTextWithoutCharacters) {
  EXPECT_EQ(mistake_of([] { Tokeniser::characters("", "corpus"); }).file, "corpus");
  EXPECT_EQ(mistake_of([] { Tokeniser::characters("ab\xff", "corpus"); }).column, 3);
  EXPECT_EQ(mistake_of([] { Tokeniser::characters("ab").encode("a\n\xff"); }).line, 2);
}

TEST(DataTokeniser, RefusesIdsOutsideTheVocabulary) {
  const auto tokeniser = Tokeniser::characters("abc");
  for (const int32_t bad : {-1, 3, std::numeric_limits<int32_t>::min()}) {
    const std::vector<int32_t> ids = {0, bad};
    const Mistake mistake = mistake_of([&] { tokeniser.decode(ids); });
    EXPECT_EQ(mistake.pointer, "[1]");
    EXPECT_EQ(mistake.found, std::to_string(bad));
    EXPECT_EQ(mistake.allowed, "an id from 0 to 2");
  }
  EXPECT_THROW(Tokeniser::bytes().decode(std::vector<int32_t>{256}), UserError);
}

TEST(DataTokeniser, SurvivesJson) {
  const std::string corpus = std::string("b\"a\\\n\t", 6) + '\0' + "é😀" + of_code(0x10ffff);
  for (const auto& tokeniser : {Tokeniser::characters(corpus), Tokeniser::bytes()}) {
    const std::string written = tokeniser.to_json().dump();
    EXPECT_EQ(Tokeniser::from_json(Json::parse(written)), tokeniser);
  }
  EXPECT_EQ(Tokeniser::characters("ba").to_json().dump(), R"({"kind":"characters","alphabet":"ab"})");
  EXPECT_EQ(Tokeniser::bytes().to_json().dump(), R"({"kind":"bytes"})");
  EXPECT_NE(Tokeniser::characters("ab"), Tokeniser::characters("ac"));
  EXPECT_NE(Tokeniser::characters("ab"), Tokeniser::bytes());
}

TEST(DataTokeniser, RefusesJsonThatIsNoTokeniser) {
  const auto refuse = [](const Json& json) {
    const Mistake mistake = mistake_of([&] { Tokeniser::from_json(json, "checkpoint", "/tokeniser"); });
    EXPECT_EQ(mistake.file, "checkpoint");
    return std::pair(mistake.pointer, mistake.found);
  };
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(refuse(3), Pair("/tokeniser", "number"));
  EXPECT_EQ(refuse(Json::object()), Pair("/tokeniser/kind", "nothing"));
  EXPECT_EQ(refuse({{"kind", 1}}), Pair("/tokeniser/kind", "number"));
  EXPECT_EQ(refuse({{"kind", "byte"}}), Pair("/tokeniser/kind", "byte"));
  const auto alphabet = [&](const Json& value) {
    return refuse({{"kind", "characters"}, {"alphabet", value}});
  };
  const std::string place = "/tokeniser/alphabet";
  EXPECT_EQ(refuse({{"kind", "characters"}}), Pair(place, "nothing"));
  EXPECT_EQ(alphabet(nullptr), Pair(place, "null"));
  EXPECT_EQ(alphabet(""), Pair(place, "an empty text"));
  EXPECT_EQ(alphabet("a\xff"), Pair(place, "malformed UTF-8"));
  EXPECT_EQ(alphabet("aba"), Pair(place, "U+0062 before U+0061"));
  EXPECT_EQ(alphabet("aab"), Pair(place, "U+0061 before U+0061"));
}

TEST(DataTokeniser, KnowsItsKindsByName) {
  EXPECT_EQ(Tokeniser::of_kind("characters", "ba"), Tokeniser::characters("ab"));
  EXPECT_EQ(Tokeniser::of_kind("bytes", ""), Tokeniser::bytes());
  const Mistake mistake = mistake_of([] { Tokeniser::of_kind("character", "a"); });
  EXPECT_EQ(mistake.found, "character");
  EXPECT_EQ(mistake.allowed, "characters, bytes");
  EXPECT_THAT(mistake.suggestion, HasSubstr("\"characters\""));
}

/// Tokens 0, 1, 2, ...: a token says where it stands.
TextSource numbered(int64_t tokens, const TextOptions& options) {
  std::string alphabet;
  for (int64_t i = 0; i < tokens; ++i) append_character(alphabet, 0x4e00 + static_cast<uint32_t>(i));
  auto tokeniser = Tokeniser::characters(alphabet);
  auto ids = tokeniser.encode(alphabet);
  return {std::move(tokeniser), std::move(ids), options};
}

void expect_same(const TokenBatch& a, const TokenBatch& b) {
  EXPECT_EQ(a.batch, b.batch);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.inputs, b.inputs);
  EXPECT_EQ(a.targets, b.targets);
}

TEST(DataTextSource, SplitsTheTextWithoutOverlap) {
  const auto source = numbered(1000, {.training_fraction = 0.9, .block = 7});
  EXPECT_EQ(source.training_split().size(), 900u);
  EXPECT_EQ(source.validation_split().size(), 100u);
  EXPECT_EQ(source.training_split().back() + 1, source.validation_split().front());
  EXPECT_EQ(source.validation_split().back(), 999);
  EXPECT_EQ(source.vocabulary_size(), 1000);
  EXPECT_EQ(source.tokeniser()->vocabulary_size(), 1000);
  EXPECT_EQ(numbered(999, {.training_fraction = 0.5, .block = 7}).training_split().size(), 499u);
}

TEST(DataTextSource, TrainsOnWindowsOfItsSplitShiftedByOne) {
  const auto source = numbered(1000, {.training_fraction = 0.5, .block = 32});
  const TokenBatch batch = source.training(200, 3);
  EXPECT_EQ(batch.batch, 200);
  EXPECT_EQ(batch.tokens, 32);
  ASSERT_EQ(batch.inputs.size(), 6400u);
  ASSERT_EQ(batch.targets.size(), 6400u);
  for (size_t i = 0; i < batch.inputs.size(); ++i) {
    ASSERT_EQ(batch.inputs[i], batch.inputs[i - i % 32] + static_cast<int64_t>(i % 32));
    ASSERT_EQ(batch.targets[i], batch.inputs[i] + 1);
    ASSERT_LT(batch.targets[i], 500) << "a token of the validation split";
  }
}

TEST(DataTextSource, TrainingIsAFunctionOfSeedAndDraw) {
  const TextOptions options{.training_fraction = 0.8, .block = 16, .seed = 4};
  const auto source = numbered(2000, options), same = numbered(2000, options);
  const TokenBatch batch = source.training(6, 10);
  source.training(3, 9);
  expect_same(source.training(6, 10), batch);
  expect_same(same.training(6, 10), batch);
  EXPECT_NE(source.training(6, 11).inputs, batch.inputs);
  EXPECT_NE(numbered(2000, {.training_fraction = 0.8, .block = 16, .seed = 5}).training(6, 10).inputs,
            batch.inputs);
  auto larger = source.training(9, 10);
  larger.inputs.resize(batch.inputs.size());
  EXPECT_EQ(larger.inputs, batch.inputs);
}

/// Resuming a run of an older build must go on with the same windows.
TEST(DataTextSource, StartsNeverChange) {
  const auto source = numbered(1000, {.training_fraction = 0.9, .block = 1, .seed = 1});
  EXPECT_THAT(source.training(4, 0).inputs, ElementsAre(739, 609, 464, 716));
  EXPECT_THAT(source.training(4, 1).inputs, ElementsAre(109, 744, 67, 755));
}

TEST(DataTextSource, StartsAreUniform) {
  constexpr size_t starts = 50;
  const auto source = numbered(60, {.training_fraction = 0.9, .block = 4});  // 54 tokens train
  std::vector<int> count(starts);
  for (uint64_t draw = 0; draw < 500; ++draw) {
    const TokenBatch batch = source.training(10, draw);
    for (size_t row = 0; row < 10; ++row) ++count.at(static_cast<size_t>(batch.inputs[row * 4]));
  }
  constexpr double expected = 5000.0 / starts;
  double chi_square = 0;
  for (const int found : count) chi_square += (found - expected) * (found - expected) / expected;
  // 49 degrees of freedom: mean 49, standard deviation 9.9.
  EXPECT_LT(chi_square, 49 + 4 * 9.9);
  EXPECT_GT(chi_square, 49 - 4 * 9.9) << "more even than chance";
}

TEST(DataTextSource, TheSweepCountsEachTokenOnce) {
  for (const int64_t block : {1, 5, 9, 11, 98, 99}) {  // 99 targets: with and without a rest
    SCOPED_TRACE(block);
    const auto source = numbered(1000, {.training_fraction = 0.9, .block = block});
    const int64_t windows = source.evaluation_windows();
    EXPECT_EQ(windows, (99 + block - 1) / block);
    const TokenBatch sweep = source.evaluation(0, windows);
    ASSERT_EQ(sweep.targets.size(), static_cast<size_t>(windows * block));
    std::vector<int64_t> targets;
    for (size_t i = 0; i < sweep.targets.size(); ++i) {
      if (sweep.targets[i] == ignored_target) {
        EXPECT_EQ(sweep.inputs[i], 0);
        EXPECT_GE(i, 99u) << "padding stands at the end";
      } else {
        EXPECT_EQ(sweep.targets[i], sweep.inputs[i] + 1);
        targets.push_back(sweep.targets[i]);
      }
    }
    std::vector<int64_t> all(99);
    std::iota(all.begin(), all.end(), 901);
    EXPECT_EQ(targets, all);
  }
}

TEST(DataTextSource, TheSweepIsTheSameInAnyPortions) {
  const auto source = numbered(500, {.training_fraction = 0.5, .block = 24});
  const TokenBatch sweep = source.evaluation(0, source.evaluation_windows());
  std::vector<int64_t> inputs, targets;
  for (int64_t first = 0; first < source.evaluation_windows(); first += 4) {
    const TokenBatch part =
        source.evaluation(first, std::min<int64_t>(4, source.evaluation_windows() - first));
    inputs.insert(inputs.end(), part.inputs.begin(), part.inputs.end());
    targets.insert(targets.end(), part.targets.begin(), part.targets.end());
  }
  EXPECT_EQ(inputs, sweep.inputs);
  EXPECT_EQ(targets, sweep.targets);
}

TEST(DataTextSource, SaysHowManyTokensASplitNeeds) {
  // 20 tokens, 10 in each split: just enough for a block of 9.
  EXPECT_EQ(numbered(20, {.training_fraction = 0.5, .block = 9}).evaluation_windows(), 1);
  EXPECT_EQ(numbered(20, {.training_fraction = 0.5, .block = 9}).training(1, 0).inputs[0], 0);
  const UserError training = error_of([] { numbered(20, {.training_fraction = 0.5, .block = 10}); });
  EXPECT_THAT(training.summary(), HasSubstr("training split"));
  EXPECT_EQ(training.mistake().found, "10 tokens");
  EXPECT_THAT(training.mistake().allowed, HasSubstr("at least 11 tokens"));
  EXPECT_THAT(training.mistake().suggestion, HasSubstr("at most 9"));
  const UserError validation = error_of([] { numbered(100, {.training_fraction = 0.9, .block = 10}); });
  EXPECT_THAT(validation.summary(), HasSubstr("validation split"));
  EXPECT_EQ(validation.mistake().found, "10 tokens");
  EXPECT_EQ(mistake_of([] { numbered(1, {}); }).suggestion, "take a longer text");
}

TEST(DataTextSource, RefusesBadOptions) {
  for (const double bad : {0.0, 1.0, -0.5, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    const UserError error = error_of([&] { numbered(100, {.training_fraction = bad, .block = 4}); });
    EXPECT_THAT(error.summary(), HasSubstr("training_fraction"));
  }
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    const UserError error = error_of([&] { numbered(100, {.block = bad}); });
    EXPECT_THAT(error.summary(), HasSubstr("bad block"));
    EXPECT_EQ(error.mistake().found, std::to_string(bad));
  }
}

const RecallOptions small_recall{.pairs = 5, .queries = 3, .keys = 12, .values = 7, .seed = 2};

std::vector<TokenBatch> recall_batches(const RecallTask& task) {
  return {task.training(64, 0), task.training(64, 1), task.evaluation(0, task.evaluation_windows())};
}

TEST(DataRecallTask, ADictionaryAnswersEverything) {
  const RecallTask task(small_recall);
  EXPECT_EQ(task.block(), 16);
  EXPECT_EQ(task.vocabulary_size(), 19);
  EXPECT_EQ(task.tokeniser(), nullptr);
  for (const TokenBatch& batch : recall_batches(task)) {
    ASSERT_EQ(batch.tokens, 16);
    int64_t asked = 0, right = 0;
    for (size_t row = 0; row < static_cast<size_t>(batch.batch); ++row) {
      std::map<int64_t, int64_t> dictionary;
      const int64_t* inputs = &batch.inputs[row * 16];
      for (size_t t = 0; t < 10; t += 2) dictionary[inputs[t]] = inputs[t + 1];
      for (size_t t = 0; t < 16; ++t) {
        const int64_t target = batch.targets[row * 16 + t];
        if (target == ignored_target) continue;
        ++asked;
        right += dictionary.at(inputs[t]) == target;
      }
    }
    EXPECT_EQ(asked, 3 * batch.batch);
    EXPECT_EQ(right, asked);
  }
}

TEST(DataRecallTask, WindowsHaveTheirForm) {
  const RecallTask task(small_recall);
  for (const TokenBatch& batch : recall_batches(task)) {
    for (size_t row = 0; row < static_cast<size_t>(batch.batch); ++row) {
      std::set<int64_t> keys, queries;
      for (size_t t = 0; t < 16; ++t) {
        const int64_t input = batch.inputs[row * 16 + t], target = batch.targets[row * 16 + t];
        const bool is_key = t % 2 == 0, is_query = is_key && t >= 10;
        EXPECT_EQ(input < 12, is_key);
        EXPECT_LT(input, 19);
        EXPECT_EQ(target != ignored_target, is_query);
        if (is_query) {
          EXPECT_EQ(batch.inputs[row * 16 + t + 1], target) << "the answer comes next";
          queries.insert(input);
        } else if (is_key) {
          keys.insert(input);
        }
      }
      EXPECT_EQ(keys.size(), 5u) << "distinct keys";
      EXPECT_EQ(queries.size(), 3u) << "distinct queries";
    }
  }
}

TEST(DataRecallTask, WindowsAreAFunctionOfSeedAndDraw) {
  const RecallTask task(small_recall), same(small_recall);
  RecallOptions reseeded = small_recall;
  reseeded.seed = 3;
  const RecallTask other(reseeded);
  const TokenBatch batch = task.training(8, 5);
  task.training(8, 6);
  expect_same(task.training(8, 5), batch);
  expect_same(same.training(8, 5), batch);
  EXPECT_NE(task.training(8, 6).inputs, batch.inputs);
  EXPECT_NE(other.training(8, 5).inputs, batch.inputs);
  EXPECT_NE(other.evaluation(0, 8).inputs, task.evaluation(0, 8).inputs);
  EXPECT_NE(task.training(8, 0).inputs, task.evaluation(0, 8).inputs);
  auto larger = task.training(11, 5);
  larger.inputs.resize(batch.inputs.size());
  EXPECT_EQ(larger.inputs, batch.inputs);
}

/// Resuming a run of an older build must go on with the same windows.
TEST(DataRecallTask, WindowsNeverChange) {
  const RecallTask task({.pairs = 2, .queries = 2, .keys = 8, .values = 8, .seed = 1});
  EXPECT_THAT(task.training(1, 3).inputs, ElementsAre(3, 8, 6, 13, 6, 13, 3, 8));
  EXPECT_THAT(task.evaluation(3, 1).inputs, ElementsAre(4, 15, 5, 13, 5, 13, 4, 15));
}

/// Windows of an evaluation and of two training batches, all different: nothing repeats a stream.
TEST(DataRecallTask, WindowsDiffer) {
  const RecallTask task({.pairs = 8, .queries = 8, .keys = 32, .values = 32});
  EXPECT_EQ(task.evaluation_windows(), 256);
  std::set<std::vector<int64_t>> windows;
  for (const TokenBatch& batch : recall_batches(task)) {
    for (auto row = batch.inputs.begin(); row != batch.inputs.end(); row += 32)
      windows.emplace(row, row + 32);
  }
  EXPECT_EQ(windows.size(), 64u + 64u + 256u);
}

TEST(DataRecallTask, TheSweepIsTheSameInAnyPortions) {
  RecallOptions options = small_recall;
  options.evaluation_windows = 10;
  const RecallTask task(options);
  const TokenBatch sweep = task.evaluation(0, 10);
  for (int64_t first : {0, 3, 9}) {
    const TokenBatch part = task.evaluation(first, 1);
    EXPECT_TRUE(std::equal(part.inputs.begin(), part.inputs.end(), sweep.inputs.begin() + first * 16));
    EXPECT_TRUE(std::equal(part.targets.begin(), part.targets.end(), sweep.targets.begin() + first * 16));
  }
}

TEST(DataRecallTask, KeysValuesAndQueriesAreUniform) {
  const RecallTask task(small_recall);
  std::vector<double> count(19), query_of_pair(5);
  constexpr int64_t windows = 6000;
  const TokenBatch batch = task.training(windows, 0);
  for (size_t row = 0; row < windows; ++row) {
    const auto begin = batch.inputs.begin() + static_cast<std::ptrdiff_t>(row) * 16;
    ++count[static_cast<size_t>(begin[0])];
    ++count[static_cast<size_t>(begin[1])];
    const auto pair = std::find(begin, begin + 10, begin[10]) - begin;
    ++query_of_pair.at(static_cast<size_t>(pair / 2));
  }
  const auto expect_uniform = [](std::span<const double> found) {
    const double expected = windows / static_cast<double>(found.size());
    // Four standard deviations of a count.
    for (const double n : found) EXPECT_NEAR(n, expected, 4 * std::sqrt(expected));
  };
  expect_uniform(std::span(count).first(12));
  expect_uniform(std::span(count).subspan(12));
  expect_uniform(query_of_pair);
}

TEST(DataRecallTask, TakesItsSmallestAndFullestForms) {
  const RecallTask smallest({.pairs = 1, .queries = 1, .keys = 1, .values = 2, .evaluation_windows = 1});
  EXPECT_EQ(smallest.block(), 4);
  EXPECT_THAT(smallest.evaluation(0, 1).targets, ElementsAre(-1, -1, ::testing::AnyOf(1, 2), -1));
  const RecallTask fullest({.pairs = 9, .queries = 9, .keys = 9, .values = 2});
  const TokenBatch batch = fullest.training(1, 0);
  EXPECT_EQ(std::set(batch.inputs.begin(), batch.inputs.begin() + 18).size(), 9u + 2u);
}

TEST(DataRecallTask, RefusesOptionsOutOfRange) {
  const auto expect_refused = [](const std::string& name, int64_t RecallOptions::*option, int64_t bad) {
    RecallOptions options = small_recall;
    options.*option = bad;
    const UserError error = error_of([&] { RecallTask task(options); });
    EXPECT_EQ(error.summary(), "recall: bad " + name);
    EXPECT_EQ(error.mistake().found, std::to_string(bad));
    EXPECT_THAT(error.mistake().allowed, HasSubstr("an integer from "));
  };
  const int64_t huge = std::numeric_limits<int64_t>::max();
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, int64_t{13}, huge}) {
    expect_refused("pairs", &RecallOptions::pairs, bad);
  }
  for (const int64_t bad : {int64_t{0}, int64_t{6}, huge}) {
    expect_refused("queries", &RecallOptions::queries, bad);
  }
  for (const int64_t bad : {int64_t{0}, huge}) expect_refused("keys", &RecallOptions::keys, bad);
  for (const int64_t bad : {int64_t{0}, int64_t{1}, huge}) {
    expect_refused("values", &RecallOptions::values, bad);
  }
  for (const int64_t bad : {int64_t{0}, huge}) {
    expect_refused("evaluation_windows", &RecallOptions::evaluation_windows, bad);
  }
  RecallOptions options = small_recall;
  options.pairs = 13;
  EXPECT_THAT(mistake_of([&] { RecallTask task(options); }).allowed,
              HasSubstr("from 1 to 12, the number of"));
}

}  // namespace
}  // namespace attnlab::data
