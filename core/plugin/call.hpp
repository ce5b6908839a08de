// Calls into plugins, marked while they last: whoever crashes, hangs, exits or breaks a rule inside can be
// named.
#pragma once

#include <attnlab/abi.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace attnlab::plugin {

/// Who is called. Empty pipeline or stage: none is known.
struct Callee {
  std::string file, method, pipeline, stage;
};

/// Where in the problem a call works. Negative numbers and empty intervals are not said.
struct Place {
  int64_t layer = -1, batch = -1, kv_head = -1;
  int64_t first_position = 0, last_position = -1;  ///< of the query rows, inclusive
  int64_t first_key = 0, last_key = -1;            ///< inclusive
};
Place place_of(const attnlab_tile& tile);
Place place_of(const attnlab_key_block& block);

/// Writes `plugin METHOD EVENT in SLOT (pipeline "...", stage "..."; layer 1, ...)` and a final zero. Neither
/// allocates nor locks, so that a signal handler may call it. Returns the length, less than `size`.
size_t write_call(char* text, size_t size, const Callee& callee, const char* slot, const Place& place,
                  const char* event);

/// Marks this thread as inside a plugin from construction to destruction; calls may nest. Costs an
/// uncontended lock. `callee` and `slot` outlive it.
class Call {
 public:
  Call(const Callee& callee, const char* slot, const Place& place = {});
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// The innermost call of this thread, or nullptr. Safe in a signal handler.
  static const Call* current();

  const Callee& callee() const { return callee_; }
  const char* slot() const { return slot_; }
  const Place& place() const { return place_; }

 private:
  const Callee& callee_;
  const char* slot_;
  Place place_;
  const Call* outer_;
};

/// Visits the innermost call of each thread that is inside a plugin. `serial` differs between outermost
/// calls. A call cannot end while it is visited.
void each_call(void (*visit)(const Call& call, uint64_t serial, void* context), void* context);

/// Remembers the floating-point control of this thread: rounding, flush-to-zero, trapped exceptions. Code
/// that changes it changes the results of everybody after it.
class FpuMode {
 public:
  FpuMode();
  /// Puts the remembered control back; true when it had been changed.
  bool restore();

 private:
  unsigned control_;
};

}  // namespace attnlab::plugin
