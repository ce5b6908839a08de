#include "core/io/atomic_file.hpp"

#include <sys/stat.h>

#include "tests/unit/io_test_support.hpp"

namespace attnlab::io {
namespace {

base::Exit exit_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::UserError& error) {
    return error.exit();
  }
  return base::Exit::ok;
}

TEST(AtomicFile, ReplacesAWholeFile) {
  TemporaryFolder folder;
  write_file_atomically(folder / "t", "first");
  write_file_atomically(folder / "t", std::string("second\0", 7));
  EXPECT_EQ(read_bytes(folder / "t"), std::string("second\0", 7));
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(AtomicFile, KeepsTheOldFileWithoutCommit) {
  TemporaryFolder folder;
  write_file_atomically(folder / "t", "old");
  {
    AtomicFile file(folder / "t");
    file.write("half of the n");
    EXPECT_EQ(read_bytes(folder / "t"), "old");
    EXPECT_EQ(folder.file_count(), 2u);
  }
  EXPECT_EQ(folder.file_count(), 1u);
  EXPECT_EQ(read_bytes(folder / "t"), "old");
}

TEST(AtomicFile, RefusesMissingFoldersPipesAndDevices) {
  TemporaryFolder folder;
  EXPECT_EQ(exit_of([&] { write_file_atomically(folder / "no/t", ""); }), base::Exit::failed);
  EXPECT_EQ(exit_of([&] { write_file_atomically(folder.path(), ""); }), base::Exit::failed);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(exit_of([&] { write_file_atomically(folder / "pipe", ""); }), base::Exit::failed);
  EXPECT_TRUE(std::filesystem::is_fifo(folder / "pipe"));
  EXPECT_EQ(exit_of([&] { write_file_atomically(folder / std::string(300, 'x'), ""); }), base::Exit::failed);
}

TEST(AtomicFile, SaysThatTheDiskIsFull) {
  OutputFile file("/dev/full", OutputFile::Mode::append, "results.jsonl");
  std::string message = refusal([&] { file.write("x"); });
  EXPECT_NE(message.find("results.jsonl"), std::string::npos);
  EXPECT_NE(message.find("No space left"), std::string::npos);
}

TEST(ReadText, ReadsUpToTheLimit) {
  TemporaryFolder folder;
  std::string text(100'000, 'x');
  write_bytes(folder / "t", text);
  EXPECT_EQ(read_text(folder / "t", 100'000), text);
  EXPECT_NE(refusal([&] { read_text(folder / "t", 99'999); }).find("99999 bytes"), std::string::npos);
  write_bytes(folder / "empty", "");
  EXPECT_EQ(read_text(folder / "empty", 0), "");
}

TEST(ReadText, NeitherHangsOnPipesNorReadsDevices) {
  TemporaryFolder folder;
  EXPECT_NE(refusal([&] { read_text(folder / "none", 10); }).find("none"), std::string::npos);
  EXPECT_NE(refusal([&] { read_text(folder.path(), 10); }), "");
  EXPECT_NE(refusal([] { read_text("/dev/zero", 10); }), "");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_text(folder / "pipe", 10), "");
}

TEST(CreateDirectories, MakesParentsAndNamesFailures) {
  TemporaryFolder folder;
  create_directories(folder / "a/b/c");
  create_directories(folder / "a/b/c/");
  EXPECT_TRUE(std::filesystem::is_directory(folder / "a/b/c"));
  create_directories("");
  write_bytes(folder / "file", "");
  EXPECT_EQ(exit_of([&] { create_directories(folder / "file/x"); }), base::Exit::failed);
  EXPECT_EQ(exit_of([&] { create_directories(folder / "file"); }), base::Exit::failed);
  // Not even root may make a folder there.
  std::string message = refusal([] { create_directories("/proc/attnlab"); });
  EXPECT_NE(message.find("/proc/attnlab: cannot create the folder: "), std::string::npos);
}

}  // namespace
}  // namespace attnlab::io
