#include "core/io/npz.hpp"

#include "tests/unit/io_numpy_files.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::io {
namespace {

using tensor::DType;
using tensor::Shape;
using tensor::Tensor;

std::vector<Tensor> read_all(const std::string& bytes) {
  HeapBytes heap(bytes);
  NpzFile file(heap.storage, heap.span(), "test.npz");
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < file.names().size(); ++i) tensors.push_back(file.read(i));
  return tensors;
}

std::string message(const std::string& bytes) {
  return refusal([&] { read_all(bytes); });
}

/// The bytes of an archive of "a", a float32 [2, 3], and "b", a uint8 [5].
std::string written(uint64_t zip64_from = 0xffffffff) {
  TemporaryFolder folder;
  std::vector<NamedTensor> tensors = {{"a", tensor_of<float>(DType::f32, {2, 3}, {0, 1, 2, 3, 4, 5})},
                                      {"b", tensor_of<uint8_t>(DType::u8, {5}, {9, 8, 7, 6, 5})}};
  write_npz(folder / "t.npz", tensors, zip64_from);
  return read_bytes(folder / "t.npz");
}

constexpr std::string_view local = "PK\3\4", central = "PK\1\2", end_record = "PK\5\6",
                           end64_record = "PK\6\6";

/// `bytes` with a little-endian value of `size` bytes at `field` after the last record of this signature.
std::string patched(std::string bytes, std::string_view signature, size_t field, uint64_t value,
                    size_t size) {
  size_t at = bytes.rfind(signature) + field;
  for (size_t i = 0; i < size; ++i) bytes.at(at + i) = static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

TEST(Npz, RoundTripsEveryType) {
  TemporaryFolder folder;
  for (uint64_t zip64_from : {uint64_t{0xffffffff}, uint64_t{0}, uint64_t{300}}) {
    std::vector<NamedTensor> tensors;
    for (DType dtype : all_dtypes()) {
      tensors.emplace_back("layer0/" + std::string(tensor::name_of(dtype)), noise(dtype, {3, 5}));
    }
    tensors.emplace_back("empty", noise(DType::f32, {2, 0}));
    tensors.emplace_back("scalar", noise(DType::f64, {}));
    tensors.emplace_back("größe", noise(DType::i8, {1}));
    write_npz(folder / "t.npz", tensors, zip64_from);
    NpzFile file = NpzFile::open(folder / "t.npz");
    ASSERT_EQ(file.names().size(), tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto& [name, tensor] = tensors[i];
      EXPECT_EQ(file.names()[i], name);
      expect_same(file.read(i), tensor.dtype() == DType::bf16 ? tensor.to_f32() : tensor);
    }
  }
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(Npz, WritesTheSameBytesAndAlignsThemForMapping) {
  EXPECT_EQ(written(), written());
  TemporaryFolder folder;
  for (const char* name : {"a", "ab", "a rather long name of a tensor that moves what follows it"}) {
    write_npz(folder / "t.npz",
              std::vector<NamedTensor>{{name, noise(DType::f64, {3})}, {"z", noise(DType::f32, {7})}});
    NpzFile file = NpzFile::open(folder / "t.npz");
    for (size_t i : {0, 1}) EXPECT_EQ(reinterpret_cast<uintptr_t>(file.read(i).bytes()) % 64, 0u);
  }
  // Written data share the storage of the file.
  HeapBytes heap(written());
  Tensor tensor = NpzFile(heap.storage, heap.span(), "t").read(1);
  EXPECT_TRUE(tensor.bytes() > heap.storage.get() && tensor.bytes() < heap.storage.get() + heap.size);
}

TEST(Npz, ReadsFilesOfNumpy) {
  Tensor a = tensor_of<float>(DType::f32, {2, 3}, {0, 0.5, 1, 1.5, 2, 2.5});
  auto stored = read_all(numpy_files::stored_npz);
  ASSERT_EQ(stored.size(), 2u);
  expect_same(stored[0], a);
  expect_same(stored[1], tensor_of<uint8_t>(DType::boolean, {}, {1}));
  auto deflated = read_all(numpy_files::deflated_npz);
  ASSERT_EQ(deflated.size(), 2u);
  expect_same(deflated[0], a);
  EXPECT_EQ(deflated[1].shape(), (Shape{0, 4}));
}

TEST(Npz, EmptyArchive) {
  TemporaryFolder folder;
  write_npz(folder / "t.npz", {});
  EXPECT_TRUE(NpzFile::open(folder / "t.npz").names().empty());
}

TEST(Npz, RefusesNamesItCannotWrite) {
  TemporaryFolder folder;
  Tensor t = noise(DType::f32, {1});
  for (const std::string& name :
       {std::string(), std::string("a\nb"), std::string("\xff"), std::string(1025, 'x')}) {
    EXPECT_NE(refusal([&] { write_npz(folder / "t.npz", std::vector<NamedTensor>{{name, t}}); }), "");
  }
  EXPECT_NE(refusal([&] { write_npz(folder / "t.npz", std::vector<NamedTensor>{{"a", t}, {"a", t}}); }), "");
  EXPECT_EQ(folder.file_count(), 0u);
}

TEST(Npz, RefusesHostileDirectories) {
  const std::string good = written();
  ASSERT_EQ(read_all(good).size(), 2u);
  EXPECT_NE(message(patched(good, central, 8, 1, 2)).find("encrypted"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 10, 12, 2)).find("unknown compression method"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 10, 8, 2)).find("disagree"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 16, 1, 4)).find("damaged member"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 20, 0x7fffffff, 4)).find("truncated member"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 24, 1, 4)).find("two sizes"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 24, 0xffffffff, 4)).find("missing zip64"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 42, 1, 4)).find("no member at its offset"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 42, 0, 4)).find("disagree"), std::string::npos);
  EXPECT_NE(message(patched(good, local, 30, 'x', 1)).find("disagree"), std::string::npos);
  EXPECT_NE(message(patched(good, end_record, 4, 1, 2)).find("split"), std::string::npos);
  EXPECT_NE(message(patched(good, end_record, 10, 1, 2)).find("bad zip directory"), std::string::npos);
  EXPECT_NE(message(patched(good, end_record, 10, 3, 2)).find("bad zip directory"), std::string::npos);
  EXPECT_NE(message(patched(good, end_record, 16, 0xfffffff0, 4)).find("bad zip directory"),
            std::string::npos);
  std::string gap = good;
  EXPECT_NE(message(gap.insert(gap.rfind(end_record), "gap")).find("bad zip directory"), std::string::npos);
  EXPECT_NE(message("x" + good).find("bad zip directory"), std::string::npos);
}

