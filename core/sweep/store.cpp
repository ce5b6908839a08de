#include "core/sweep/store.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "core/base/error.hpp"

namespace attnlab::sweep {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;
using io::Json;

constexpr const char* schema = "attnlab.sweep/1";
constexpr size_t largest_sweep = size_t{64} << 20, largest_trials = size_t{1} << 36;

std::string host_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

void flush(int file, const std::string& path) {
  if (::fsync(file) == 0) return;
  throw UserError(std::string("cannot flush: ") + std::strerror(errno), {.file = path}, Exit::failed);
}

/// A new file's name lives in its folder, which must reach the disk too.
void flush_folder(const std::string& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

std::string line_of(const Record& record) {
  return io::line_text(to_json(record.trial, record.outcome)) + "\n";
}

std::string without_clock(const Record& record) {
  Json line = to_json(record.trial, record.outcome);
  io::erase_member(line, "clock");
  return io::line_text(line);
}

/// False: `text` is no record.
bool read_record(std::string_view text, Record& record) {
  const Json line = Json::parse(text, nullptr, false);
  if (line.is_discarded()) return false;
  try {
    from_json(line, record.trial, record.outcome);
  } catch (const UserError&) {
    return false;
  }
  return true;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv_value(const Json& value) {
  return csv_field(value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump());
}

}  // namespace

Store::Store(std::string folder) : folder_(std::move(folder)) {}
Store::Store(Store&&) noexcept = default;
Store::~Store() = default;

bool Store::holds_sweep(const std::string& folder) {
  return fs::exists(folder + "/sweep.json");
}

Store Store::create(const std::string& folder, const Json& sweep, const std::string& hash,
                    const std::vector<Record>& records) {
  io::create_directories(folder);
  Store store(folder);
  store.lock();
  if (holds_sweep(folder)) {
    throw UserError("the folder holds a sweep already",
                    {.file = folder, .suggestion = "go on with attnlab sweep resume " + folder});
  }
  store.sweep_ = sweep;
  store.hash_ = hash;
  // The trials first: a folder is a store once it has a sweep.json, and what a process leaves that dies
  // before is none.
  std::string lines;
  for (const Record& record : records) {
    lines += line_of(record);
    store.records_.emplace(record.trial.id, record);
  }
  io::write_file_atomically(store.path("trials.jsonl"), lines);
  const Json document = {{"schema", schema}, {"hash", hash}, {"version", ATTNLAB_VERSION}, {"sweep", sweep}};
  io::write_file_atomically(store.path("sweep.json"), io::pretty_text(document));
  store.begin_writing();
  flush_folder(folder);
  return store;
}

Store Store::open(const std::string& folder, Access access) {
  if (!holds_sweep(folder)) {
    throw UserError("the folder holds no sweep",
                    {.file = folder, .found = "no sweep.json", .suggestion = "attnlab sweep run makes one"});
  }
  Store store(folder);
  if (access == Access::write) store.lock();
  store.read_sweep();
  if (access != Access::head) store.read_trials();
  if (access == Access::write) store.begin_writing();
  return store;
}

void Store::lock() {
  lock_ = std::make_unique<io::OutputFile>(path("lock"), io::OutputFile::Mode::append, path("lock"));
  if (::flock(lock_->descriptor(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK)
      throw UserError(std::string("cannot lock: ") + std::strerror(errno), {.file = path("lock")},
                      Exit::failed);
    std::string holder = io::read_text(path("lock"), 4096);
    while (!holder.empty() && holder.back() == '\n') holder.pop_back();
    throw UserError("another process writes this sweep",
                    {.file = folder_,
                     .found = holder.empty() ? "a lock that does not say whose it is" : holder,
                     .suggestion = "wait for its end, or end it"},
                    Exit::failed);
  }
  if (::ftruncate(lock_->descriptor(), 0) == 0)
    lock_->write(fmt::format("process {} on {}\n", ::getpid(), host_name()));
}

void Store::read_sweep() {
  const Json document =
      io::parse_untrusted(io::read_text(path("sweep.json"), largest_sweep), path("sweep.json"));
  const auto refuse = [&](const char* pointer, const char* allowed) {
    throw UserError("this is no sweep of this version of attnlab",
                    {.file = path("sweep.json"), .pointer = pointer, .allowed = allowed});
  };
  if (!document.is_object() || document.value("schema", Json()) != schema) refuse("/schema", schema);
  if (!document.contains("hash") || !document["hash"].is_string()) refuse("/hash", "text");
  if (!document.contains("sweep")) refuse("/sweep", "the sweep");
  hash_ = document["hash"].get<std::string>();
  sweep_ = document["sweep"];
}

void Store::read_trials() {
  const std::string file = path("trials.jsonl");
  if (!fs::exists(file)) return;
  const std::string text = io::read_text(file, largest_trials);
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    ++number;
    Record record;
    if (!read_record(line, record)) {
      cut_lines_ += line.empty() ? 0 : 1;
      continue;
    }
    const auto [place, added] = records_.try_emplace(record.trial.id, record);
    if (added) continue;
    if (place->second.outcome.done()) {
      throw UserError("a trial that is done is recorded twice",
                      {.file = file, .line = static_cast<int>(number), .found = "id " + record.trial.id},
                      Exit::failed);
    }
    place->second = std::move(record);
  }
}

void Store::begin_writing() {
  trials_ = std::make_unique<io::OutputFile>(path("trials.jsonl"), io::OutputFile::Mode::append,
                                             path("trials.jsonl"));
  // A line that a killed writer left unended: whatever follows begins a line of its own.
  const off_t size = ::lseek(trials_->descriptor(), 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(trials_->descriptor(), &last, 1, size - 1) == 1 && last != '\n')
    trials_->write("\n");
}

const Record* Store::find(const std::string& id) const {
  const auto found = records_.find(id);
  return found == records_.end() ? nullptr : &found->second;
}

int64_t Store::failed() const {
  return std::count_if(records_.begin(), records_.end(),
                       [](const auto& entry) { return !entry.second.outcome.done(); });
}

void Store::append(const std::vector<Record>& records) {
  ATTNLAB_CHECK(trials_ != nullptr, "a store that is open for reading");
  std::string lines;
  std::set<std::string> ids;
  for (const Record& record : records) {
    const Record* known = find(record.trial.id);
    if ((known != nullptr && known->outcome.done()) || !ids.insert(record.trial.id).second) {
      throw UserError("the trial is recorded already", {.file = folder_, .found = "id " + record.trial.id},
                      Exit::failed);
    }
    lines += line_of(record);
  }
  trials_->write(lines);
  flush(trials_->descriptor(), path("trials.jsonl"));
  for (const Record& record : records) records_.insert_or_assign(record.trial.id, record);
}

Store Store::merge(const std::string& folder, const std::vector<std::string>& parts, const Json& sweep) {
  ATTNLAB_CHECK(!parts.empty(), "merge of nothing");
  std::map<std::string, Record> all;
  std::map<std::string, std::string> origin;
  const Store first = open(parts[0], Access::read);
  for (const auto& part : parts) {
    const Store store = open(part, Access::read);
    if (store.hash() != first.hash()) {
      throw UserError("these are different sweeps",
                      {.file = part, .found = store.hash(), .allowed = first.hash() + ", as in " + parts[0]});
    }
    for (const auto& [id, record] : store.records()) {
      const auto [place, added] = all.try_emplace(id, record);
      const std::string old_line = without_clock(place->second), line = without_clock(record);
      const bool was_done = place->second.outcome.done(), is_done = record.outcome.done();
      // Of two failures either would do; the order of the stores must not decide.
      const bool better = !added && (is_done != was_done ? is_done : !is_done && line < old_line);
      if (was_done && is_done && line != old_line) {
        throw UserError("two stores tell different things of one trial",
                        {.file = part,
                         .found = "id " + id,
                         .allowed = "what " + origin[id] + " says",
                         .suggestion = "a trial whose result differs from run to run is no result; see both "
                                       "lines in the two trials.jsonl"},
                        Exit::failed);
      }
      if (better) place->second = record;
      if (added || better) origin[id] = part;
    }
  }
  std::vector<Record> records;
  for (auto& [id, record] : all) records.push_back(std::move(record));
  return create(folder, sweep, first.hash(), records);
}

std::string csv(const Store& store) {
  std::set<std::string> pointers, metrics;
  for (const auto& [id, record] : store.records()) {
    for (const auto& item : record.trial.point.items()) pointers.insert(item.key());
    for (const auto& [name, value] : record.outcome.metrics) metrics.insert(name);
  }
  std::string text = "id,status,rung";
  for (const auto& pointer : pointers) text += "," + csv_field(pointer);
  for (const auto& metric : metrics) text += "," + csv_field(metric);
  text += ",reason,signal,seconds\r\n";
  for (const auto& [id, record] : store.records()) {
    const Outcome& outcome = record.outcome;
    text += fmt::format("{},{},{}", csv_field(id), outcome.done() ? "done" : "failed", record.trial.rung);
    for (const auto& pointer : pointers)
      text += "," + (record.trial.point.contains(pointer) ? csv_value(record.trial.point[pointer]) : "");
    for (const auto& metric : metrics) {
      const auto found = outcome.metrics.find(metric);
      text += found == outcome.metrics.end() ? "," : "," + Json(found->second).dump();
    }
    text +=
        fmt::format(",{},{},{}\r\n", csv_field(outcome.reason),
                    outcome.signal == 0 ? "" : std::to_string(outcome.signal), Json(outcome.seconds).dump());
  }
  return text;
}

std::string sorted_lines(const Store& store) {
  std::string text;
  for (const auto& [id, record] : store.records()) text += without_clock(record) + "\n";
  return text;
}

}  // namespace attnlab::sweep
