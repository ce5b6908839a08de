// Search order, shadowed and refused files, and the cache of probes.
#include "core/plugin/catalog.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::plugin {
namespace {

namespace fs = std::filesystem;

std::string built(const std::string& id) {
  return std::string(ATTNLAB_PLUGINS) + "/" + id + ".so";
}

class PluginCatalogTest : public ::testing::Test {
 protected:
  /// A copy of a built plugin in `folder` (made when missing), under any name.
  std::string install(const std::string& id, const std::string& folder, const std::string& name) {
    fs::create_directories(folder_ / folder);
    const std::string path = folder_ / (folder + "/" + name);
    fs::copy_file(built(id), path, fs::copy_options::overwrite_existing);
    return fs::canonical(path);
  }

  /// A program that counts its calls in `calls` and then runs the real one.
  std::string counting_program() {
    const std::string path = folder_ / "program";
    io::write_bytes(
        path, "#!/bin/sh\necho call >> '" + (folder_ / "calls") + "'\nexec '" ATTNLAB_PROGRAM "' \"$@\"\n");
    ::chmod(path.c_str(), 0755);
    return path;
  }
  int64_t calls() {
    const std::string text = io::read_bytes(folder_ / "calls");
    return std::count(text.begin(), text.end(), '\n');
  }

  io::TemporaryFolder folder_;
  ScopedVariable cache_{"XDG_CACHE_HOME", folder_ / "cache"};
  ScopedVariable no_path_{"ATTNLAB_PLUGIN_PATH", ""};
};

std::vector<std::string> files_of(const std::vector<CatalogEntry>& entries) {
  std::vector<std::string> files;
  for (const auto& entry : entries) files.push_back(entry.file);
  return files;
}

TEST_F(PluginCatalogTest, SearchesCommandLineEnvironmentConfigAndPrefix) {
  const ScopedVariable variable("ATTNLAB_PLUGIN_PATH", "/e1::/e2:");
  const SearchPath search = search_path({"/f/x.so"}, {"/c1", "/c2"}, {"/k"}, "/p/bin/attnlab");
  EXPECT_EQ(search.files, std::vector<std::string>{"/f/x.so"});
  std::vector<std::string> folders;
  for (const auto& folder : search.folders) folders.push_back(folder.path + " by " + folder.origin);
  EXPECT_EQ(folders, (std::vector<std::string>{
                         "/c1 by --plugin-path", "/c2 by --plugin-path", "/e1 by $ATTNLAB_PLUGIN_PATH",
                         "/e2 by $ATTNLAB_PLUGIN_PATH", "/k by plugin_path of the config",
                         "/p/lib/attnlab/plugins by built in", "/p/plugins by built in"}))
      << "an empty entry of the variable is not the current directory";
}

TEST_F(PluginCatalogTest, TheFirstFileThatHoldsAnIdWins) {
  const std::string first = install("sink", "one", "z.so");
  const std::string second = install("sink", "two", "a.so");
  const std::string third = install("sink", "two", "b.so");
  const std::string other = install("local", "two", "c.so");
  SearchPath search{{}, {{folder_ / "one", ""}, {folder_ / "two", ""}}};
  const Catalog catalog = Catalog::scan(search, ATTNLAB_PROGRAM);
  ASSERT_NE(catalog.find("sink"), nullptr);
  EXPECT_EQ(catalog.find("sink")->file, first);
  EXPECT_EQ(catalog.find("local")->file, other);
  EXPECT_EQ(files_of(catalog.shadowed()), (std::vector<std::string>{second, third}));
  EXPECT_EQ(catalog.ids(), (std::vector<std::string>{"local", "sink"}));
  EXPECT_EQ(catalog.find("no_such"), nullptr);
  EXPECT_TRUE(catalog.refused().empty());

  search.files = {third};
  EXPECT_EQ(Catalog::scan(search, ATTNLAB_PROGRAM).find("sink")->file, third)
      << "--plugin comes before all folders";
}

TEST_F(PluginCatalogTest, AFileReachedTwiceShadowsNothing) {
  install("sink", "one", "sink.so");
  fs::create_directory_symlink(folder_ / "one", folder_ / "link");
  const Catalog catalog = Catalog::scan(
      {{}, {{folder_ / "one", ""}, {folder_ / "link", ""}, {folder_ / "one/", ""}}}, ATTNLAB_PROGRAM);
  EXPECT_EQ(catalog.entries().size(), 1u);
  EXPECT_TRUE(catalog.shadowed().empty());
}

TEST_F(PluginCatalogTest, BadFilesOfAFolderAreRememberedWithTheirReason) {
  install("sink", "one", "good.so");
  const std::string bytes = io::read_bytes(built("sink"));
  io::write_bytes(folder_ / "one/cut.so", bytes.substr(0, bytes.size() / 2));
  io::write_bytes(folder_ / "one/text.so", "not a library");
  io::write_bytes(folder_ / "one/ignored.txt", "not looked at");
  fs::create_directories(folder_ / "one/folder.so");
  ASSERT_EQ(::mkfifo((folder_ / "one/pipe.so").c_str(), 0600), 0);
  fs::create_symlink(folder_ / "nowhere", folder_ / "one/dangling.so");
  // The right note around code that is gone: only the child may die of it.
  std::string hollow = bytes;
  std::fill(hollow.begin() + 4096,
            hollow.begin() + static_cast<int64_t>(std::min<size_t>(hollow.size(), 16384)), '\0');
  io::write_bytes(folder_ / "one/hollow.so", hollow);

  const Catalog catalog =
      Catalog::scan({{}, {{folder_ / "one", ""}, {folder_ / "no_such_folder", ""}}}, ATTNLAB_PROGRAM);
  EXPECT_NE(catalog.find("sink"), nullptr);
  std::map<std::string, std::string> reasons;
  for (const auto& file : catalog.refused()) reasons[fs::path(file.path).filename()] = file.refused;
  EXPECT_EQ(reasons["text.so"], "not an ELF file");
  EXPECT_EQ(reasons["folder.so"], "it is a folder: --plugin-path takes folders");
  EXPECT_EQ(reasons["pipe.so"], "not a regular file");
  EXPECT_NE(reasons["cut.so"].find("truncated"), std::string::npos) << reasons["cut.so"];
  EXPECT_NE(reasons["dangling.so"].find("cannot open"), std::string::npos) << reasons["dangling.so"];
  EXPECT_NE(reasons["hollow.so"], "");
  EXPECT_EQ(reasons.count("ignored.txt"), 0u);
  EXPECT_EQ(reasons.count("good.so"), 0u);
}

TEST_F(PluginCatalogTest, ABadFileNamedByTheUserIsAnError) {
  io::write_bytes(folder_ / "text.so", "not a library");
  for (const std::string& file : {folder_ / "text.so", folder_ / "missing.so"}) {
    try {
      Catalog::scan({{file}, {}}, ATTNLAB_PROGRAM);
      ADD_FAILURE() << file;
    } catch (const base::UserError& error) {
      EXPECT_EQ(error.exit(), base::Exit::plugin_missing);
      EXPECT_EQ(error.mistake().file, file);
    }
  }
}

TEST_F(PluginCatalogTest, ANoteOfAnotherAbiIsRefusedWithoutRunningTheFile) {
  std::string bytes = io::read_bytes(built("sink"));
  const size_t at = bytes.find(std::string("attnlab\0ATNL", 12));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 16] = 77;  // abi_minor
  io::write_bytes(folder_ / "old.so", bytes);
  const ProbedFile file = probe(folder_ / "old.so", counting_program());
  EXPECT_NE(file.refused.find("plugin ABI 0.77"), std::string::npos) << file.refused;
  EXPECT_EQ(file.note.ids, std::vector<std::string>{"sink"}) << "the note still says what it holds";
  EXPECT_EQ(calls(), 0);
}

