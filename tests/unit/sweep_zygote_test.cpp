// Trials in processes of their own: limits, deaths, messages, and a pool of them.
#include "core/sweep/zygote.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>

#include "core/base/error.hpp"
#include "core/sweep/executor.hpp"
#include "tests/support/sanitizers.hpp"

namespace attnlab::sweep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Does what a trial's config says: {"do": ..., "value": number}.
std::map<std::string, double> obey(const Trial& trial) {
  const std::string what = trial.config.value("do", "");
  if (what == "abort") {
    std::fputs("the last words\n", stderr);
    std::abort();
  }
  if (what == "segfault") std::raise(SIGSEGV);
  if (what == "kill") std::raise(SIGKILL);
  if (what == "kill zygote") {
    ::kill(::getppid(), SIGKILL);
    while (true) ::pause();
  }
  if (what == "exit") ::_exit(3);
  if (what == "hang") {
    while (true) ::pause();
  }
  if (what == "close and hang") {
    for (int file = 0; file < 100; ++file) ::close(file);
    while (true) ::pause();
  }
  if (what == "sleep") std::this_thread::sleep_for(milliseconds(trial.config.at("value").get<int>()));
  if (what == "memory") {
    std::vector<std::vector<char>> taken;
    while (true) taken.emplace_back(size_t{8} << 20, 'x');
  }
  if (what == "malloc") {
    while (true) {
      auto* taken = static_cast<volatile char*>(std::malloc(size_t{8} << 20));
      for (size_t i = 0; i < (size_t{8} << 20); i += 4096) taken[i] = 1;
    }
  }
  if (what == "throw") throw base::UserError("the budget is negative", {.found = "-3"});
  if (what == "babble") {
    for (int line = 0; line < 100000; ++line) std::fprintf(stderr, "line %d\n", line);
    throw base::UserError("enough");
  }
  if (what == "fork") {
    if (::fork() == 0) {
      while (true) ::pause();
    }
  }
  if (what == "fork and abort") {
    const pid_t child = ::fork();
    if (child == 0) {
      while (true) ::pause();
    }
    std::fprintf(stderr, "%d\n", static_cast<int>(child));
    std::abort();
  }
  return {{"value", trial.config.value("value", 1.5)},
          {"process", static_cast<double>(::getpid())},
          {"zygote", static_cast<double>(::getppid())}};
}

Trial trial_of(const std::string& id, const io::Json& config) {
  Trial trial;
  trial.id = id;
  trial.config = config;
  return trial;
}

Outcome outcome_of(const io::Json& config, Limits limits = {}) {
  Zygote zygote({limits, obey, {}});
  zygote.send(trial_of("t", config));
  const auto outcome = zygote.receive();
  EXPECT_TRUE(outcome.has_value());
  return outcome.value_or(Outcome{});
}

