// A plugin's shared library in this process.
#pragma once

#include <attnlab/abi.h>

#include <string>
#include <vector>

namespace attnlab::plugin {

/// Opens the file (bound now, symbols local) and returns its library table. Loaded once per path and never
/// unloaded: threads, thread-locals and static objects of a plugin outlive any point at which unloading would
/// be safe. Restores the FPU mode that a library's start-up code may change and reports it in `warnings`.
/// Throws UserError (Exit::plugin_missing or plugin_broken) naming the file. [main thread]
const attnlab_library& load_library(const std::string& path, std::vector<std::string>& warnings);

/// The library behind an entry that is linked into this program.
const attnlab_library& library_of(const attnlab_plugin_entry& entry, const std::string& origin);

}  // namespace attnlab::plugin
