#include <fmt/core.h>
#include <zlib.h>

#include <cstring>

#include "core/base/error.hpp"
#include "core/io/atomic_file.hpp"
#include "core/io/npy_header.hpp"
#include "core/io/npz.hpp"
#include "core/io/raw_tensor.hpp"

namespace attnlab::io {
namespace {

constexpr uint32_t in_zip64 = 0xffffffff;
constexpr uint16_t version_plain = 20, version_zip64 = 45, made_on_unix = 3 << 8;
constexpr uint16_t flag_utf8 = 1 << 11;
// 1 January 1980, the zero of zip time.
constexpr uint16_t date = 1 << 5 | 1, time_of_day = 0;
constexpr uint32_t regular_file_0644 = 0100644u << 16;
constexpr uint16_t zip64_extra = 0x0001, padding_extra = 0xd935;
constexpr uint64_t alignment = 64;

/// Little-endian record fields, one after the other.
class Record {
 public:
  template <class Integer>
  Record& add(Integer value) {
    char raw[sizeof(value)];
    std::memcpy(raw, &value, sizeof(value));
    bytes_.append(raw, sizeof(value));
    return *this;
  }
  Record& add_text(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

struct Member {
  std::string name;
  uint32_t crc;
  uint64_t size;    ///< npy header and data, bytes
  uint64_t offset;  ///< of the local header
};

uint16_t narrow16(uint64_t value) {
  ATTNLAB_CHECK(value <= 0xffff, "zip field overflow");
  return static_cast<uint16_t>(value);
}

/// The fields that local and central headers share, from "version needed" to the lengths.
void add_common(Record& record, const Member& member, bool zip64, bool wide_size, size_t extra_size) {
  bool ascii = true;
  for (char c : member.name) ascii &= static_cast<unsigned char>(c) < 0x80;
  uint32_t size = wide_size ? in_zip64 : static_cast<uint32_t>(member.size);
  record.add(zip64 ? version_zip64 : version_plain).add<uint16_t>(ascii ? 0 : flag_utf8).add<uint16_t>(0);
  record.add(time_of_day).add(date).add(member.crc).add(size).add(size);
  record.add(narrow16(member.name.size())).add(narrow16(extra_size));
}

std::string local_header(const Member& member, bool wide) {
  Record extra;
  if (wide) extra.add(zip64_extra).add<uint16_t>(16).add(member.size).add(member.size);
  // Padding of 4 bytes or more, since a field has a 4-byte head.
  uint64_t unpadded = member.offset + 30 + member.name.size() + extra.size() + 4;
  uint64_t padding = (alignment - unpadded % alignment) % alignment;
  extra.add(padding_extra).add(narrow16(padding)).add_text(std::string(padding, '\0'));
  Record record;
  record.add<uint32_t>(0x04034b50);
  add_common(record, member, wide, wide, extra.size());
  return record.add_text(member.name).add_text(extra.bytes()).bytes();
}

std::string central_header(const Member& member, uint64_t zip64_from) {
  bool wide_size = member.size >= zip64_from, wide_offset = member.offset >= zip64_from;
  Record fields;
  if (wide_size) fields.add(member.size).add(member.size);
  if (wide_offset) fields.add(member.offset);
  Record extra;
  if (fields.size() > 0) extra.add(zip64_extra).add(narrow16(fields.size())).add_text(fields.bytes());
  Record record;
  bool zip64 = wide_size || wide_offset;
  record.add<uint32_t>(0x02014b50).add<uint16_t>(made_on_unix | (zip64 ? version_zip64 : version_plain));
  add_common(record, member, zip64, wide_size, extra.size());
  // No comment, disk 0, no internal attributes.
  record.add<uint16_t>(0).add<uint16_t>(0).add<uint16_t>(0).add(regular_file_0644);
  record.add(wide_offset ? in_zip64 : static_cast<uint32_t>(member.offset));
  return record.add_text(member.name).add_text(extra.bytes()).bytes();
}

std::string end_records(uint64_t members, uint64_t size, uint64_t offset, uint64_t zip64_from) {
  Record record;
  bool zip64 = members >= 0xffff || size >= zip64_from || offset >= zip64_from;
  if (zip64) {
    record.add<uint32_t>(0x06064b50).add<uint64_t>(44).add<uint16_t>(made_on_unix | version_zip64);
    record.add(version_zip64)
        .add<uint32_t>(0)
        .add<uint32_t>(0)
        .add(members)
        .add(members)
        .add(size)
        .add(offset);
    record.add<uint32_t>(0x07064b50).add<uint32_t>(0).add(offset + size).add<uint32_t>(1);
  }
  auto count = zip64 ? uint16_t{0xffff} : narrow16(members);
  record.add<uint32_t>(0x06054b50).add<uint32_t>(0).add(count).add(count);
  record.add(zip64 ? in_zip64 : static_cast<uint32_t>(size))
      .add(zip64 ? in_zip64 : static_cast<uint32_t>(offset));
  return record.add<uint16_t>(0).bytes();
}

}  // namespace

void write_npz(const std::string& path, std::span<const NamedTensor> tensors, uint64_t zip64_from) {
  std::vector<std::string> names;
  for (const auto& named : tensors) names.push_back(named.first);
  check_names(names, path);
  AtomicFile file(path);
  uint64_t position = 0;
  auto write = [&](std::string_view text) {
    file.write(text);
    position += text.size();
  };
  std::vector<Member> members;
  for (const auto& [name, original] : tensors) {
    tensor::Tensor tensor = as_numpy_type(original);
    std::string header = format_npy_header(tensor.dtype(), tensor.shape());
    std::string_view data(reinterpret_cast<const char*>(tensor.bytes()), tensor.byte_size());
    uLong crc = ::crc32_z(0, reinterpret_cast<const Bytef*>(header.data()), header.size());
    crc = ::crc32_z(crc, reinterpret_cast<const Bytef*>(data.data()), data.size());
    Member member{name + ".npy", static_cast<uint32_t>(crc), header.size() + data.size(), position};
    write(local_header(member, member.size >= zip64_from));
    write(header);
    write(data);
    members.push_back(std::move(member));
  }
  uint64_t directory = position;
  for (const auto& member : members) write(central_header(member, zip64_from));
  write(end_records(members.size(), position - directory, directory, zip64_from));
  file.commit();
}

}  // namespace attnlab::io
