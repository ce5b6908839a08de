// Documents: strict JSON, extends, --set, and where every value came from.
#include "core/config/document.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::config {
namespace {

using io::Json;

class ConfigDocumentTest : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_ / name).parent_path());
    io::write_bytes(folder_ / name, text);
    return folder_ / name;
  }
  Document load(const std::string& text) { return Document::load(write("main.json", text)); }

  io::TemporaryFolder folder_;
};

TEST_F(ConfigDocumentTest, ReadsJsonWithComments) {
  const Document document = load("{ // a line\n \"a\": [1, /* inside */ 2], \"b\": {\"c\": \"x\"} }");
  EXPECT_EQ(document.root(), Json::parse(R"({"a": [1, 2], "b": {"c": "x"}})"));
  EXPECT_EQ(document.path(), folder_ / "main.json");
  EXPECT_TRUE(Document().root().is_object());
}

TEST_F(ConfigDocumentTest, SyntaxErrorsNameFileAndLine) {
  EXPECT_REFUSED(load("{\n  \"a\": 1,\n  \"b\" 2\n}"), "main.json:3:7: not valid JSON: unexpected number");
  EXPECT_REFUSED(load(""), "not valid JSON");
  EXPECT_REFUSED(load("{\"a\": 1,}"), "not valid JSON");
  EXPECT_REFUSED(load("{\"a\": nan}"), "not valid JSON");
  EXPECT_REFUSED(load("{\"a\": 1} {}"), "not valid JSON");
  EXPECT_REFUSED(load("{\"a\": \"\xff\"}"), "not valid JSON");
  EXPECT_REFUSED(load("{\"a\": \"\\ud800\"}"), "not valid JSON");
  EXPECT_REFUSED(load(std::string("{\"a\": \"\0\"}", 10)), "not valid JSON");
}

TEST_F(ConfigDocumentTest, SyntaxErrorsSayWhatToDo) {
  const struct {
    const char *text, *advice;
  } slips[] = {{"{\"a\": [1, 2,]}", "remove the comma before the ]"},
               {"{\"a\": 1\n \"b\": 2}", "is a comma missing before it?"},
               {"{\n\"a\": {\n\"b\": 1}\n", "the { of line 1 is not closed"},
               {"{\"a\": [\n{\"b\": 1]}", "the { of line 2 is not closed"},
               {"# text\n{}", "comments are //"},
               {"{'a': 1}", "double quotes"},
               {"{a: 1}", "double quotes"},
               {"{\"a\" 1}", "separated by a colon"},
               {" \n", "the file is empty"}};
  for (const auto& slip : slips) EXPECT_REFUSED(load(slip.text), slip.advice);
  EXPECT_REFUSED(load("{\n   \"a\": 1,, \"b\": 2\n}"), "found: \"a\": 1,, \"b\": 2");
}

TEST_F(ConfigDocumentTest, ValuesHaveLinesAndColumns) {
  write("base.json",
        "{\n  \"o\": {\"x\": 1,\n        \"y\": [10, \"a\\\"\", true,\n false, null, -1.5e3, {}]}}");
  Document document = load(
      "/* \u00e4 */ { \"extends\": \"base.json\",\n\t\"k\\u0061\": \"\u00e4\", \"z\": 1,\n\"o\": {\"n\": "
      "0}}");
  const auto place = [&](const std::string& pointer) {
    const base::Mistake where = document.where(pointer);
    return where.file.substr(where.file.rfind('/') + 1) + ":" + std::to_string(where.line) + ":" +
           std::to_string(where.column);
  };
  EXPECT_EQ(place("/o/x"), "base.json:2:9");
  EXPECT_EQ(place("/o/y"), "base.json:3:9");
  EXPECT_EQ(place("/o/y/0"), "base.json:3:15");
  EXPECT_EQ(place("/o/y/1"), "base.json:3:19");
  EXPECT_EQ(place("/o/y/2"), "base.json:3:26");
  EXPECT_EQ(place("/o/y/3"), "base.json:4:2");
  EXPECT_EQ(place("/o/y/4"), "base.json:4:9");
  EXPECT_EQ(place("/o/y/5"), "base.json:4:15");
  EXPECT_EQ(place("/o/y/6"), "base.json:4:23");
  EXPECT_EQ(place("/o"), "main.json:3:1");
  EXPECT_EQ(place("/ka"), "main.json:2:2");
  EXPECT_EQ(place("/z"), "main.json:2:18") << "columns count characters";
  EXPECT_EQ(place("/not/here"), "main.json:1:9") << "the nearest value around it";
  document.set("/z=2");
  EXPECT_EQ(document.where("/z").line, 0);
}