bool ends_soon(pid_t process) {
  for (int i = 0; i < 500; ++i) {
    // A zombie that nobody waits for is an end too.
    std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
    std::string number, name, state;
    if (!(stat >> number >> name >> state) || state == "Z") return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

TEST(Zygote, AnswersEachTrialFromAProcessOfItsOwn) {
  Zygote zygote({{}, obey, {}});
  std::set<double> processes;
  for (int i = 0; i < 5; ++i) zygote.send(trial_of(std::to_string(i), {{"value", 0.1 * i}}));
  for (int i = 0; i < 5; ++i) {
    const auto outcome = zygote.receive();
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->id, std::to_string(i));
    EXPECT_TRUE(outcome->done());
    EXPECT_EQ(outcome->metrics.at("value"), 0.1 * i);
    EXPECT_GT(outcome->seconds, 0);
    processes.insert(outcome->metrics.at("process"));
  }
  EXPECT_EQ(processes.size(), 5u);
  EXPECT_FALSE(processes.contains(::getpid()));
}

TEST(Zygote, TellsHowATrialDied) {
  const Outcome aborted = outcome_of({{"do", "abort"}});
  EXPECT_FALSE(aborted.done());
  EXPECT_EQ(aborted.signal, SIGABRT);
  EXPECT_EQ(aborted.reason, "signal SIGABRT");
  EXPECT_NE(aborted.stderr_tail.find("the last words\n"), std::string::npos);
  EXPECT_TRUE(aborted.metrics.empty());
  if (!test::sanitized) {
    EXPECT_EQ(outcome_of({{"do", "segfault"}}).reason, "signal SIGSEGV");
  }
  EXPECT_EQ(outcome_of({{"do", "kill"}}).signal, SIGKILL);
  EXPECT_EQ(outcome_of({{"do", "exit"}}).reason, "exit code 3 without a result");
  EXPECT_EQ(outcome_of({{"do", "throw"}}).reason, "the budget is negative");
  EXPECT_NE(outcome_of({{"do", "throw"}}).stderr_tail.find("-3"), std::string::npos);
}

TEST(Zygote, StopsATrialAtItsTime) {
  for (const char* what : {"hang", "close and hang"}) {
    const auto start = steady_clock::now();
    const Outcome outcome = outcome_of({{"do", what}}, {.seconds = 0.3});
    EXPECT_EQ(outcome.reason, "ran past 0.3 s") << what;
    EXPECT_LT(steady_clock::now() - start, milliseconds(3000));
    EXPECT_GE(outcome.seconds, 0.3);
  }
}

TEST(Zygote, StopsATrialAtItsMemory) {
  if (test::sanitized) GTEST_SKIP() << "a sanitizer ends processes without memory in its own way";
  constexpr Limits limits{.seconds = 30, .memory_bytes = uint64_t{256} << 20};
  EXPECT_EQ(outcome_of({{"do", "memory"}}, limits).reason, "memory above 256 MiB");
  EXPECT_EQ(outcome_of({{"do", "malloc"}}, limits).reason, "memory above 256 MiB");
  EXPECT_TRUE(outcome_of({{"do", ""}}, limits).done());
}

TEST(Zygote, KeepsTheLastLinesOfStderr) {
  const Outcome outcome = outcome_of({{"do", "babble"}});
  EXPECT_EQ(outcome.reason, "enough");
  EXPECT_LE(outcome.stderr_tail.size(), 2048u);
  EXPECT_GT(outcome.stderr_tail.size(), 1500u);
  EXPECT_TRUE(outcome.stderr_tail.starts_with("line ")) << outcome.stderr_tail.substr(0, 20);
  EXPECT_NE(outcome.stderr_tail.find("line 99999\n"), std::string::npos);
}

TEST(Zygote, CarriesConfigsOfAnySize) {
  Zygote zygote({{},
                 [](const Trial& trial) {
                   return std::map<std::string, double>{
                       {"size", static_cast<double>(trial.config.at("text").get<std::string>().size())}};
                 },
                 {}});
  for (const size_t size : {size_t{0}, size_t{32} << 10, size_t{1} << 20}) {
    zygote.send(trial_of("t", {{"text", std::string(size, 'x')}}));
    const auto outcome = zygote.receive();
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->metrics.at("size"), static_cast<double>(size));
  }
}

TEST(Zygote, ATrialsOwnChildrenGoWithIt) {
  const Outcome outcome = outcome_of({{"do", "fork"}});
  ASSERT_TRUE(outcome.done());
  const auto group = static_cast<pid_t>(outcome.metrics.at("process"));
  bool gone = false;
  for (int i = 0; i < 500 && !gone; ++i) {
    gone = ::kill(-group, 0) != 0;
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_TRUE(gone);
}

TEST(Zygote, TheChildrenOfATrialThatCrashesGoWithIt) {
  const Outcome outcome = outcome_of({{"do", "fork and abort"}});
  EXPECT_EQ(outcome.signal, SIGABRT);
  EXPECT_TRUE(ends_soon(std::stoi(outcome.stderr_tail))) << outcome.stderr_tail;
}

TEST(Zygote, DiesWithItsParentAndItsRunnerWithIt) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    Zygote zygote({{}, obey, {}});
    const pid_t process = zygote.process();
    static_cast<void>(!::write(ends[1], &process, sizeof process));
    zygote.send(trial_of("t", {{"do", "hang"}}));
    while (true) ::pause();
  }
  pid_t zygote = 0;
  ASSERT_EQ(::read(ends[0], &zygote, sizeof zygote), static_cast<ssize_t>(sizeof zygote));
  pid_t runner = 0;
  for (int i = 0; i < 500 && runner == 0; ++i) {
    std::ifstream("/proc/" + std::to_string(zygote) + "/task/" + std::to_string(zygote) + "/children") >>
        runner;
    std::this_thread::sleep_for(milliseconds(10));
  }
  ASSERT_NE(runner, 0);
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_TRUE(ends_soon(zygote));
  EXPECT_TRUE(ends_soon(runner));
}

TEST(Zygote, ItsDeathCostsATrialAndIsTold) {
  Zygote zygote({{}, obey, {}});
  zygote.send(trial_of("t", {{"do", "kill zygote"}}));
  EXPECT_FALSE(zygote.receive().has_value());
  zygote.send(trial_of("u", {{"do", ""}}));
  EXPECT_FALSE(zygote.receive().has_value());
}

TEST(Zygote, WhatItToldBeforeItsDeathIsNotLost) {
  Zygote zygote({{}, obey, {}});
  // The third is never read: the connection is reset, and the first one's outcome lies behind that error.
  zygote.send(trial_of("t", {{"do", ""}}));
  zygote.send(trial_of("u", {{"do", "kill zygote"}}));
  zygote.send(trial_of("v", {{"do", ""}}));
  ASSERT_TRUE(ends_soon(zygote.process()));
  const auto outcome = zygote.receive();
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->id, "t");
  EXPECT_TRUE(outcome->done());
  EXPECT_FALSE(zygote.receive().has_value());
  EXPECT_FALSE(zygote.receive().has_value());
}

