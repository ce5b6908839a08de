// A crash inside a plugin, told to the user: which file, which method, which stage, where.
#pragma once

#include <attnlab/abi.h>

namespace attnlab::plugin {

/// What a thread is calling. The texts outlive the call; `tile` is null for calls without one.
struct PluginCall {
  const char* file;
  const char* method;
  const char* stage;
  const char* slot;
  const attnlab_tile* tile;
};

/// Marks this thread as inside a plugin as long as it lives. Costs a few stores.
class CallMark {
 public:
  explicit CallMark(const PluginCall& call);
  ~CallMark();
  CallMark(const CallMark&) = delete;
  CallMark& operator=(const CallMark&) = delete;

 private:
  PluginCall call_;
  const PluginCall* outer_;
};

/// From now on a fatal signal on a marked thread names the plugin and ends the process with
/// Exit::plugin_broken; on any other thread it does what it did before. [main thread, once]
void report_crashes();

}  // namespace attnlab::plugin