TEST_F(ConfigDocumentTest, TellsAllThatWasSaidOfAValue) {
  write("base.json", R"({"seed": 1, "list": [{"a": 1}], "o": {"x": 1}})");
  Document document = load("{\"extends\": \"base.json\",\n\"seed\": 2}");
  document.set("/seed=3");
  const auto said = document.statements("/seed");
  ASSERT_EQ(said.size(), 3u);
  EXPECT_EQ(said[0].value, 1);
  EXPECT_EQ(said[0].place.line, 1);
  EXPECT_EQ(said[1].origin.label, document.path());
  EXPECT_EQ(said[1].place.line, 2);
  EXPECT_EQ(said[2].origin.label, "--set");
  EXPECT_TRUE(document.statements("/other").empty());
  document.set("/list/0/a=5");
  EXPECT_EQ(document.statements("/list/0/a").size(), 2u);
  EXPECT_EQ(document.statements("/list").back().pointer, "/list/0/a") << "a part of it";
  document.set("/list=[{}]");
  EXPECT_TRUE(document.statements("/list/0/a").empty()) << "gone with the list";
  document.set("/o={}");
  EXPECT_TRUE(document.statements("/o/x").empty());
}

TEST_F(ConfigDocumentTest, StagesAreAddressedByName) {
  Document document = load(
      R"({"p": [{"masker": "sink"}, {"masker": "sink", "name": "far"}, {"masker": "x"}, {"masker": "x"}]})");
  document.set("/p/far/n=1");
  document.set("/p/sink/n=2");
  EXPECT_EQ(document.root()["p"][1]["n"], 1);
  EXPECT_EQ(document.root()["p"][0]["n"], 2);
  EXPECT_EQ(document.origin("/p/1/n").label, "--set");
  EXPECT_REFUSED(document.set("/p/x/n=1"), "two list elements have this name");
  EXPECT_REFUSED(document.set("/p/fra/n=1"), "did you mean \"far\"?");
}

TEST_F(ConfigDocumentTest, TheSchemaForEditorsIsLeftOut) {
  EXPECT_EQ(load(R"({"$schema": "s.json", "a": 1})").root(), Json::parse(R"({"a": 1})"));
}

TEST_F(ConfigDocumentTest, NumbersTooLargeForADoubleAreErrorsOfTheFile) {
  EXPECT_REFUSED(load("{\"a\": 1e999}"), "main.json");
}

TEST_F(ConfigDocumentTest, TheTopIsAnObject) {
  for (const char* text : {"[]", "[{\"a\": 1}]", "1", "\"a\"", "null", "true"}) {
    EXPECT_REFUSED(load(text), "a config is a JSON object");
  }
}

TEST_F(ConfigDocumentTest, DuplicateKeysAreErrorsAtAnyDepth) {
  EXPECT_REFUSED(load(R"({"a": 1, "a": 2})"), "the key \"a\" appears twice");
  EXPECT_REFUSED(load(R"({"x": [{"b": {"c": 1, "d": 2, "c": 1}}]})"), "the key \"c\" appears twice");
  EXPECT_EQ(load(R"({"a": {"k": 1}, "b": {"k": 2}, "c": [{"k": 3}, {"k": 4}]})").root().size(), 3u);
}

std::string nested(int levels) {
  return "{\"a\":" + std::string(static_cast<size_t>(levels), '[') +
         std::string(static_cast<size_t>(levels), ']') + "}";
}

