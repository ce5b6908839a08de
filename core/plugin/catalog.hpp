// All methods that a run can name: where they were found, which were shadowed, which files were refused and
// why.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/plugin/probe.hpp"

namespace attnlab::plugin {

/// A folder that is searched, and who asked for it.
struct SearchFolder {
  std::string path;
  std::string origin;  ///< "--plugin-path", "$ATTNLAB_PLUGIN_PATH", "plugin_path of the config", "built in"
};

/// Where to look, strongest first.
struct SearchPath {
  std::vector<std::string> files;  ///< --plugin
  std::vector<SearchFolder>
      folders;  ///< --plugin-path, ATTNLAB_PLUGIN_PATH, the config's plugin_path, built in
};

/// Folders in search order: `command_line`, $ATTNLAB_PLUGIN_PATH (colon-separated), `config`, then the folder
/// beside the program (`<prefix>/lib/attnlab/plugins`, or `<build>/plugins` in a build tree). Never the
/// current directory.
SearchPath search_path(const std::vector<std::string>& files, const std::vector<std::string>& command_line,
                       const std::vector<std::string>& config, const std::string& program);

/// What one place of the search path holds.
struct Examined {
  SearchFolder folder;            ///< without a path: the files of --plugin
  std::string unreadable;         ///< why the folder cannot be searched; empty when it can
  std::vector<ProbedFile> files;  ///< every `*.so`, sorted by name
};

/// Probes every file of the search path, in its order. Never throws for what a file does.
std::vector<Examined> examine(const SearchPath& search, const std::string& program);

/// A method, or a preset of one, and the file that holds it.
struct CatalogEntry {
  Descriptor descriptor;
  std::string file;
  ElfNote note;
};

/// The first file that holds an id wins; a method brings its presets. Reading is thread-safe.
class Catalog {
 public:
  /// Takes the methods of what `examine` finds. A file named with --plugin that cannot be used is an error
  /// (Exit::plugin_missing); a bad file in a folder is remembered in refused().
  static Catalog scan(const SearchPath& search, const std::string& program);

  const std::map<std::string, CatalogEntry>& entries() const { return entries_; }
  const std::vector<CatalogEntry>& shadowed() const { return shadowed_; }
  const std::vector<ProbedFile>& refused() const { return refused_; }

  /// The entry, or nullptr.
  const CatalogEntry* find(const std::string& id) const;
  /// What to tell a user who named an id that is not here: the refused file whose note names it, the nearest
  /// id, or that files were refused; "" when nothing is known.
  std::string why_missing(const std::string& id) const;
  /// All ids of a kind that a pipeline may name.
  std::vector<std::string> ids() const;
  /// Adds a method that is linked into the program; it wins over files. For tests.
  void add_static(const attnlab_plugin_entry& entry, const std::string& name);
  const attnlab_plugin_entry* static_entry(const std::string& file) const;

 private:
  void add(const ProbedFile& file);
  std::map<std::string, CatalogEntry> entries_;
  std::vector<CatalogEntry> shadowed_;
  std::vector<ProbedFile> refused_;
  std::map<std::string, const attnlab_plugin_entry*> static_;
};

}  // namespace attnlab::plugin
