#include "core/io/archive.hpp"

#include "tests/unit/io_numpy_files.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::io {
namespace {

using tensor::DType;

const std::string safetensors_header =
    R"({"__metadata__":{"k":"v"},"weights":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";

std::string safetensors() {
  uint64_t length = safetensors_header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + safetensors_header + "\1\2";
}

TEST(ArchiveFile, ReadsBothFormatsWhateverTheName) {
  TemporaryFolder folder;
  write_bytes(folder / "a.bin", numpy_files::deflated_npz);
  Archive npz = Archive::open(folder / "a.bin");
  EXPECT_EQ(npz.names(), (std::vector<std::string>{"a", "empty"}));
  EXPECT_TRUE(npz.metadata().empty());
  EXPECT_EQ(npz.read("a").values<float>()[5], 2.5f);

  write_bytes(folder / "b.npz", safetensors());
  Archive other = Archive::open(folder / "b.npz");
  EXPECT_EQ(other.path(), folder / "b.npz");
  EXPECT_TRUE(other.contains("weights"));
  EXPECT_FALSE(other.contains("bias"));
  EXPECT_EQ(other.metadata().at("k"), "v");
  expect_same(other.read("weights"), tensor_of<uint8_t>(DType::u8, {2}, {1, 2}));
}

TEST(ArchiveFile, TensorsOutliveIt) {
  TemporaryFolder folder;
  write_npz(folder / "t.npz", std::vector<NamedTensor>{{"x", tensor_of<float>(DType::f32, {1}, {3})}});
  tensor::Tensor tensor;
  { tensor = Archive::open(folder / "t.npz").read("x"); }
  EXPECT_EQ(tensor.values<float>()[0], 3.0f);
}

TEST(ArchiveFile, SuggestsTheNearestName) {
  TemporaryFolder folder;
  write_bytes(folder / "t.safetensors", safetensors());
  std::string message = refusal([&] { Archive::open(folder / "t.safetensors").read("weihgts"); });
  EXPECT_NE(message.find("no such tensor"), std::string::npos);
  EXPECT_NE(message.find("did you mean \"weights\"?"), std::string::npos);
}

TEST(ArchiveFile, RefusesOtherFiles) {
  TemporaryFolder folder;
  auto message = [&](const std::string& name, const std::string& bytes) {
    write_bytes(folder / name, bytes);
    return refusal([&] { Archive::open(folder / name); });
  };
  EXPECT_NE(message("t.npy", numpy_files::float32_v1).find("single array"), std::string::npos);
  EXPECT_NE(message("t.bin",
                    "\x7f"
                    "ELF")
                .find("unknown tensor file"),
            std::string::npos);
  EXPECT_NE(message("t.npz", "").find("not a zip file"), std::string::npos);
  EXPECT_NE(message("t.safetensors", "").find("truncated"), std::string::npos);
  EXPECT_NE(refusal([&] { Archive::open(folder / "none.npz"); }).find("none.npz"), std::string::npos);
}

TEST(ArchiveFile, GivesMetadataAsText) {
  TemporaryFolder folder;
  write_bytes(folder / "t.safetensors", safetensors());
  const Archive archive = Archive::open(folder / "t.safetensors");
  expect_same(archive.read("__metadata__/k"), tensor_of<uint8_t>(DType::u8, {1}, {'v'}));
  const std::string message = refusal([&] { archive.read("__metadata__/other"); });
  EXPECT_NE(message.find("no such metadata"), std::string::npos) << message;
  EXPECT_NE(message.find("allowed: \"k\""), std::string::npos) << message;
}

TEST(ArchiveFile, NeverReadsPickle) {
  TemporaryFolder folder;
  std::string torch("PK\3\4", 4);
  torch.resize(30);
  torch[26] = 16;
  for (const std::string& bytes :
       {std::string("\x80\x04\x95\x10\0\0\0\0\0\0\0}", 12), torch + "archive/data.pkl"}) {
    write_bytes(folder / "t", bytes);
    EXPECT_NE(refusal([&] { Archive::open(folder / "t"); }).find("pickle"), std::string::npos);
  }
  // A header of 640 bytes begins like a pickle.
  std::string header = safetensors_header;
  header.resize(640, ' ');
  const uint64_t length = header.size();
  write_bytes(folder / "t", std::string(reinterpret_cast<const char*>(&length), 8) + header + "\1\2");
  EXPECT_EQ(Archive::open(folder / "t").names().size(), 1u);
}

}  // namespace
}  // namespace attnlab::io
