// User errors (values with a location and a remedy) and broken invariants (abort with context).
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attnlab::base {

/// Process exit codes of the command line; documented in docs/reference/cli.md.
enum class Exit : int {
  ok = 0,
  failed = 1,
  invalid = 2,
  plugin_missing = 3,
  plugin_broken = 4,
  trials_failed = 5,
  threshold_missed = 6,
  interrupted = 130,
};

/// Where a mistake is and what would be right. Empty fields are not printed.
struct Mistake {
  std::string file;          ///< config, tensor file or plugin that holds the mistake
  int line = 0, column = 0;  ///< in `file`, from 1; 0: unknown
  std::string pointer;       ///< JSON pointer inside `file`, or an index such as "[0,2,17,3]"
  std::string found;         ///< what was there
  std::string allowed;       ///< what may be there
  std::string suggestion;    ///< the nearest right thing, or the command that mends it
};

/// A mistake of the user or of a file: shown as it is, never with a stack trace. `what()` is printable,
/// whatever bytes of files its fields quote.
class UserError : public std::runtime_error {
 public:
  explicit UserError(std::string summary, Mistake mistake = {}, Exit exit = Exit::invalid);

  const std::string& summary() const { return summary_; }
  const Mistake& mistake() const { return mistake_; }
  Exit exit() const { return exit_; }

 private:
  std::string summary_;
  Mistake mistake_;
  Exit exit_;
};

/// `text` with control characters other than newlines and bytes that are no UTF-8 written as "\x1b": safe for
/// a terminal and for JSON.
std::string escape_unprintable(std::string_view text);

/// The candidate nearest to `word` by edit distance (transpositions count one), or "" when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// "did you mean \"x\"?" for the nearest candidate, or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

/// "a, b, c".
std::string join(const std::vector<std::string>& words, std::string_view separator = ", ");

/// Whether this thread is about to abort over a broken invariant. Safe in a signal handler.
bool invariant_is_broken();

/// Prints the broken invariant with its place and aborts.
[[noreturn]] void invariant_broken(const char* condition, const char* file, int line,
                                   const std::string& context);

}  // namespace attnlab::base

/// A condition that no user input can break. `context` is only evaluated when it is broken.
#define ATTNLAB_CHECK(condition, context)                                           \
  do {                                                                              \
    if (!(condition)) [[unlikely]] {                                                \
      ::attnlab::base::invariant_broken(#condition, __FILE__, __LINE__, (context)); \
    }                                                                               \
  } while (false)
