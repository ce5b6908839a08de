#include "core/io/jsonl.hpp"

#include <limits>
#include <set>
#include <thread>

#include "tests/unit/io_test_support.hpp"

namespace attnlab::io {
namespace {

TEST(Jsonl, AppendsOneFlushedLineEach) {
  TemporaryFolder folder;
  JsonlWriter writer(folder / "t.jsonl");
  writer.append({{"z", 1}, {"a", "two\nlines"}});
  EXPECT_EQ(read_bytes(folder / "t.jsonl"), "{\"z\":1,\"a\":\"two\\nlines\"}\n");
  JsonlWriter(folder / "t.jsonl").append({{"b", 2}});
  EXPECT_EQ(read_bytes(folder / "t.jsonl"), "{\"z\":1,\"a\":\"two\\nlines\"}\n{\"b\":2}\n");
}

TEST(Jsonl, WritesWhatJsonLacks) {
  TemporaryFolder folder;
  JsonlWriter writer(folder / "t.jsonl");
  writer.append({{"nan", std::numeric_limits<double>::quiet_NaN()}, {"bytes", "\xff"}});
  EXPECT_EQ(read_bytes(folder / "t.jsonl"), "{\"nan\":null,\"bytes\":\"\xef\xbf\xbd\"}\n");
}

TEST(Jsonl, EndsALineThatACrashCutOff) {
  TemporaryFolder folder;
  write_bytes(folder / "t.jsonl", "{\"a\":1}\n{\"b\":");
  JsonlWriter(folder / "t.jsonl").append({{"c", 3}});
  EXPECT_EQ(read_bytes(folder / "t.jsonl"), "{\"a\":1}\n{\"b\":\n{\"c\":3}\n");
}

TEST(Jsonl, KeepsLinesOfThreadsApart) {
  TemporaryFolder folder;
  JsonlWriter writer(folder / "t.jsonl");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) writer.append({{"id", t * 100 + i}, {"text", std::string(500, 'x')}});
    });
  }
  for (auto& thread : threads) thread.join();
  std::ifstream file(folder / "t.jsonl");
  std::set<int> ids;
  for (std::string line; std::getline(file, line);)
    ids.insert(nlohmann::json::parse(line).at("id").get<int>());
  EXPECT_EQ(ids.size(), 400u);
}

TEST(Jsonl, NamesAFileItCannotWrite) {
  TemporaryFolder folder;
  EXPECT_NE(refusal([&] { JsonlWriter(folder / "no/t.jsonl"); }).find("no/t.jsonl"), std::string::npos);
}

}  // namespace
}  // namespace attnlab::io
