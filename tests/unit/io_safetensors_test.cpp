#include "core/io/safetensors.hpp"

#include "tests/unit/io_test_support.hpp"

namespace attnlab::io {
namespace {

using tensor::DType;
using tensor::Shape;
using tensor::Tensor;

std::string file_of(const std::string& header, const std::string& data, uint64_t length) {
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

std::string file_of(const std::string& header, const std::string& data) {
  return file_of(header, data, header.size());
}

SafetensorsFile parse(const std::string& bytes) {
  HeapBytes heap(bytes);
  return SafetensorsFile(heap.storage, heap.span(), "test.safetensors");
}

std::vector<Tensor> read_all(const std::string& bytes) {
  SafetensorsFile file = parse(bytes);
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < file.names().size(); ++i) tensors.push_back(file.read(i));
  return tensors;
}

std::string message(const std::string& header, size_t data_bytes = 0) {
  return refusal([&] { read_all(file_of(header, std::string(data_bytes, '\0'))); });
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

const std::string small =
    file_of(R"({"__metadata__":{"format":"attnlab"},"b":)" + entry("F32", "[2]", "[3,11]") + R"(,"a":)" +
                entry("U8", "[3,1]", "[0,3]") + "}",
            "\1\2\3" + std::string("\0\0\x80\x3f\0\0\0\xc0", 8));

TEST(Safetensors, ReadsTensorsAndMetadata) {
  SafetensorsFile file = parse(small);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "attnlab"}}));
  expect_same(file.read(0), tensor_of<float>(DType::f32, {2}, {1, -2}));
  expect_same(file.read(1), tensor_of<uint8_t>(DType::u8, {3, 1}, {1, 2, 3}));
}

TEST(Safetensors, ReadsEveryType) {
  const char* names[] = {"F16", "BF16", "F32", "F64", "I8",  "I16", "I32",
                         "I64", "U8",   "U16", "U32", "U64", "BOOL"};
  for (size_t i = 0; i < all_dtypes().size(); ++i) {
    Tensor tensor = noise(all_dtypes()[i], {2, 3});
    std::string size = std::to_string(tensor.byte_size());
    std::string data(reinterpret_cast<const char*>(tensor.bytes()), tensor.byte_size());
    auto read = read_all(file_of("{\"t\":" + entry(names[i], "[2,3]", "[0," + size + "]") + "}", data));
    ASSERT_EQ(read.size(), 1u);
    expect_same(read[0], tensor);
  }
}

TEST(Safetensors, SharesAlignedBytes) {
  std::string header = "{\"t\":" + entry("F32", "[1]", "[0,4]") + "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  HeapBytes heap(file_of(header, "\1\2\3\4"));
  Tensor tensor = SafetensorsFile(heap.storage, heap.span(), "t").read(0);
  EXPECT_EQ(tensor.bytes(), heap.storage.get() + heap.size - 4);
}

TEST(Safetensors, ReadsScalarsAndEmptyTensors) {
  auto tensors =
      read_all(file_of("{\"e\":" + entry("F32", "[0,7]", "[4,4]") + ",\"s\":" + entry("F32", "[]", "[0,4]") +
                           ",\"f\":" + entry("I64", "[0]", "[0,0]") + "}",
                       std::string(4, '\0')));
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].shape(), (Shape{0, 7}));
  EXPECT_FALSE(tensors[0].empty());
  EXPECT_EQ(tensors[1].shape(), Shape{});
  EXPECT_TRUE(parse(file_of("{}", "")).names().empty());
}

TEST(Safetensors, RefusesBadOffsets) {
  auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return "{\"t\":" + entry(dtype, shape, offsets) + "}";
  };
  for (const char* offsets : {"[0,7]", "[0,9]", "[1,9]", "[8,0]", "[8,16]", "[0,18446744073709551615]",
                              "[18446744073709551608,0]"}) {
    EXPECT_NE(message(one("F32", "[2]", offsets), 8).find("bad data_offsets"), std::string::npos) << offsets;
  }
  for (const char* offsets :
       {"[0]", "[]", "[0,8,8]", "[0,-8]", "[0,8.0]", "[0,\"8\"]", "8", "[0,[8]]", "null"}) {
    EXPECT_NE(message(one("F32", "[2]", offsets), 8).find("bad safetensors header"), std::string::npos)
        << offsets;
  }
  // Overlap, gap, and data that no tensor owns.
  EXPECT_NE(
      message("{\"a\":" + entry("U8", "[4]", "[0,4]") + ",\"b\":" + entry("U8", "[4]", "[2,6]") + "}", 6)
          .find("overlaps"),
      std::string::npos);
  EXPECT_NE(
      message("{\"a\":" + entry("U8", "[2]", "[0,2]") + ",\"b\":" + entry("U8", "[2]", "[4,6]") + "}", 6)
          .find("gaps"),
      std::string::npos);
  EXPECT_NE(message(one("F32", "[2]", "[0,8]"), 9).find("bytes after the last tensor"), std::string::npos);
  EXPECT_NE(message(one("F32", "[2]", "[0,8]"), 7).find("truncated"), std::string::npos);
}