std::map<std::string, Outcome> run_all(Executor& executor, const std::vector<Trial>& trials) {
  std::map<std::string, Outcome> outcomes;
  EXPECT_TRUE(executor.run(trials, {.on_finished =
                                        [&](const std::vector<Finished>& finished) {
                                          for (const auto& one : finished) {
                                            EXPECT_EQ(one.trial->id, one.outcome.id);
                                            EXPECT_TRUE(outcomes.emplace(one.trial->id, one.outcome).second);
                                          }
                                        },
                                    .stop = {},
                                    .on_tick = {}}));
  return outcomes;
}

TEST(Executor, RunsEveryTrialOnceWhateverBecomesOfOthers) {
  Executor executor(local_workers(2, {{.seconds = 2, .memory_bytes = uint64_t{128} << 20}, obey, {}}));
  std::vector<Trial> trials;
  for (int i = 0; i < 200; ++i) {
    const char* what = i % 50 == 7    ? "abort"
                       : i % 100 == 9 ? "hang"
                       : i % 100 == 3 ? "memory"
                       : i % 40 == 11 ? "kill zygote"
                                      : "";
    trials.push_back(trial_of(std::to_string(i), {{"do", what}, {"value", i}}));
  }
  const auto outcomes = run_all(executor, trials);
  ASSERT_EQ(outcomes.size(), trials.size());
  int failed = 0;
  for (const Trial& trial : trials) {
    const Outcome& outcome = outcomes.at(trial.id);
    const std::string what = trial.config.at("do").get<std::string>();
    EXPECT_EQ(outcome.done(), what.empty()) << trial.id << ": " << outcome.reason;
    failed += outcome.done() ? 0 : 1;
    const int signal = what == "abort" ? SIGABRT : what.starts_with("kill") || what == "hang" ? SIGKILL : 0;
    EXPECT_EQ(outcome.signal, signal) << trial.id;
    EXPECT_EQ(outcome.reason.find("watches over") != std::string::npos, what == "kill zygote") << trial.id;
    EXPECT_EQ(outcome.metrics.contains("value") ? outcome.metrics.at("value") : -1,
              outcome.done() ? std::stod(trial.id) : -1);
  }
  EXPECT_EQ(failed, 4 + 2 + 2 + 5);
  // A pool serves batch after batch.
  EXPECT_EQ(run_all(executor, {trials[0], trials[1]}).size(), 2u);
}

TEST(Executor, AWorkerThatDiesIdleCostsNoTrial) {
  std::vector<Trial> trials;
  for (int i = 0; i < 6; ++i) trials.push_back(trial_of(std::to_string(i), {{"value", i}}));
  Executor executor(local_workers(2, {{}, obey, {}}));
  std::set<pid_t> zygotes;
  const auto run = [&] {
    int done = 0;
    EXPECT_TRUE(executor.run(trials, {.on_finished =
                                          [&](const std::vector<Finished>& finished) {
                                            for (const auto& one : finished) {
                                              done += one.outcome.done() ? 1 : 0;
                                              zygotes.insert(
                                                  static_cast<pid_t>(one.outcome.metrics.at("zygote")));
                                            }
                                          },
                                      .stop = {},
                                      .on_tick = {}}));
    EXPECT_EQ(done, 6);
  };
  run();
  const std::set<pid_t> first = zygotes;
  for (const pid_t zygote : first) {
    ::kill(zygote, SIGKILL);
    EXPECT_TRUE(ends_soon(zygote));
  }
  run();
  EXPECT_GT(zygotes.size(), first.size());
}

TEST(Executor, AStopFinishesWhatRuns) {
  Executor executor(local_workers(2, {{}, obey, {}}));
  std::vector<Trial> trials;
  for (int i = 0; i < 20; ++i)
    trials.push_back(trial_of(std::to_string(i), {{"do", "sleep"}, {"value", 50}}));
  size_t count = 0;
  const bool whole = executor.run(
      trials, {.on_finished = [&](const std::vector<Finished>& finished) { count += finished.size(); },
               .stop = [&] { return count >= 4; },
               .on_tick = {}});
  EXPECT_FALSE(whole);
  EXPECT_GE(count, 4u);
  EXPECT_LE(count, 8u);
}

TEST(Executor, DefaultWorkersFitTheMachine) {
  EXPECT_GE(default_workers({}), 1);
  EXPECT_EQ(default_workers({.memory_bytes = uint64_t{1} << 60}), 1);
}

}  // namespace
}  // namespace attnlab::sweep
