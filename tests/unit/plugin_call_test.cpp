// Marked calls: what is said of them, nesting, the floating-point mode, crashes, exits and hangs.
#include "core/plugin/call.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "core/base/error.hpp"
#include "core/plugin/crash.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::plugin {
namespace {

using namespace std::chrono_literals;

const Callee callee{"/lib/x.so", "quest", "main", "first"};

std::string text_of(const Callee& who, const Place& place, size_t size = 1024) {
  std::vector<char> text(size);
  const size_t length = write_call(text.data(), text.size(), who, "select", place, "crashed");
  EXPECT_EQ(length, std::string(text.data()).size());
  return text.data();
}

TEST(PluginCall, SaysWhoAndWhereAsFarAsKnown) {
  EXPECT_EQ(text_of(callee, {}), "plugin quest crashed in select (pipeline \"main\", stage \"first\")");
  EXPECT_EQ(text_of({"f", "m", "", "s"}, {.layer = 3}), "plugin m crashed in select (stage \"s\"; layer 3)");
  EXPECT_EQ(text_of(callee, {.layer = 0, .batch = 1, .kv_head = 2, .first_position = 7, .last_position = 9}),
            "plugin quest crashed in select (pipeline \"main\", stage \"first\"; layer 0, batch 1, KV head "
            "2, positions "
            "7 to 9)");
  attnlab_key_block block{};
  block.layer = 4;
  block.begin = 16;
  block.end = 32;
  EXPECT_NE(text_of(callee, place_of(block)).find("layer 4, batch 0, KV head 0, keys 16 to 31)"),
            std::string::npos);
}

TEST(PluginCall, TextThatDoesNotFitIsCut) {
  EXPECT_EQ(text_of(callee, {}, 16), "plugin quest cr");
  EXPECT_EQ(text_of(callee, {}, 1), "");
}

TEST(PluginCall, TheInnermostCallIsTheCurrentOne) {
  EXPECT_EQ(Call::current(), nullptr);
  {
    const Call outer(callee, "select");
    EXPECT_EQ(Call::current(), &outer);
    {
      const Call inner(callee, "score");
      EXPECT_EQ(Call::current(), &inner);
      std::thread([] { EXPECT_EQ(Call::current(), nullptr) << "marks belong to threads"; }).join();
    }
    EXPECT_EQ(Call::current(), &outer);
  }
  EXPECT_EQ(Call::current(), nullptr);
}

std::vector<std::pair<std::string, uint64_t>> calls_now() {
  std::vector<std::pair<std::string, uint64_t>> calls;
  each_call(
      [](const Call& call, uint64_t serial, void* context) {
        static_cast<std::vector<std::pair<std::string, uint64_t>>*>(context)->emplace_back(call.slot(),
                                                                                           serial);
      },
      &calls);
  return calls;
}

TEST(PluginCall, ASerialStaysForNestedCallsAndChangesForTheNext) {
  EXPECT_TRUE(calls_now().empty());
  uint64_t first = 0;
  {
    const Call outer(callee, "select");
    ASSERT_EQ(calls_now().size(), 1u);
    first = calls_now()[0].second;
    const Call inner(callee, "score");
    ASSERT_EQ(calls_now().size(), 1u);
    EXPECT_EQ(calls_now()[0], std::make_pair(std::string("score"), first));
  }
  const Call next(callee, "select");
  EXPECT_NE(calls_now().at(0).second, first);
}

#if defined(__x86_64__)
TEST(PluginCall, FpuModeSeesAndRestoresAChangedMode) {
  const unsigned before = _mm_getcsr();
  FpuMode mode;
  volatile double third = 1.0 / 3.0;  // sets the sticky "inexact" flag, which is no change
  static_cast<void>(third);
  EXPECT_FALSE(mode.restore());
  _mm_setcsr(before | 0x8000);
  EXPECT_TRUE(mode.restore());
  EXPECT_EQ(_mm_getcsr() & 0x8000u, 0u);
}
#endif

TEST(PluginCallDeathTest, ACrashInsideNamesTheCallAndOneOutsideDoesNot) {
  EXPECT_EXIT(
      {
        report_crashes();
        const Call call(callee, "select", {.layer = 5});
        std::raise(SIGFPE);
      },
      testing::ExitedWithCode(4),
      "error: /lib/x.so: plugin quest crashed in select .pipeline \"main\", stage \"first\"; layer 5.: "
      "Floating "
      "point exception");
  EXPECT_EXIT(
      {
        report_crashes();
        { const Call call(callee, "select"); }
        std::raise(SIGTERM);
      },
      testing::KilledBySignal(SIGTERM), "");
}

TEST(PluginCallDeathTest, WhatOthersDoIsNotBlamedOnThePlugin) {
  EXPECT_EXIT(
      {
        report_crashes();
        const Call call(callee, "select");
        ATTNLAB_CHECK(1 == 2, "the host's own mistake");
      },
      testing::KilledBySignal(SIGABRT), "broken invariant: 1 == 2");
  EXPECT_EXIT(
      {
        report_crashes();
        const Call call(callee, "select");
        // The shell is another process.
        std::system(("kill -ABRT " + std::to_string(::getpid())).c_str());
        std::this_thread::sleep_for(20s);
      },
      testing::KilledBySignal(SIGABRT), "");
}

TEST(PluginCallDeathTest, ExitInsideIsNoSuccess) {
  EXPECT_EXIT(
      {
        report_crashes();
        const Call call(callee, "select");
        std::exit(0);
      },
      testing::ExitedWithCode(4), "plugin quest ended the process in select");
}

TEST(PluginCallDeathTest, SoIsEndProcess) {
  EXPECT_EXIT(
      {
        const Call call(callee, "select");
        end_process(0);
      },
      testing::ExitedWithCode(4), "it called _exit");
  EXPECT_EXIT(end_process(7), testing::ExitedWithCode(7), "");
  // The user's second Ctrl-C is no plugin's doing.
  EXPECT_EXIT(
      {
        const Call call(callee, "select");
        leave_process(130);
      },
      testing::ExitedWithCode(130), "^$");
}

TEST(PluginCallDeathTest, ACallBeyondTheLimitHangs) {
  EXPECT_EXIT(
      {
        const CallWatch watch(50ms);
        const Call call(callee, "encode");
        std::this_thread::sleep_for(20s);
      },
      testing::ExitedWithCode(4), "plugin quest hangs in encode .*no answer for 0.05 s");
}

TEST(PluginCall, ShortCallsAndAnEndedWatchHarmNobody) {
  {
    const CallWatch watch(1s);
    for (int i = 0; i < 24; ++i) {
      const Call call(callee, "select");
      std::this_thread::sleep_for(50ms);
    }
  }
  const CallWatch none(0ms);
  const Call call(callee, "select");
  std::this_thread::sleep_for(20ms);
}

TEST(PluginCallDeathTest, FailuresAreRecordedOnALineEach) {
  const io::TemporaryFolder folder;
  const std::string file = folder / "failures";
  io::write_bytes(file, "");
  EXPECT_EXIT(
      {
        report_crashes();
        record_failures_in(file);
        record_failure("first", "two\nlines", "in full");
        record_failure("second", "long", std::string(100000, 'x'));
        const Call call(callee, "select");
        std::raise(SIGSEGV);
      },
      testing::ExitedWithCode(4), "");
  std::ifstream lines(file);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "first\ttwo lines\tin full");
  std::getline(lines, line);
  EXPECT_TRUE(line.starts_with("second\tlong\txxx") && line.size() < 5000);
  std::getline(lines, line);
  EXPECT_EQ(line,
            "main\tcrashed in select: Segmentation fault\t/lib/x.so: plugin quest crashed in select "
            "(pipeline \"main\", stage \"first\"): "
            "Segmentation fault");
  EXPECT_FALSE(std::getline(lines, line));
}

}  // namespace
}  // namespace attnlab::plugin
