#include "core/base/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.hpp"

namespace attnlab::base {
namespace {

[[noreturn]] void fail(const std::string& path, const char* action, Exit exit) {
  throw UserError(std::string("cannot ") + action + ": " + std::strerror(errno), {.file = path}, exit);
}

/// Closes the descriptor at the end of the scope; a mapping outlives it.
struct Descriptor {
  int fd;
  ~Descriptor() { ::close(fd); }
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // Non-blocking: opening a pipe must not wait for a writer that never comes.
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(path, "open", Exit::invalid);
  Descriptor descriptor{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0) fail(path, "stat", Exit::invalid);
  if (!S_ISREG(info.st_mode)) throw UserError("not a regular file", {.file = path});
  auto size = static_cast<size_t>(info.st_size);
  void* data = nullptr;
  if (size > 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) fail(path, "map", Exit::invalid);
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<std::byte*>(data), size));
}

std::shared_ptr<MappedFile> MappedFile::create(const std::string& path, size_t size) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) fail(path, "create", Exit::failed);
  Descriptor descriptor{fd};
  void* data = nullptr;
  if (size > 0) {
    // Reserve the blocks now: a full disk must be an error here, not a SIGBUS in a kernel later.
    if (int error = ::posix_fallocate(fd, 0, static_cast<off_t>(size)); error != 0) {
      errno = error;
      fail(path, "reserve space for", Exit::failed);
    }
    data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) fail(path, "map", Exit::failed);
  }
  return std::shared_ptr<MappedFile>(new MappedFile(path, static_cast<std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace attnlab::base
