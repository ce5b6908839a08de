#include "core/io/npz.hpp"

#include <fmt/core.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

#include "core/base/error.hpp"
#include "core/base/mapped_file.hpp"
#include "core/io/npy.hpp"
#include "core/io/raw_tensor.hpp"

namespace attnlab::io {
namespace {

// Record layouts and signatures: PKWARE APPNOTE 6.3, section 4.3.
constexpr uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50;
constexpr uint32_t end64_signature = 0x06064b50, locator64_signature = 0x07064b50;
constexpr uint64_t local_size = 30, central_size = 46, end_size = 22, end64_size = 56, locator64_size = 20;
constexpr uint16_t method_stored = 0, method_deflated = 8;
constexpr uint16_t flag_encrypted = 1 << 0, flag_masked = 1 << 13;
constexpr uint16_t zip64_extra = 1;
constexpr uint32_t in_zip64 = 0xffffffff;

/// Deflate codes at most 258 bytes in 2 bits; a declared size beyond this is a lie.
constexpr uint64_t max_deflate_ratio = 1032;

/// Larger stored members are mapped without a checksum: it would read every page of arrays that are mapped so
/// that only the pages in use are read.
constexpr uint64_t max_checked_stored_bytes = 64 << 20;

}  // namespace

NpzFile::NpzFile(std::shared_ptr<const void> storage, std::span<const std::byte> bytes,
                 const std::string& path)
    : storage_(std::move(storage)), bytes_(bytes), path_(path) {
  read_directory(find_directory());
  check_names(names_, path_);
  check_overlaps();
}

NpzFile NpzFile::open(const std::string& path) {
  auto file = base::MappedFile::open(path);
  return NpzFile(file, {file->data(), file->size()}, path);
}

template <class Integer>
Integer NpzFile::load(uint64_t offset) const {
  if (offset > bytes_.size() || bytes_.size() - offset < sizeof(Integer)) {
    refuse("truncated zip file", "", fmt::format("{} bytes", bytes_.size()),
           fmt::format("a field at {}", offset));
  }
  Integer value;
  std::memcpy(&value, bytes_.data() + offset, sizeof(value));
  return value;
}

std::string NpzFile::text(uint64_t offset, uint64_t size) const {
  if (offset > bytes_.size() || bytes_.size() - offset < size) {
    refuse("truncated zip file", "", fmt::format("{} bytes", bytes_.size()),
           fmt::format("a name at {}", offset));
  }
  return std::string(reinterpret_cast<const char*>(bytes_.data() + offset), size);
}

void NpzFile::refuse(const std::string& summary, const std::string& member, std::string found,
                     std::string allowed) const {
  throw base::UserError(summary, {.file = path_,
                                  .pointer = member.empty() ? "" : printable(member),
                                  .found = std::move(found),
                                  .allowed = std::move(allowed)});
}

uint64_t NpzFile::find_end_record() const {
  // The end record closes the file, but for a comment of at most 65535 bytes whose length it states.
  for (uint64_t comment = 0; comment <= 0xffff && comment + end_size <= bytes_.size(); ++comment) {
    uint64_t offset = bytes_.size() - end_size - comment;
    if (load<uint32_t>(offset) == end_signature && load<uint16_t>(offset + 20) == comment) return offset;
  }
  refuse("not a zip file, or truncated", "", fmt::format("{} bytes without an end record", bytes_.size()));
}

NpzFile::Directory NpzFile::find_directory() const {
  uint64_t end = find_end_record();
  uint64_t limit = end;
  uint32_t disks = load<uint32_t>(end + 4);
  Directory directory{load<uint16_t>(end + 10), load<uint32_t>(end + 12), load<uint32_t>(end + 16)};
  if (end >= locator64_size && load<uint32_t>(end - locator64_size) == locator64_signature) {
    uint64_t end64 = load<uint64_t>(end - locator64_size + 8);
    if (end64 > end - locator64_size || end - locator64_size - end64 < end64_size ||
        load<uint32_t>(end64) != end64_signature) {
      refuse("bad zip64 end record", "", fmt::format("offset {}", end64));
    }
    limit = end64;
    disks = load<uint32_t>(end64 + 16) | load<uint32_t>(end64 + 20);
    directory = {load<uint64_t>(end64 + 32), load<uint64_t>(end64 + 40), load<uint64_t>(end64 + 48)};
  }
  if (disks != 0) refuse("split zip archives are not read", "");
  if (directory.offset > limit || limit - directory.offset != directory.size ||
      directory.members > directory.size / central_size) {
    refuse("bad zip directory", "",
           fmt::format("{} members in {} bytes at {}", directory.members, directory.size, directory.offset),
           fmt::format("a directory that ends at byte {}", limit));
  }
  return directory;
}

void NpzFile::read_directory(const Directory& directory) {
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.members; ++i) {
    if (load<uint32_t>(at) != central_signature) refuse("bad zip directory", "", fmt::format("entry {}", i));
    uint16_t flags = load<uint16_t>(at + 8);
    Member member{load<uint16_t>(at + 10), load<uint32_t>(at + 16), load<uint32_t>(at + 20),
                  load<uint32_t>(at + 24), load<uint32_t>(at + 42), 0};
    uint64_t name_size = load<uint16_t>(at + 28);
    uint64_t extra_size = load<uint16_t>(at + 30);
    std::string name = text(at + central_size, name_size);
    read_zip64_sizes(member, name, at + central_size + name_size, extra_size);
    at += central_size + name_size + extra_size + load<uint16_t>(at + 32);
    if ((flags & (flag_encrypted | flag_masked)) != 0) refuse("encrypted members are not read", name);
    if (member.method != method_stored && member.method != method_deflated) {
      refuse("unknown compression method", name, std::to_string(member.method), "0 (stored) or 8 (deflate)");
    }
    locate_data(member, name, directory.offset);
    if (name.ends_with('/')) continue;  // a folder
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    names_.push_back(std::move(name));
    members_.push_back(member);
  }
  if (at != directory.offset + directory.size) refuse("bad zip directory", "", "bytes after its last entry");
}

