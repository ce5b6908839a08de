#include "core/io/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>

#include "core/base/error.hpp"

namespace attnlab::io {
namespace {

[[noreturn]] void fail(const std::string& path, const char* action, int error, base::Exit exit) {
  throw base::UserError(fmt::format("cannot {}: {}", action, std::strerror(error)), {.file = path}, exit);
}

/// Random, so that processes on several machines can share a folder.
std::string temporary_name(const std::string& path) {
  std::random_device random;
  return fmt::format("{}.tmp-{:08x}{:08x}", path, random(), random());
}

}  // namespace

OutputFile::OutputFile(const std::string& path, Mode mode, std::string shown) : shown_(std::move(shown)) {
  // An appending file is opened for reading too: JsonlWriter looks at its last byte.
  int flags = mode == Mode::append ? O_RDWR | O_APPEND : O_WRONLY | O_TRUNC;
  descriptor_ = ::open(path.c_str(), flags | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail(shown_, "create", errno, base::Exit::failed);
}

OutputFile::~OutputFile() {
  ::close(descriptor_);
}

void OutputFile::write(const void* data, size_t size) {
  auto* next = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t written = ::write(descriptor_, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(shown_, "write", errno, base::Exit::failed);
    next += written;
    size -= static_cast<size_t>(written);
  }
}

PendingFile::PendingFile(std::string path) : path_(std::move(path)), temporary_(temporary_name(path_)) {
  std::error_code error;
  auto folder = std::filesystem::path(path_).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder, error)) {
    throw base::UserError("cannot create: its folder does not exist",
                          {.file = path_, .found = "no folder " + folder.string()}, base::Exit::failed);
  }
  // The rename would replace a device such as /dev/null by a regular file.
  auto status = std::filesystem::status(path_, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw base::UserError("cannot replace: not a regular file", {.file = path_}, base::Exit::failed);
  }
}

PendingFile::~PendingFile() {
  if (!committed_) ::unlink(temporary_.c_str());
}

void PendingFile::commit() {
  int descriptor = ::open(temporary_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path_, "flush", errno, base::Exit::failed);
  int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (error != 0) fail(path_, "flush", error, base::Exit::failed);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "create", errno, base::Exit::failed);
  committed_ = true;
}

void write_file_atomically(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_text(const std::string& path, size_t max_bytes) {
  // O_NONBLOCK: opening a named pipe that nobody writes must not wait for ever.
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail(path, "open", errno, base::Exit::invalid);
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } closer{descriptor};
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) fail(path, "stat", errno, base::Exit::invalid);
  if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode)) {
    throw base::UserError("not a regular file or a pipe", {.file = path});
  }
  if (::fcntl(descriptor, F_SETFL, 0) != 0) fail(path, "read", errno, base::Exit::invalid);
  std::string text;
  size_t used = 0;
  for (;;) {
    text.resize(used + 65536);
    ssize_t count = ::read(descriptor, text.data() + used, text.size() - used);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, "read", errno, base::Exit::invalid);
    if (count == 0) break;
    used += static_cast<size_t>(count);
    if (used > max_bytes) {
      throw base::UserError("the file is too large",
                            {.file = path, .allowed = fmt::format("{} bytes", max_bytes)});
    }
  }
  text.resize(used);
  return text;
}

void create_directories(const std::string& path) {
  const std::string folder = path.empty() ? "." : path;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(folder, "create the folder", error.value(), base::Exit::failed);
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    fail(folder, "write to the folder", errno, base::Exit::failed);
}

}  // namespace attnlab::io
