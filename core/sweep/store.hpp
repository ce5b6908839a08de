// The folder of a sweep: what was asked, and a line for each trial that came to its end.
//
//   sweep.json    the sweep, and the hash of its identity
//
//   trials.jsonl  appended to, one line a trial (see to_json of a trial), which is on disk before it counts
//
//   lock          locked while a process writes; holds who
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/io/atomic_file.hpp"
#include "core/sweep/trial.hpp"

namespace attnlab::sweep {

/// A trial on record.
struct Record {
  Trial trial;
  Outcome outcome;
};

/// A process may be killed at any time, by kill -9 too: what was recorded stays, a line that was cut off is
/// as if it had never been begun. A failed trial may be recorded anew, and the newer record holds; one that
/// is done may not. Errors of files are UserError (Exit::failed).
class Store {
 public:
  enum class Access {
    head,  ///< sweep.json alone
    read,
    write
  };

  /// Makes a folder for a sweep, with these records from the start. Throws UserError when it holds a sweep
  /// already.
  static Store create(const std::string& folder, const io::Json& sweep, const std::string& hash,
                      const std::vector<Record>& records = {});
  /// Opens what is there; for writing, one process at a time: the second is told who the first is.
  static Store open(const std::string& folder, Access access);
  /// A store of all records of several stores of one sweep, which becomes `sweep`. Records of the same trial
  /// must be equal but for their clocks, else UserError names both stores; a failed one gives way to one that
  /// is done.
  static Store merge(const std::string& folder, const std::vector<std::string>& parts, const io::Json& sweep);
  static bool holds_sweep(const std::string& folder);

  Store(Store&&) noexcept;
  ~Store();

  const std::string& folder() const { return folder_; }
  const io::Json& sweep() const { return sweep_; }
  /// Of what makes sweeps the same sweep.
  const std::string& hash() const { return hash_; }
  /// By id.
  const std::map<std::string, Record>& records() const { return records_; }
  const Record* find(const std::string& id) const;
  int64_t failed() const;
  /// Lines of trials.jsonl that are no records, as a killed writer leaves them.
  int64_t cut_lines() const { return cut_lines_; }

  /// Records trials: they are on disk when it returns, all with one fsync. Throws UserError for an id that is
  /// done already, before anything is written.
  void append(const std::vector<Record>& records);

 private:
  explicit Store(std::string folder);
  void lock();
  void read_sweep();
  void read_trials();
  void begin_writing();
  std::string path(const char* name) const { return folder_ + "/" + name; }

  std::string folder_, hash_;
  io::Json sweep_;
  std::map<std::string, Record> records_;
  int64_t cut_lines_ = 0;
  std::unique_ptr<io::OutputFile> lock_, trials_;
};

/// A table with a row for each record, by id: id, status, rung, each pointer of any point, each metric,
/// reason, signal, seconds (RFC 4180).
std::string csv(const Store& store);

/// All records as lines, by id and without clocks: equal for equal sweeps, byte for byte.
std::string sorted_lines(const Store& store);

}  // namespace attnlab::sweep