TEST_F(ConfigDocumentTest, NestingIsLimited) {
  EXPECT_EQ(io::refusal([&] { load(nested(60)); }), "");
  for (int levels : {70, 1000, 300000})
    EXPECT_REFUSED(load(nested(levels)), "nested more than 64 levels deep");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_REFUSED(load(objects + "1" + std::string(100000, '}')), "nested more than 64 levels deep");
  EXPECT_THROW(load(objects), base::UserError) << "cut in the middle";
}

TEST_F(ConfigDocumentTest, PointersNestNoDeeperThanFiles) {
  for (const std::string step : {"/a", "/-"}) {
    std::string pointer = "/x";
    for (int i = 0; i < 64; ++i) pointer += step;
    Document document;
    EXPECT_REFUSED(document.set(pointer + "=1"), "nested more than 64 levels deep");
    EXPECT_EQ(document.root(), Json::object());
  }
}

TEST_F(ConfigDocumentTest, ARefusedAssignmentChangesNothing) {
  Document document = load(R"({"pipelines": {"main": [{"masker": "sink"}]}})");
  const Json before = document.root();
  EXPECT_REFUSED(document.set("/pipelines/mian/0/masker=local"), "there is no list \"mian\"");
  EXPECT_REFUSED(document.set("/pipelines/mian/0/masker=local"), "did you mean \"main\"?");
  EXPECT_EQ(document.root(), before);
}

TEST_F(ConfigDocumentTest, PlacesOfLongPointersTakeBoundedMemory) {
  std::string list = "[0";
  for (int i = 0; i < 50000; ++i) list += ",0";
  // Each pointer would be a megabyte: 50 GB.
  const Document document = load("{\"" + std::string(1 << 20, 'a') + "\": " + list + "], \"b\": 1}");
  EXPECT_EQ(document.root()["b"], 1);
}

TEST_F(ConfigDocumentTest, MembersOfAnObjectAreLimited) {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":0";
  EXPECT_REFUSED(load("{" + text + "}"), "an object has more than 1024 members");
}

TEST_F(ConfigDocumentTest, MissingFilesAndFoldersAreErrors) {
  EXPECT_REFUSED(Document::load(folder_ / "missing.json"), "missing.json");
  EXPECT_THROW(Document::load(folder_.path()), base::UserError);
}

TEST_F(ConfigDocumentTest, ExtendsMergesObjectsDeeplyAndReplacesTheRest) {
  write("base.json", R"({"o": {"x": 1, "y": {"p": 1, "q": 2}}, "list": [1, 2, 3], "s": "base", "only": true,
                         "object_to_scalar": {"a": 1}, "scalar_to_object": 1, "kept": {"a": 1}})");
  const Document document =
      load(R"({"extends": "base.json", "o": {"y": {"q": 3, "r": 4}}, "list": [9], "s": null,
                                     "object_to_scalar": 5, "scalar_to_object": {"b": 2}, "kept": {}, "new": {}})");
  EXPECT_EQ(
      document.root(),
      Json::parse(R"({"o": {"x": 1, "y": {"p": 1, "q": 3, "r": 4}}, "list": [9], "s": null, "only": true,
                            "object_to_scalar": 5, "scalar_to_object": {"b": 2}, "kept": {"a": 1}, "new": {}})"));
}

TEST_F(ConfigDocumentTest, LaterBasesWinAndTheFileWinsOverAll) {
  write("deep/first.json", R"({"a": 1, "b": 1, "c": 1, "d": 1, "extends": "root.json"})");
  write("deep/root.json", R"({"a": 0, "e": 0})");
  write("second.json", R"({"b": 2, "c": 2})");
  const Document document = load(R"({"c": 3, "extends": ["deep/first.json", "second.json"]})");
  EXPECT_EQ(document.root(), Json::parse(R"({"a": 1, "e": 0, "b": 2, "c": 3, "d": 1})"));
  EXPECT_FALSE(document.root().contains("extends"));
}

