// The store of a sweep: what is recorded stays, whoever is killed when.
#include "core/sweep/store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "core/base/error.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::sweep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

Record done(const std::string& id, double error, double seconds = 1) {
  Record record;
  record.trial.id = id;
  record.trial.point = {{"/pipelines/main/0/sink_size", 4}};
  record.trial.config = {{"input", {{"workload", "gaussian"}}}};
  record.outcome.id = id;
  record.outcome.status = Outcome::Status::done;
  record.outcome.metrics = {{"density", 0.1}, {"output_error", error}};
  record.outcome.seconds = seconds;
  return record;
}

Record failed(const std::string& id, const std::string& reason) {
  Record record = done(id, 0);
  record.outcome.status = Outcome::Status::failed;
  record.outcome.metrics.clear();
  record.outcome.reason = reason;
  record.outcome.signal = 6;
  record.outcome.stderr_tail = "a, \"b\"\nc";
  return record;
}

class SweepStore : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "attnlab_store_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root = name;
  }
  void TearDown() override { fs::remove_all(root); }
  std::string folder(const char* name = "s") const { return (root / name).string(); }
  std::string trials(const char* name = "s") const { return folder(name) + "/trials.jsonl"; }
  Store create(const char* name = "s", const std::string& hash = "h") const {
    return Store::create(folder(name), {{"title", "t"}}, hash);
  }
  std::string text(const char* name = "s") const { return io::read_text(trials(name), 1 << 20); }

  fs::path root;
};

TEST_F(SweepStore, ComesBackAsItWas) {
  {
    Store store = create();
    store.append({done("b", 0.1), failed("a", "signal SIGABRT")});
    store.append({done("c", 1.0 / 3)});
  }
  const Store store = Store::open(folder(), Store::Access::read);
  EXPECT_EQ(store.hash(), "h");
  EXPECT_EQ(store.sweep().dump(), R"({"title":"t"})");
  ASSERT_EQ(store.records().size(), 3u);
  EXPECT_EQ(store.failed(), 1);
  EXPECT_EQ(store.find("c")->outcome.metrics.at("output_error"), 1.0 / 3);
  const Record& a = *store.find("a");
  EXPECT_EQ(a.outcome.reason, "signal SIGABRT");
  EXPECT_EQ(a.outcome.signal, 6);
  EXPECT_EQ(a.outcome.stderr_tail, "a, \"b\"\nc");
  EXPECT_EQ(a.trial.point.dump(), R"({"/pipelines/main/0/sink_size":4})");
  EXPECT_EQ(store.find("d"), nullptr);
}

TEST_F(SweepStore, ALineThatWasCutIsAsIfNeverBegun) {
  const size_t whole = [&] {
    Store store = create();
    store.append({done("a", 0.1), done("b", 0.2)});
    return text().size();
  }();
  const size_t first = text().find('\n') + 1;
  // Cut at every byte of the second line, its end included.
  for (size_t size = first; size < whole; ++size) {
    fs::remove_all(folder("cut"));
    fs::copy(folder(), folder("cut"));
    fs::resize_file(trials("cut"), size);
    const bool complete = size + 1 == whole;
    {
      Store store = Store::open(folder("cut"), Store::Access::write);
      ASSERT_EQ(store.records().size(), complete ? 2u : 1u) << size;
      EXPECT_EQ(store.cut_lines(), complete || size == first ? 0 : 1);
      store.append({complete ? done("c", 0.2) : done("b", 0.2)});
    }
    const Store store = Store::open(folder("cut"), Store::Access::read);
    ASSERT_EQ(store.records().size(), complete ? 3u : 2u) << size;
  }
}

TEST_F(SweepStore, ADoneTrialIsRecordedOnceAndAFailedOneAgain) {
  Store store = create();
  store.append({done("a", 0.1), failed("b", "ran past 1 s")});
  const std::string before = text();
  EXPECT_THAT(io::refusal([&] { store.append({done("c", 1), done("a", 0.1)}); }), HasSubstr("id a"));
  EXPECT_THAT(io::refusal([&] { store.append({done("d", 1), done("d", 1)}); }), HasSubstr("id d"));
  EXPECT_EQ(text(), before);
  store.append({done("b", 0.3)});
  EXPECT_EQ(store.failed(), 0);
  EXPECT_TRUE(Store::open(folder(), Store::Access::read).find("b")->outcome.done());
  std::ofstream(trials(), std::ios::app) << before;
  EXPECT_THAT(io::refusal([&] { Store::open(folder(), Store::Access::read); }), HasSubstr("recorded twice"));
}

TEST_F(SweepStore, TellsASecondWriterWhoTheFirstIs) {
  Store store = create();
  const std::string refusal = io::refusal([&] { Store::open(folder(), Store::Access::write); });
  EXPECT_THAT(refusal, HasSubstr("another process writes this sweep"));
  EXPECT_THAT(refusal, HasSubstr("process " + std::to_string(::getpid()) + " on "));
  EXPECT_NO_THROW(Store::open(folder(), Store::Access::read));
  { const Store gone = std::move(store); }
  EXPECT_NO_THROW(Store::open(folder(), Store::Access::write));
}

