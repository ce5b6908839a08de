#include "core/io/npy.hpp"

#include <fmt/core.h>

#include "core/io/npy_header.hpp"
#include "tests/unit/io_numpy_files.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::io {
namespace {

using tensor::DType;
using tensor::Shape;
using tensor::Tensor;

Tensor parse(const std::string& bytes) {
  HeapBytes heap(bytes);
  return parse_npy(heap.storage, heap.storage.get(), heap.size, "test.npy");
}

/// An npy file with a header given literally.
std::string npy(const std::string& dict, const std::string& data, int version = 1) {
  std::string length(version == 1 ? 2 : 4, '\0');
  length[0] = static_cast<char>(dict.size() & 0xff);
  length[1] = static_cast<char>(dict.size() >> 8);
  return std::string("\x93NUMPY") + static_cast<char>(version) + '\0' + length + dict + data;
}

std::string f4(const std::string& shape, size_t bytes) {
  return npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }\n",
             std::string(bytes, '\0'));
}

TEST(Npy, RoundTripsEveryTypeAndShape) {
  TemporaryFolder folder;
  for (DType dtype : all_dtypes()) {
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{5}, Shape{0}, Shape{2, 0, 3}, Shape{2, 3, 4, 5}}) {
      Tensor tensor = noise(dtype, shape);
      write_npy(folder / "t.npy", tensor);
      // numpy has no bfloat16.
      expect_same(read_npy(folder / "t.npy"), dtype == DType::bf16 ? tensor.to_f32() : tensor);
    }
  }
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(Npy, ReadsFilesOfNumpy) {
  expect_same(parse(numpy_files::float32_v1), tensor_of<float>(DType::f32, {2, 3}, {0, 0.5, 1, 1.5, 2, 2.5}));
  expect_same(parse(numpy_files::big_int32_v2), tensor_of<int32_t>(DType::i32, {3}, {1, -2, 0x7fffffff}));
  expect_same(parse(numpy_files::fortran_float64_v3),
              tensor_of<double>(DType::f64, {2, 3}, {0, 1, 2, 3, 4, 5}));
}

TEST(Npy, WritesTheBytesOfNumpy) {
  TemporaryFolder folder;
  write_npy(folder / "t.npy", tensor_of<float>(DType::f32, {2, 3}, {0, 0.5, 1, 1.5, 2, 2.5}));
  EXPECT_EQ(read_bytes(folder / "t.npy"), numpy_files::float32_v1);
}

TEST(Npy, MapsWithoutCopying) {
  HeapBytes heap(numpy_files::float32_v1);
  Tensor tensor = parse_npy(heap.storage, heap.storage.get(), heap.size, "t");
  EXPECT_EQ(tensor.bytes(), heap.storage.get() + 128);
  std::weak_ptr<std::byte[]> storage = heap.storage;
  heap.storage.reset();
  EXPECT_FALSE(storage.expired());
}

TEST(Npy, CopiesMisalignedData) {
  HeapBytes heap("x" + numpy_files::float32_v1);
  Tensor tensor = parse_npy(heap.storage, heap.storage.get() + 1, heap.size - 1, "t");
  EXPECT_EQ(tensor.values<float>()[5], 2.5f);
}

TEST(Npy, ConvertsFortranOrderOfThreeAxes) {
  std::string data;
  // Element [i, j, k] has the value 100 i + 10 j + k; the first axis runs fastest.
  for (int k = 0; k < 4; ++k) {
    for (int j = 0; j < 3; ++j) {
      for (int i = 0; i < 2; ++i) data += {static_cast<char>(0), static_cast<char>(100 * i + 10 * j + k)};
    }
  }
  Tensor tensor = parse(npy("{'descr':'>i2','fortran_order':True,'shape':(2,3,4)}", data));
  auto values = tensor.values<int16_t>();
  for (int i = 0; i < 24; ++i) EXPECT_EQ(values[i], 100 * (i / 12) + 10 * (i / 4 % 3) + i % 4);
}

TEST(Npy, AcceptsEveryLiteralNumpyMayWrite) {
  std::string data(24, '\0');
  for (const char* dict : {"{\"shape\": (2, 3), \"fortran_order\": False, \"descr\": \"<f4\"}",
                           "{'shape':(2,3,),'descr':'=f4','fortran_order':False,}",
                           " {'descr': '<f4' , 'fortran_order' :False,\n"
                           "'shape': ( 2L, 3L ) , }   \n"}) {
    EXPECT_EQ(parse(npy(dict, data)).shape(), (Shape{2, 3})) << dict;
    EXPECT_EQ(parse(npy(dict, data, 2)).shape(), (Shape{2, 3})) << dict;
  }
  EXPECT_EQ(parse(f4("()", 4)).shape(), Shape{});
  EXPECT_EQ(parse(f4("(0,)", 0)).shape(), Shape{0});
}

TEST(Npy, RefusesWhatItCannotRead) {
  auto message = [](const std::string& bytes) { return refusal([&] { parse(bytes); }); };
  EXPECT_NE(message(numpy_files::structured).find("structured types"), std::string::npos);
  EXPECT_NE(message(numpy_files::object).find("Python objects"), std::string::npos);
  EXPECT_NE(message(numpy_files::stored_npz).find("zip archive"), std::string::npos);
  EXPECT_NE(message(npy("{'descr': '<c8', 'fortran_order': False, 'shape': ()}", "")).find("\"<c8\""),
            std::string::npos);
  for (const char* dict :
       {"", "{}", "{'descr': '<f4'}", "{'descr': 'f4', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f16', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 1}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}", "{'descr': '<f4"}) {
    EXPECT_NE(message(npy(dict, std::string(4, '\0'))).find("bad npy header"), std::string::npos) << dict;
  }
}

