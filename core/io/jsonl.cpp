#include "core/io/jsonl.hpp"

#include <unistd.h>

namespace attnlab::io {

JsonlWriter::JsonlWriter(const std::string& path) : output_(path, OutputFile::Mode::append, path) {
  char last = '\n';
  off_t size = ::lseek(output_.descriptor(), 0, SEEK_END);
  if (size > 0 && ::pread(output_.descriptor(), &last, 1, size - 1) == 1 && last != '\n') output_.write("\n");
}

void JsonlWriter::append(const Json& record) {
  std::string line = io::line_text(record) + "\n";
  std::lock_guard lock(mutex_);
  output_.write(line);
}

}  // namespace attnlab::io
