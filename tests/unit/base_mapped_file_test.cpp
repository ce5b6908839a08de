// Mapped files: content, and errors that name the file.
#include "core/base/mapped_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "tests/unit/io_test_support.hpp"

namespace attnlab::base {
namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

TEST(BaseMappedFile, MapsContentAndEmptyFiles) {
  const io::TemporaryFolder folder;
  io::write_bytes(folder / "a", "content");
  EXPECT_EQ(text_of(*MappedFile::open(folder / "a")), "content");
  EXPECT_EQ(MappedFile::open(folder / "a")->path(), folder / "a");
  io::write_bytes(folder / "empty", "");
  EXPECT_EQ(MappedFile::open(folder / "empty")->size(), 0u);
}

TEST(BaseMappedFile, OutlivesTheDirectoryEntry) {
  const io::TemporaryFolder folder;
  io::write_bytes(folder / "a", "content");
  auto file = MappedFile::open(folder / "a");
  std::filesystem::remove(folder / "a");
  EXPECT_EQ(text_of(*file), "content");
}

TEST(BaseMappedFile, CreatesZerosThatReachTheFile) {
  const io::TemporaryFolder folder;
  io::write_bytes(folder / "a", "older and longer");
  {
    auto file = MappedFile::create(folder / "a", 5);
    EXPECT_EQ(text_of(*file), std::string(5, '\0'));
    file->mutable_data()[1] = std::byte{'x'};
  }
  EXPECT_EQ(io::read_bytes(folder / "a"), std::string("\0x\0\0\0", 5));
  EXPECT_EQ(MappedFile::create(folder / "none", 0)->size(), 0u);
}

TEST(BaseMappedFile, RefusesWhatIsNotARegularFileByName) {
  const io::TemporaryFolder folder;
  const std::string missing = folder / "missing", fifo = folder / "fifo";
  EXPECT_EQ(io::refusal([&] { MappedFile::open(missing); }),
            missing + ": cannot open: No such file or directory");
  EXPECT_EQ(io::refusal([&] { MappedFile::open(folder.path()); }), folder.path() + ": not a regular file");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  // Must not wait for somebody to write into the pipe.
  EXPECT_EQ(io::refusal([&] { MappedFile::open(fifo); }), fifo + ": not a regular file");
  EXPECT_EQ(io::refusal([&] { MappedFile::open("/dev/null"); }), "/dev/null: not a regular file");
}

TEST(BaseMappedFile, CreationFailsAsUserErrorOfExitOne) {
  const io::TemporaryFolder folder;
  for (const std::string& path : {folder.path(), folder / "no/such/folder"}) {
    try {
      MappedFile::create(path, 8);
      ADD_FAILURE() << path;
    } catch (const UserError& error) {
      EXPECT_EQ(error.exit(), Exit::failed);
      EXPECT_EQ(error.mistake().file, path);
    }
  }
  // More than any disk holds: refused when it is reserved, not by a SIGBUS at the first write.
  EXPECT_THROW(MappedFile::create(folder / "huge", size_t{1} << 60), UserError);
}

}  // namespace
}  // namespace attnlab::base