TEST(Npy, ChecksShapesForOverflow) {
  for (const char* shape : {"(9223372036854775807, 2)", "(4294967296, 4294967296)", "(99999999999999999999,)",
                            "(0, 4294967296, 4294967296)", "(2305843009213693952,)"}) {
    EXPECT_NE(refusal([&] { parse(f4(shape, 16)); }).find("absurd"), std::string::npos) << shape;
  }
  std::string axes;
  for (int i = 0; i < 65; ++i) axes += "1,";
  EXPECT_NE(refusal([&] { parse(f4("(" + axes + ")", 4)); }).find("too many axes"), std::string::npos);
}

TEST(Npy, SaysHowManyBytesAreMissingOrLeftOver) {
  std::string missing = refusal([] { parse(f4("(3, 4)", 47)); });
  EXPECT_NE(missing.find("truncated"), std::string::npos);
  EXPECT_NE(missing.find("47 bytes"), std::string::npos);
  EXPECT_NE(missing.find("48 bytes, as the header says float32 [3, 4]"), std::string::npos);
  EXPECT_NE(refusal([] { parse(f4("(3, 4)", 49)); }).find("after the array"), std::string::npos);
}

TEST(Npy, RefusesBooleansThatAreNeither) {
  std::string dict = "{'descr': '|b1', 'fortran_order': False, 'shape': (3,)}";
  EXPECT_TRUE(reads([&] { return std::vector{parse(npy(dict, std::string("\1\0\1", 3)))}; }));
  EXPECT_NE(refusal([&] { parse(npy(dict, std::string("\1\0\2", 3))); }).find("byte 2 at element 2"),
            std::string::npos);
}

TEST(Npy, RefusesLongHeadersAndUnknownVersions) {
  std::string long_header = npy(std::string(64, ' '), "", 2);
  long_header[10] = 0x11;  // 1 MiB and more
  EXPECT_NE(refusal([&] { parse(long_header); }).find("too long"), std::string::npos);
  EXPECT_NE(refusal([] { parse(npy("{}", "", 4)); }).find("unknown npy version"), std::string::npos);
}

TEST(Npy, RefusesEveryTruncation) {
  for (const auto& file :
       {numpy_files::float32_v1, numpy_files::big_int32_v2, numpy_files::fortran_float64_v3}) {
    ASSERT_TRUE(reads([&] { return std::vector{parse(file)}; }));
    for (size_t size = 0; size < file.size(); ++size) {
      EXPECT_FALSE(reads([&] { return std::vector{parse(file.substr(0, size))}; })) << size;
    }
  }
}

TEST(Npy, SurvivesMutations) {
  int read = 0;
  for (unsigned seed = 0; seed < 6000; ++seed) {
    const auto& file = seed % 2 == 0 ? numpy_files::float32_v1 : numpy_files::fortran_float64_v3;
    read += reads([&] { return std::vector{parse(mutated(file, seed))}; });
  }
  // Changes of the data alone still read; if nothing or all did, the mutations would test nothing.
  EXPECT_GT(read, 100);
  EXPECT_LT(read, 5900);
}

TEST(Npy, MissingFilesAreUserErrors) {
  TemporaryFolder folder;
  EXPECT_NE(refusal([&] { read_npy(folder / "none.npy"); }).find("none.npy"), std::string::npos);
  EXPECT_NE(refusal([&] { read_npy(folder.path()); }), "");
  write_bytes(folder / "empty.npy", "");
  EXPECT_NE(refusal([&] { read_npy(folder / "empty.npy"); }).find("truncated"), std::string::npos);
}

TEST(Npy, HeaderLengthIsAMultipleOf64) {
  for (int64_t extent = 1; extent < 1'000'000'000'000'000'000; extent *= 10) {
    for (size_t rank = 0; rank < 64; rank += 7) {
      std::string header = format_npy_header(DType::f32, Shape(rank, extent));
      EXPECT_EQ(header.size() % 64, 0u);
      EXPECT_EQ(header.back(), '\n');
    }
  }
}

TEST(NpyWriter, FillsInPlaceAndAppearsOnCommit) {
  TemporaryFolder folder;
  NpyWriter writer(folder / "t.npy", {2, 3});
  ASSERT_EQ(writer.values().size(), 6u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(writer.values().data()) % 64, 0u);
  for (size_t i = 0; i < 6; ++i) writer.values()[i] = static_cast<float>(i);
  EXPECT_FALSE(std::filesystem::exists(folder / "t.npy"));
  writer.commit();
  EXPECT_TRUE(writer.values().empty());
  EXPECT_EQ(folder.file_count(), 1u);
  expect_same(read_npy(folder / "t.npy"), tensor_of<float>(DType::f32, {2, 3}, {0, 1, 2, 3, 4, 5}));
}

TEST(NpyWriter, LeavesNothingWithoutCommit) {
  TemporaryFolder folder;
  write_bytes(folder / "t.npy", "old");
  { NpyWriter writer(folder / "t.npy", {1000}); }
  EXPECT_EQ(folder.file_count(), 1u);
  EXPECT_EQ(read_bytes(folder / "t.npy"), "old");
}

TEST(NpyWriter, RefusesAbsurdSizesAndMissingFolders) {
  TemporaryFolder folder;
  EXPECT_NE(refusal([&] { NpyWriter(folder / "t.npy", {int64_t{1} << 40, int64_t{1} << 40}); }), "");
  EXPECT_NE(refusal([&] { NpyWriter(folder / "t.npy", {int64_t{1} << 58}); }), "");
  EXPECT_NE(refusal([&] { NpyWriter(folder / "no/t.npy", {1}); }).find("folder does not exist"),
            std::string::npos);
  EXPECT_EQ(folder.file_count(), 0u);
}

}  // namespace
}  // namespace attnlab::io