TEST_F(SweepStore, RefusesAFolderThatHoldsASweepOrNone) {
  create();
  EXPECT_THAT(io::refusal([&] { create(); }), HasSubstr("attnlab sweep resume"));
  EXPECT_THAT(io::refusal([&] { Store::open(folder("none"), Store::Access::read); }), HasSubstr("no sweep"));
  std::ofstream(folder() + "/sweep.json") << R"({"schema": "attnlab.sweep/7"})";
  EXPECT_THAT(io::refusal([&] { Store::open(folder(), Store::Access::read); }), HasSubstr("/schema"));
}

TEST_F(SweepStore, MergesById) {
  {
    create("x").append({done("a", 0.1, 1), failed("b", "ran past 1 s"), done("c", 0.3)});
    create("y").append({done("a", 0.1, 2), done("b", 0.2), failed("d", "signal SIGSEGV")});
    create("z").append({done("a", 0.11)});
    create("w", "other").append({done("e", 0)});
  }
  const Store merged = Store::merge(folder("m"), {folder("x"), folder("y")}, {{"title", "m"}});
  EXPECT_EQ(merged.sweep().dump(), R"({"title":"m"})");
  EXPECT_EQ(merged.records().size(), 4u);
  EXPECT_TRUE(merged.find("b")->outcome.done());
  EXPECT_EQ(sorted_lines(merged), sorted_lines(Store::open(folder("m"), Store::Access::read)));
  const std::string refusal = io::refusal([&] { Store::merge(folder("n"), {folder("x"), folder("z")}, {}); });
  EXPECT_THAT(refusal, HasSubstr(folder("x")));
  EXPECT_THAT(refusal, HasSubstr(folder("z")));
  EXPECT_THAT(refusal, HasSubstr("id a"));
  EXPECT_THAT(io::refusal([&] {
                Store::merge(folder("n"), {folder("x"), folder("w")}, {});
              }),
              HasSubstr("different sweeps"));
  EXPECT_FALSE(Store::holds_sweep(folder("n")));
}

TEST_F(SweepStore, MergesTwoFailuresOfATrialInAnyOrder) {
  {
    create("x").append({failed("a", "ran past 1 s")});
    create("y").append({failed("a", "signal SIGKILL")});
  }
  const Store one = Store::merge(folder("m"), {folder("x"), folder("y")}, {});
  const Store other = Store::merge(folder("n"), {folder("y"), folder("x")}, {});
  EXPECT_EQ(one.failed(), 1);
  EXPECT_EQ(sorted_lines(one), sorted_lines(other));
}

TEST_F(SweepStore, SortedLinesKnowNoOrderAndNoClock) {
  create("x").append({done("a", 0.1, 1), done("b", 0.2, 1)});
  create("y").append({done("b", 0.2, 7), done("a", 0.1, 9)});
  const auto lines = [&](const char* name) {
    return sorted_lines(Store::open(folder(name), Store::Access::read));
  };
  EXPECT_EQ(lines("x"), lines("y"));
  EXPECT_EQ(lines("x").find("clock"), std::string::npos);
}

TEST_F(SweepStore, ExportsATable) {
  Store store = create();
  store.append({done("a", 0.5, 2), failed("b", "bad, \"very\"")});
  EXPECT_EQ(csv(store),
            "id,status,rung,/pipelines/main/0/sink_size,density,output_error,reason,signal,seconds\r\n"
            "a,done,0,4,0.1,0.5,,,2.0\r\n"
            "b,failed,0,4,,,\"bad, \"\"very\"\"\",6,1.0\r\n");
}

/// A writer that appends numbered trials until it is killed; it tells each number after it is recorded.
pid_t start_writer(const std::string& folder, int tell) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  Store store = Store::open(folder, Store::Access::write);
  for (int next = static_cast<int>(store.records().size());; next += 3) {
    store.append({done(std::to_string(next), next), done(std::to_string(next + 1), next),
                  done(std::to_string(next + 2), next)});
    const int recorded = next + 3;
    static_cast<void>(!::write(tell, &recorded, sizeof recorded));
  }
}

TEST_F(SweepStore, WhatWasRecordedOutlivesKill9) {
  create();
  std::mt19937 random(7);
  int recorded = 0;
  for (int kill = 0; kill < 10; ++kill) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t writer = start_writer(folder(), ends[1]);
    ::close(ends[1]);
    // Every other one has recorded something, however slow the disk.
    if (kill % 2 == 1) {
      ASSERT_EQ(::read(ends[0], &recorded, sizeof recorded), ssize_t{sizeof recorded});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 60));
    ::kill(writer, SIGKILL);
    ::waitpid(writer, nullptr, 0);
    for (int told = 0; ::read(ends[0], &told, sizeof told) == static_cast<ssize_t>(sizeof told);)
      recorded = told;
    ::close(ends[0]);
    const Store store = Store::open(folder(), Store::Access::read);
    ASSERT_GE(store.records().size(), static_cast<size_t>(recorded));
    for (int i = 0; i < recorded; ++i) ASSERT_NE(store.find(std::to_string(i)), nullptr) << i;
  }
  EXPECT_GE(recorded, 15);
}

}  // namespace
}  // namespace attnlab::sweep