TEST(Npz, RefusesHostileZip64Fields) {
  const std::string good = written(0);
  ASSERT_EQ(read_all(good).size(), 2u);
  for (uint64_t value : {uint64_t{0}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 30}) {
    for (size_t field : {32, 40, 48}) EXPECT_NE(message(patched(good, end64_record, field, value, 8)), "");
    // The central header of "b": 46 bytes, the name of 5, then id, length, size, compressed size, offset.
    for (size_t field : {55, 63}) EXPECT_NE(message(patched(good, central, field, value, 8)), "");
    EXPECT_NE(message(patched(good, central, 71, value, 8)), "");
    EXPECT_NE(message(patched(good, "PK\6\7", 8, value, 8)), "");
  }
  EXPECT_NE(message(patched(good, central, 53, 8, 2)).find("short zip64 field"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 51, 7, 2)).find("missing zip64 field"), std::string::npos);
}

TEST(Npz, RefusesOverlapsAndDuplicates) {
  // Two directory entries for the one member, then the second renamed: duplicate names, then overlapping
  // data.
  std::string good = written();
  size_t directory = good.find(central), entry = 46 + 5;
  std::string twice = good.substr(0, directory) + good.substr(directory, entry) +
                      good.substr(directory, entry) + good.substr(directory + 2 * entry);
  EXPECT_NE(message(twice).find("two tensors of one name"), std::string::npos);
  // "b" starts 32 bytes inside "a": a local header smuggled into the array's data.
  std::string inside = good;
  size_t target = good.find(std::string("\x93NUMPY")) + 64;
  inside.replace(target, 35, good.substr(good.rfind(local), 35));
  inside = patched(inside, central, 42, target, 4);
  inside = patched(inside, central, 20, 0, 4);
  inside = patched(inside, central, 24, 0, 4);
  EXPECT_NE(message(inside).find("overlapping"), std::string::npos);
}

TEST(Npz, BoundsDeflatedMembersByTheirDeclaredSize) {
  const std::string& good = numpy_files::deflated_npz;
  EXPECT_NE(message(patched(good, central, 24, 100, 4)).find("damaged deflate data"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 24, 1000, 4)).find("damaged deflate data"), std::string::npos);
  EXPECT_NE(message(patched(good, central, 24, 0xfffffffe, 4)).find("impossible compression"),
            std::string::npos);
  EXPECT_NE(message(patched(good, central, 16, 0, 4)).find("damaged member"), std::string::npos);
}

TEST(Npz, RefusesEveryTruncation) {
  for (const auto& file : {written(), written(0), numpy_files::stored_npz, numpy_files::deflated_npz}) {
    ASSERT_TRUE(reads([&] { return read_all(file); }));
    for (size_t size = 0; size < file.size(); ++size) {
      EXPECT_FALSE(reads([&] { return read_all(file.substr(0, size)); })) << size;
    }
  }
}

TEST(Npz, SurvivesMutations) {
  const std::vector<std::string> files = {written(), written(0), numpy_files::stored_npz,
                                          numpy_files::deflated_npz};
  int read = 0;
  for (unsigned seed = 0; seed < 8000; ++seed) {
    read += reads([&] { return read_all(mutated(files[seed % files.size()], seed)); });
  }
  // Dates, padding and unused fields may change; checksums catch the rest.
  EXPECT_GT(read, 100);
  EXPECT_LT(read, 4000);
}

}  // namespace
}  // namespace attnlab::io