TEST(Safetensors, RefusesBadShapesAndTypes) {
  auto one = [](const std::string& dtype, const std::string& shape) {
    return message("{\"t\":" + entry(dtype, shape, "[0,8]") + "}", 8);
  };
  EXPECT_EQ(one("F32", "[2]"), "");
  EXPECT_NE(one("F8_E4M3", "[8]").find("F8_E4M3"), std::string::npos);
  EXPECT_NE(one("F32", "[4611686018427387904,4]").find("absurd"), std::string::npos);
  EXPECT_NE(one("F32", "[0,4611686018427387904,4]").find("absurd"), std::string::npos);
  std::string axes = "[1";
  for (int i = 0; i < 70; ++i) axes += ",1";
  for (const std::string& shape : {axes + "]", std::string("[9223372036854775808]"), std::string("[-1,-2]"),
                                   std::string("[1e3]"), std::string("{}"), std::string("\"2\"")}) {
    EXPECT_NE(one("F32", shape).find("bad safetensors header"), std::string::npos) << shape;
  }
}

TEST(Safetensors, RefusesHostileHeaders) {
  const std::string good = entry("U8", "[0]", "[0,0]");
  const std::vector<std::string> headers = {
      "",
      "[",
      "[]",
      "3",
      "{",
      "{}x",
      "{\"t\":3}",
      "{\"t\":{}}",
      "{\"t\":[]}",
      "{\"t\":{\"dtype\":\"U8\",\"shape\":[0]}}",
      "{\"t\":{\"x\":" + good + "}}",
      "{\"t\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}",
      "{\"__metadata__\":{\"a\":1}}",
      "{\"__metadata__\":{\"a\":{}}}",
      "{\"\xff\":" + good + "}",
      std::string(5'000'000, '['),
      "{\"a\":" + std::string(5'000'000, '['),
  };
  for (const auto& header : headers) {
    EXPECT_NE(message(header), "") << header.substr(0, 60);
  }
  EXPECT_NE(message("{\"t\":" + good + ",\"t\":" + good + "}").find("two tensors of one name"),
            std::string::npos);
  EXPECT_NE(message("{\"\":" + good + "}").find("bad tensor name"), std::string::npos);
  EXPECT_NE(message("{\"a\\u0000\":" + good + "}").find("bad tensor name"), std::string::npos);
  for (uint64_t length : {uint64_t{3}, uint64_t{100'000'001}, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    EXPECT_NE(refusal([&] { parse(file_of("{}", "", length)); }).find("a header of"), std::string::npos);
  }
}

TEST(Safetensors, CapsTheHeader) {
  const uint64_t length = 100'000'001;
  // Untouched pages of zeros: the header must be refused before it is read.
  Tensor bytes = Tensor::zeros(DType::u8, {static_cast<int64_t>(8 + length)});
  std::memcpy(bytes.mutable_values<uint8_t>().data(), &length, sizeof(length));
  std::string text = refusal([&] { SafetensorsFile({}, std::as_bytes(bytes.values<uint8_t>()), "t"); });
  EXPECT_NE(text.find("a header of 100000001 bytes"), std::string::npos);
}

TEST(Safetensors, RefusesBooleansThatAreNeither) {
  std::string header = "{\"t\":" + entry("BOOL", "[2]", "[0,2]") + "}";
  EXPECT_NE(refusal([&] { read_all(file_of(header, "\1\2")); }).find("byte 2 at element 1"),
            std::string::npos);
}

TEST(Safetensors, RefusesEveryTruncation) {
  ASSERT_TRUE(reads([] { return read_all(small); }));
  for (size_t size = 0; size < small.size(); ++size) {
    EXPECT_FALSE(reads([&] { return read_all(small.substr(0, size)); })) << size;
  }
}

TEST(Safetensors, SurvivesMutations) {
  int read = 0;
  for (unsigned seed = 0; seed < 6000; ++seed) read += reads([&] { return read_all(mutated(small, seed)); });
  EXPECT_GT(read, 100);
  EXPECT_LT(read, 3000);
}

TEST(Safetensors, WritesWhatItReads) {
  TemporaryFolder folder;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (DType dtype : all_dtypes())
    tensors.emplace_back("t \"" + std::string(tensor::name_of(dtype)), noise(dtype, {3, 5}));
  tensors.emplace_back("none", Tensor::zeros(DType::f32, {0, 2}));
  const std::map<std::string, std::string> metadata = {{"k", "a \"b\""}, {"l", ""}};
  write_safetensors(folder / "x", tensors, metadata);
  const SafetensorsFile file = SafetensorsFile::open(folder / "x");
  EXPECT_EQ(file.metadata(), metadata);
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.names().at(i), tensors[i].first);
    expect_same(file.read(i), tensors[i].second);
  }
  const std::string once = read_bytes(folder / "x");
  uint64_t length = 0;
  std::memcpy(&length, once.data(), 8);
  EXPECT_EQ((length + 8) % 64, 0u);
  write_safetensors(folder / "x", tensors, metadata);
  EXPECT_TRUE(read_bytes(folder / "x") == once);
  write_safetensors(folder / "empty", {});
  EXPECT_TRUE(SafetensorsFile::open(folder / "empty").names().empty());
  tensors.push_back(tensors.front());
  EXPECT_NE(refusal([&] { write_safetensors(folder / "y", tensors); }), "");
  EXPECT_EQ(folder.file_count(), 2u);
}

}  // namespace
}  // namespace attnlab::io