TEST_F(PluginCatalogTest, ProbesAreCachedUntilTheFileChanges) {
  const std::string program = counting_program();
  const std::string file = install("sink", "one", "a.so");
  EXPECT_EQ(probe(file, program).methods.at(0).id, "sink");
  EXPECT_EQ(calls(), 1);
  const ProbedFile again = probe(file, program);
  EXPECT_EQ(calls(), 1);
  ASSERT_EQ(again.methods.size(), 1u);
  EXPECT_EQ(to_json(again.methods[0]), to_json(probe(built("sink"), ATTNLAB_PROGRAM).methods.at(0)));

  install("local", "one", "a.so");
  EXPECT_EQ(probe(file, program).methods.at(0).id, "local");
  EXPECT_EQ(calls(), 2);

  // Same content and size, another time: it may have been built again.
  const timespec times[2] = {{1000, 5}, {1000, 5}};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  EXPECT_EQ(probe(file, program).methods.at(0).id, "local");
  EXPECT_EQ(calls(), 3);
}

TEST_F(PluginCatalogTest, ADamagedCacheMeansAFreshProbe) {
  const std::string program = counting_program();
  const std::string file = install("sink", "one", "a.so");
  probe(file, program);
  ASSERT_EQ(calls(), 1);
  std::string cached;
  for (const auto& entry : fs::directory_iterator(folder_ / "cache/attnlab")) cached = entry.path();
  for (const char* content : {"", "{", "[]", "7", "{}", "{\"methods\": 1}",
                              "{\"methods\": [{\"id\": \"sink\"}]}", "{\"refused\": 3}"}) {
    io::write_bytes(cached, content);
    const ProbedFile probed = probe(file, program);
    EXPECT_EQ(probed.refused, "") << content;
    ASSERT_EQ(probed.methods.size(), probed.refused.empty() ? 1u : 0u) << content;
  }
}

TEST_F(PluginCatalogTest, WorksWithoutAPlaceForTheCache) {
  const std::string file = install("sink", "one", "a.so");
  io::write_bytes(folder_ / "file", "");
  const ScopedVariable cache("XDG_CACHE_HOME", folder_ / "file");
  EXPECT_EQ(probe(file, ATTNLAB_PROGRAM).methods.at(0).id, "sink");
}

TEST_F(PluginCatalogTest, AProgramThatCannotRunIsAReasonNotACrash) {
  const std::string file = install("sink", "one", "a.so");
  EXPECT_NE(probe(file, folder_ / "missing").refused, "");
  EXPECT_NE(probe(file, "/bin/false").refused, "");
  EXPECT_NE(probe(file, "/bin/echo").refused, "") << "its output is not JSON";
}

struct Plain : attnlab::Masker {
  static void describe(attnlab::Description<Plain>& d) { d.id("sink").summary("Linked in."); }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};
ATTNLAB_STATIC_PLUGIN(plain_entry, Plain);

TEST_F(PluginCatalogTest, LinkedMethodsWinOverFiles) {
  const std::string file = install("sink", "one", "a.so");
  Catalog catalog = Catalog::scan({{file}, {}}, ATTNLAB_PROGRAM);
  catalog.add_static(plain_entry, "linked");
  EXPECT_EQ(catalog.find("sink")->file, "linked");
  EXPECT_EQ(catalog.find("sink")->descriptor.summary, "Linked in.");
  EXPECT_EQ(catalog.static_entry("linked"), &plain_entry);
  EXPECT_EQ(catalog.static_entry(file), nullptr);
}

}  // namespace
}  // namespace attnlab::plugin