TEST_F(ConfigDocumentTest, ExtendsMistakesAreNamed) {
  EXPECT_REFUSED(load(R"({"extends": "main.json"})"), "it extends itself");
  write("b.json", R"({"extends": "sub/../main.json"})");
  std::filesystem::create_directory(folder_ / "sub");
  EXPECT_REFUSED(load(R"({"extends": "b.json"})"), "it extends itself");
  EXPECT_REFUSED(load(R"({"extends": 3})"), "/extends: \"extends\" has the wrong type");
  write("plain.json", "{}");
  EXPECT_REFUSED(load(R"({"extends": ["plain.json", null]})"), "a path or a list of paths");
  EXPECT_REFUSED(load(R"({"extends": "missing.json"})"), "missing.json");
  write("bad.json", "{\n\"a\": }");
  EXPECT_REFUSED(load(R"({"extends": "bad.json"})"), "bad.json:2:6: not valid JSON");
}

TEST_F(ConfigDocumentTest, ADiamondOfBasesIsNoCircle) {
  write("root.json", R"({"a": 1})");
  write("left.json", R"({"extends": "root.json", "b": 1})");
  write("right.json", R"({"extends": "root.json", "c": 1})");
  EXPECT_EQ(load(R"({"extends": ["left.json", "right.json"]})").root(),
            Json::parse(R"({"a": 1, "b": 1, "c": 1})"));
}

/// Each file extends the next one twice: n files are 2^n reads. 40 of them would keep the host busy for
/// weeks.
TEST_F(ConfigDocumentTest, ExtendsCannotExplode) {
  constexpr int files = 13;
  for (int i = 0; i < files; ++i) {
    const std::string next = "f" + std::to_string(i + 1) + ".json";
    write("f" + std::to_string(i) + ".json", "{\"extends\": [\"" + next + "\", \"" + next + "\"]}");
  }
  write("f" + std::to_string(files) + ".json", "{}");
  EXPECT_THROW(Document::load(folder_ / "f0.json"), base::UserError);
}

TEST_F(ConfigDocumentTest, EveryValueKnowsItsOrigin) {
  const std::string base_path =
      write("sub/base.json", R"({"o": {"x": "p", "y": 1}, "list": [{"a": 1}], "s": 1})");
  Document document = load(R"({"extends": "sub/base.json", "o": {"y": 2}, "s": {"t": 1}, "none": {}})");
  const std::string main_path = folder_ / "main.json";
  EXPECT_EQ(document.origin("/o/x").label, base_path);
  EXPECT_EQ(document.origin("/o/y").label, main_path);
  EXPECT_EQ(document.origin("/list/0/a").label, base_path)
      << "members of a list come from where the list does";
  EXPECT_EQ(document.origin("/s/t").label, main_path);
  EXPECT_EQ(document.origin("/none").label, main_path);
  EXPECT_EQ(document.resolve_path("/o/x", "data.npz"), folder_ / "sub/data.npz");
  EXPECT_EQ(document.resolve_path("/o/y", "../data.npz"),
            (std::filesystem::path(folder_.path()).parent_path() / "data.npz").string());
  EXPECT_EQ(document.resolve_path("/o/x", "/absolute"), "/absolute");
  EXPECT_EQ(document.where("/o/x").file, base_path);
  EXPECT_EQ(document.where("/o/x").pointer, "/o/x");
  EXPECT_EQ(document.where("/nothing/here").pointer, "/nothing/here");

  document.set("/o/x=\"mine\"");
  EXPECT_EQ(document.origin("/o/x").label, "--set");
  EXPECT_EQ(document.origin("/o/y").label, main_path);
  EXPECT_EQ(document.resolve_path("/o/x", "data.npz"),
            (std::filesystem::current_path() / "data.npz").string());
  document.set("/o={\"x\": 1}");
  EXPECT_EQ(document.origin("/o/x").label, "--set") << "older origins inside a replaced value are forgotten";
}