void NpzFile::read_zip64_sizes(Member& member, const std::string& name, uint64_t offset,
                               uint64_t size) const {
  uint64_t* wide[] = {&member.size, &member.compressed_size, &member.header_offset};
  if (std::none_of(std::begin(wide), std::end(wide), [](uint64_t* field) { return *field == in_zip64; }))
    return;
  for (uint64_t end = offset + size; offset + 4 <= end;) {
    uint16_t id = load<uint16_t>(offset);
    uint64_t field_end = offset + 4 + load<uint16_t>(offset + 2);
    if (field_end > end) break;
    if (id == zip64_extra) {
      offset += 4;
      for (uint64_t* field : wide) {
        if (*field != in_zip64) continue;
        if (offset + 8 > field_end) refuse("short zip64 field", name);
        *field = load<uint64_t>(offset);
        offset += 8;
      }
      return;
    }
    offset = field_end;
  }
  refuse("missing zip64 field", name);
}

void NpzFile::locate_data(Member& member, const std::string& name, uint64_t data_end) const {
  uint64_t at = member.header_offset;
  if (at > data_end || data_end - at < local_size || load<uint32_t>(at) != local_signature) {
    refuse("no member at its offset", name, fmt::format("offset {}", at));
  }
  uint64_t name_size = load<uint16_t>(at + 26);
  if (text(at + local_size, name_size) != name || load<uint16_t>(at + 8) != member.method) {
    refuse("the member and the zip directory disagree", name, printable(text(at + local_size, name_size)));
  }
  member.data_offset = at + local_size + name_size + load<uint16_t>(at + 28);
  if (member.data_offset > data_end || data_end - member.data_offset < member.compressed_size) {
    refuse("truncated member", name,
           fmt::format("{} bytes at {}", member.compressed_size, member.data_offset),
           fmt::format("an end before byte {}", data_end));
  }
  if (member.method == method_stored && member.size != member.compressed_size) {
    refuse("two sizes of a stored member", name,
           fmt::format("{} and {}", member.compressed_size, member.size));
  }
  if (member.size / max_deflate_ratio > member.compressed_size) {
    refuse("impossible compression", name, fmt::format("{} bytes in {}", member.size, member.compressed_size),
           fmt::format("at most {} to 1", max_deflate_ratio));
  }
}

void NpzFile::check_overlaps() const {
  std::vector<size_t> order(members_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return members_[a].header_offset < members_[b].header_offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const Member& before = members_[order[i - 1]];
    if (before.data_offset + before.compressed_size > members_[order[i]].header_offset) {
      refuse("overlapping members", names_[order[i]], "overlaps " + printable(names_[order[i - 1]]));
    }
  }
}

tensor::Tensor NpzFile::read(size_t index) const {
  ATTNLAB_CHECK(index < members_.size(), path_);
  const Member& member = members_[index];
  const std::string& name = names_[index];
  const std::string shown = path_ + ":" + name;
  if (member.method == method_deflated) {
    auto buffer = std::make_shared<const tensor::Tensor>(inflated(member, name));
    return parse_npy(buffer, buffer->bytes(), buffer->byte_size(), shown);
  }
  const std::byte* data = bytes_.data() + member.data_offset;
  if (member.size <= max_checked_stored_bytes) check_crc(member, name, data);
  return parse_npy(storage_, data, member.size, shown);
}

tensor::Tensor NpzFile::inflated(const Member& member, const std::string& name) const {
  tensor::Tensor buffer =
      allocate(tensor::DType::u8, {static_cast<int64_t>(member.size)}, {path_, printable(name)});
  z_stream stream{};
  // Negative window bits: a raw deflate stream, without the zlib header.
  if (::inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  std::unique_ptr<z_stream, decltype(&::inflateEnd)> guard(&stream, &::inflateEnd);
  auto next = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes_.data() + member.data_offset));
  uint64_t in_left = member.compressed_size, out_left = member.size;
  stream.next_in = next;
  stream.next_out = buffer.mutable_values<uint8_t>().data();
  int status = Z_OK;
  // zlib counts in 32 bits: feed at most 1 GiB a call. No progress is Z_BUF_ERROR, which ends the loop.
  constexpr uint64_t step = 1 << 30;
  while (status == Z_OK) {
    auto in = static_cast<uInt>(std::min(in_left, step)), out = static_cast<uInt>(std::min(out_left, step));
    stream.avail_in = in;
    stream.avail_out = out;
    status = ::inflate(&stream, Z_NO_FLUSH);
    in_left -= in - stream.avail_in;
    out_left -= out - stream.avail_out;
  }
  if (status != Z_STREAM_END || in_left != 0 || out_left != 0) {
    refuse("damaged deflate data", name, fmt::format("{} of {} bytes", member.size - out_left, member.size));
  }
  check_crc(member, name, buffer.bytes());
  return buffer;
}

void NpzFile::check_crc(const Member& member, const std::string& name, const std::byte* data) const {
  auto crc = static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(data), member.size));
  if (crc != member.crc) {
    refuse("damaged member", name, fmt::format("checksum {:08x}", crc), fmt::format("{:08x}", member.crc));
  }
}

}  // namespace attnlab::io
