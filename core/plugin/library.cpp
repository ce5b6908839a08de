// The only file that includes Boost.DLL.
#include "core/plugin/library.hpp"

#include <fmt/core.h>

#include <boost/dll/shared_library.hpp>
#include <map>

#include "core/base/error.hpp"
#include "core/plugin/call.hpp"

namespace attnlab::plugin {
namespace {

using base::Exit;
using base::UserError;

}  // namespace

const attnlab_library& library_of(const attnlab_plugin_entry& entry, const std::string& origin) {
  if (entry.magic != ATTNLAB_MAGIC) {
    throw UserError("its entry has a wrong magic number", {.file = origin}, Exit::plugin_broken);
  }
  if (entry.abi_major != ATTNLAB_ABI_MAJOR || entry.abi_minor != ATTNLAB_ABI_MINOR ||
      entry.struct_size != sizeof(attnlab_plugin_entry)) {
    throw UserError(
        fmt::format("built with SDK {} for plugin ABI {}.{}, this host speaks {}.{}", entry.sdk_version,
                    entry.abi_major, entry.abi_minor, ATTNLAB_ABI_MAJOR, ATTNLAB_ABI_MINOR),
        {.file = origin, .suggestion = "rebuild it against this host's SDK"}, Exit::plugin_missing);
  }
  attnlab_error error{};
  error.struct_size = sizeof error;
  const attnlab_library* library = nullptr;
  if (entry.describe(&library, &error) != ATTNLAB_OK || library == nullptr) {
    throw UserError(std::string("it cannot describe itself: ") + error.message, {.file = origin},
                    Exit::plugin_broken);
  }
  return *library;
}

const attnlab_library& load_library(const std::string& path, std::vector<std::string>& warnings) {
  namespace dll = boost::dll;
  // Leaked on purpose, see the header.
  static auto* loaded = new std::map<std::string, std::pair<dll::shared_library, const attnlab_library*>>();
  if (auto found = loaded->find(path); found != loaded->end()) return *found->second.second;

  // A library linked with -ffast-math sets flush-to-zero for its whole process when it is opened (GCC bug
  // 55522).
  FpuMode fpu;
  dll::shared_library file;
  std::error_code failure;
  file.load(path, failure, dll::load_mode::rtld_now | dll::load_mode::rtld_local);
  if (fpu.restore()) {
    warnings.push_back(path +
                       " changed the floating-point mode while loading (linked with -ffast-math?); restored");
  }
  if (failure) {
    throw UserError("cannot be loaded: " + failure.message(), {.file = path}, Exit::plugin_missing);
  }
  if (!file.has("attnlab_plugin")) {
    throw UserError("exports no symbol attnlab_plugin",
                    {.file = path, .suggestion = "end its source with ATTNLAB_PLUGIN(...)"},
                    Exit::plugin_missing);
  }
  const auto& library = library_of(file.get<const attnlab_plugin_entry>("attnlab_plugin"), path);
  return *loaded->emplace(path, std::make_pair(std::move(file), &library)).first->second.second;
}

}  // namespace attnlab::plugin