TEST_F(ConfigDocumentTest, ANamesPrefixIsNotItsParent) {
  write("base.json", R"({"in": {"a": 1}, "input": {"b": 1}})");
  Document document = load(R"({"extends": "base.json"})");
  document.set("/in={\"c\": 2}");
  EXPECT_EQ(document.origin("/in/c").label, "--set");
  EXPECT_EQ(document.origin("/input/b").label, folder_ / "base.json");
}

TEST_F(ConfigDocumentTest, SetTakesJsonOrElseText) {
  Document document;
  for (const char* assignment : {"/a=1", "/b=0.5", "/c=true", "/d=\"quoted\"", "/e=plain words", "/f=[1, 2]",
                                 "/g={\"h\": null}", "/i=10%", "/j=", "/k=a=b", "/o/p/q=deep"}) {
    document.set(assignment);
  }
  EXPECT_EQ(document.root(),
            Json::parse(R"({"a": 1, "b": 0.5, "c": true, "d": "quoted", "e": "plain words", "f": [1, 2],
                            "g": {"h": null}, "i": "10%", "j": "", "k": "a=b", "o": {"p": {"q": "deep"}}})"));
}

TEST_F(ConfigDocumentTest, SetWalksListsByIndexAndAppends) {
  Document document = load(R"({"list": [{"a": 1}, {"a": 2}], "scalar": 1})");
  document.set("/list/1/a=5");
  document.set("/list/-={\"a\": 3}");
  document.set("/list/0/b/c=7");
  EXPECT_EQ(document.root()["list"], Json::parse(R"([{"a": 1, "b": {"c": 7}}, {"a": 5}, {"a": 3}])"));
  EXPECT_REFUSED(document.set("/list/3=1"), "0 to 2, or - (append)");
  EXPECT_REFUSED(document.set("/list/x=1"), "no such list element");
  EXPECT_REFUSED(document.set("/list/-1=1"), "no such list element");
  EXPECT_REFUSED(document.set("/list/99999999999999999999=1"), "no such list element");
  EXPECT_REFUSED(document.set("/scalar/x=1"), "has no members");
}

TEST_F(ConfigDocumentTest, AnAppendedElementComesFromTheCommandLine) {
  Document document = load(R"({"list": ["a"]})");
  document.set("/list/-=data.npz");
  EXPECT_EQ(document.origin("/list/1").label, "--set");
  EXPECT_EQ(document.origin("/list/0").label, folder_ / "main.json");
  EXPECT_EQ(document.resolve_path("/list/1", "data.npz"),
            (std::filesystem::current_path() / "data.npz").string());
}

TEST_F(ConfigDocumentTest, PointersEscapeSlashAndTilde) {
  EXPECT_EQ(escape("a/b~c"), "a~1b~0c");
  EXPECT_EQ(escape("~1"), "~01");
  Document document;
  for (const std::string key : {"a/b", "~", "~1", "~0", "a~/b", "", " "}) {
    document.set("/" + escape(key) + "=1");
    EXPECT_TRUE(document.root().contains(key)) << key;
    EXPECT_EQ(document.origin("/" + escape(key)).label, "--set");
  }
}

TEST_F(ConfigDocumentTest, MalformedAssignmentsAreRefused) {
  Document document;
  for (const char* assignment : {"", "a=1", "/a", "=1", "a"}) {
    EXPECT_REFUSED(document.set(assignment), "--set needs /pointer=value");
  }
}

TEST_F(ConfigDocumentTest, SetIsAsStrictAsFiles) {
  Document document;
  EXPECT_THROW(document.set(R"(/a={"k": 1, "k": 2})"), base::UserError) << "a duplicate key";
  EXPECT_THROW(document.set("/a=" + nested(70)), base::UserError)
      << "too deep: printing it would overflow the stack";
  EXPECT_THROW(document.set("/a=\xff"), base::UserError) << "not UTF-8: no record could ever be written";
  EXPECT_THROW(document.set("/\xff=1"), base::UserError);
}

}  // namespace
}  // namespace attnlab::config
