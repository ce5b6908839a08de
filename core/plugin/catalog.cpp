#include "core/plugin/catalog.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "core/plugin/library.hpp"

namespace attnlab::plugin {
namespace {

namespace fs = std::filesystem;

std::string canonical(const std::string& path) {
  std::error_code failure;
  auto result = fs::weakly_canonical(path, failure);
  return failure ? path : result.string();
}

/// The shared libraries of a folder, sorted by name so that the catalog does not depend on the file system.
std::vector<std::string> libraries_in(const std::string& folder, std::string& unreadable) {
  std::vector<std::string> files;
  std::error_code failure;
  for (fs::directory_iterator entry(folder, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    if (entry->path().extension() == ".so") files.push_back(canonical(entry->path().string()));
  }
  if (failure) unreadable = failure.message();
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

SearchPath search_path(const std::vector<std::string>& files, const std::vector<std::string>& command_line,
                       const std::vector<std::string>& config, const std::string& program) {
  SearchPath search;
  for (const auto& file : files) search.files.push_back(canonical(file));
  auto add = [&](const std::string& folder, const char* origin) {
    search.folders.push_back({folder, origin});
  };
  for (const auto& folder : command_line) add(folder, "--plugin-path");
  if (const char* variable = std::getenv("ATTNLAB_PLUGIN_PATH"); variable != nullptr) {
    std::istringstream words(variable);
    for (std::string folder; std::getline(words, folder, ':');) {
      if (!folder.empty()) add(folder, "$ATTNLAB_PLUGIN_PATH");
    }
  }
  for (const auto& folder : config) add(folder, "plugin_path of the config");
  const fs::path prefix = fs::path(canonical(program)).parent_path().parent_path();
  add((prefix / "lib" / "attnlab" / "plugins").string(), "built in");
  add((prefix / "plugins").string(), "built in");
  return search;
}

std::vector<Examined> examine(const SearchPath& search, const std::string& program) {
  std::vector<Examined> places;
  if (!search.files.empty()) {
    places.push_back({{"", "--plugin"}, {}, {}});
    for (const auto& file : search.files) places.back().files.push_back(probe(file, program));
  }
  for (const auto& folder : search.folders) {
    Examined place{folder, {}, {}};
    for (const auto& file : libraries_in(folder.path, place.unreadable)) {
      place.files.push_back(probe(file, program));
    }
    places.push_back(std::move(place));
  }
  return places;
}

Catalog Catalog::scan(const SearchPath& search, const std::string& program) {
  Catalog catalog;
  for (const auto& place : examine(search, program)) {
    for (const auto& file : place.files) {
      if (place.folder.path.empty() && !file.refused.empty()) {
        throw base::UserError("the plugin cannot be used: " + file.refused, {.file = file.path},
                              base::Exit::plugin_missing);
      }
      catalog.add(file);
    }
  }
  return catalog;
}

void Catalog::add(const ProbedFile& file) {
  if (!file.refused.empty()) {
    refused_.push_back(file);
    return;
  }
  const auto hold = [&](const Descriptor& descriptor) {
    CatalogEntry entry{descriptor, file.path, file.note};
    auto [place, added] = entries_.emplace(descriptor.id, entry);
    // The same file reached through two folders shadows nothing.
    if (!added && place->second.file != file.path) shadowed_.push_back(entry);
    return added;
  };
  for (const auto& method : file.methods) {
    if (!hold(method)) continue;
    for (const auto& preset : method.presets) hold(with_preset(method, preset));
  }
}

const CatalogEntry* Catalog::find(const std::string& id) const {
  auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

std::string Catalog::why_missing(const std::string& id) const {
  for (const auto& file : refused_) {
    const auto holds = [&](const std::string& method) {
      return id == method || id.starts_with(method + ".");
    };
    if (std::any_of(file.note.ids.begin(), file.note.ids.end(), holds)) {
      return file.path + " holds it but cannot be used: " + file.refused;
    }
  }
  if (const std::string near = base::did_you_mean(id, ids()); !near.empty()) return near;
  if (refused_.empty()) {
    return entries_.empty() ? "no plugin was found: attnlab plugin doctor shows where it was looked for" : "";
  }
  const std::string more = refused_.size() == 1 ? "" : fmt::format(" (and {} more)", refused_.size() - 1);
  return fmt::format("{} was refused{}: {}; attnlab plugin doctor {} says more", refused_[0].path, more,
                     refused_[0].refused, id);
}

std::vector<std::string> Catalog::ids() const {
  std::vector<std::string> ids;
  for (const auto& [id, entry] : entries_) {
    if (entry.descriptor.facet != Facet::scheme) ids.push_back(id);
  }
  return ids;
}

void Catalog::add_static(const attnlab_plugin_entry& entry, const std::string& name) {
  const attnlab_library& library = library_of(entry, name);
  for (uint64_t i = 0; i < library.method_count; ++i) {
    Descriptor descriptor = from_abi(*library.methods[i]);
    entries_.insert_or_assign(descriptor.id, CatalogEntry{descriptor, name, {}});
    for (const auto& preset : descriptor.presets) {
      entries_.insert_or_assign(preset.id, CatalogEntry{with_preset(descriptor, preset), name, {}});
    }
  }
  static_[name] = &entry;
}

const attnlab_plugin_entry* Catalog::static_entry(const std::string& file) const {
  auto found = static_.find(file);
  return found == static_.end() ? nullptr : found->second;
}

}  // namespace attnlab::plugin
