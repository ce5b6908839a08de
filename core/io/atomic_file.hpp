// Whole files that appear complete or not at all, and the small file helpers around them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace attnlab::io {

/// A file descriptor open for writing. Errors are UserError (Exit::failed) and name `shown`.
/// Thread safety: none; JsonlWriter adds a lock.
class OutputFile {
 public:
  enum class Mode { truncate, append };
  OutputFile(const std::string& path, Mode mode, std::string shown);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  int descriptor() const { return descriptor_; }

 private:
  std::string shown_;
  int descriptor_;
};

/// The name of a temporary in the folder of `path` that `commit` renames to `path`. The owner creates and
/// fills the temporary; destroyed without commit, the temporary is removed and an older `path` stays as it
/// was. A symbolic link at `path` is replaced, not followed.
class PendingFile {
 public:
  /// Throws UserError (Exit::failed) when the folder is missing or `path` is a folder or device.
  explicit PendingFile(std::string path);
  ~PendingFile();
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  const std::string& path() const { return path_; }
  const std::string& temporary() const { return temporary_; }
  /// Flushes the temporary to the disk, then renames it: a power cut leaves the old file or the new one.
  void commit();

 private:
  std::string path_;
  std::string temporary_;
  bool committed_ = false;
};

/// A PendingFile written from front to back.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path)
      : pending_(path), output_(pending_.temporary(), OutputFile::Mode::truncate, path) {}
  void write(const void* data, size_t size) { output_.write(data, size); }
  void write(std::string_view text) { output_.write(text); }
  void commit() { pending_.commit(); }

 private:
  PendingFile pending_;
  OutputFile output_;
};

/// Replaces `path` by `text`. Throws UserError (Exit::failed).
void write_file_atomically(const std::string& path, std::string_view text);

/// The bytes of a regular file or a pipe (`<(command)`). Throws UserError when it cannot be read or holds
/// more than `max_bytes`.
std::string read_text(const std::string& path, size_t max_bytes);

/// Makes the folder and its parents; "" is the current folder. Throws UserError (Exit::failed) naming the
/// folder when it cannot be made or written.
void create_directories(const std::string& path);

}  // namespace attnlab::io
