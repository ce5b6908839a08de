// What the host knows about a method without running it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/plugin/parameter.hpp"

namespace attnlab::plugin {

enum class Facet : int32_t { masker = ATTNLAB_MASKER, scorer = ATTNLAB_SCORER, scheme = ATTNLAB_SCHEME };
std::string name_of(Facet facet);

/// A method under another id with some parameters fixed.
struct Preset {
  std::string id, summary;
  std::vector<std::pair<std::string, Value>> fixed;  ///< parameters by key
};

/// A method's identity and parameter table, copied out of the plugin.
struct Descriptor {
  std::string id, summary, paper, version;
  std::string method;  ///< id of the method that runs: `id`, except of a preset

  Facet facet = Facet::masker;
  uint64_t flags = 0;    ///< ATTNLAB_REFINE | ATTNLAB_SAMPLES ...
  std::string selector;  ///< scorers: the selector used when the config names none
  std::vector<Parameter> parameters;
  std::vector<Preset> presets;

  bool is_preset() const { return method != id; }
  bool has(uint64_t flag) const { return (flags & flag) != 0; }
};

/// "refine, samples, oracle ...".
std::string flag_names(uint64_t flags);

/// The method as a preset of it shows itself: parameters that the preset fixes are marked so, and their
/// default is the value.
Descriptor with_preset(const Descriptor& method, const Preset& preset);

/// Copies and checks a descriptor; throws UserError (Exit::plugin_broken) that says which rule the method
/// breaks.
Descriptor from_abi(const attnlab_method& method);
io::Json to_json(const Descriptor& descriptor);
/// The same checks. Throws Json::exception for JSON of another form.
Descriptor descriptor_from_json(const io::Json& json);

}  // namespace attnlab::plugin
