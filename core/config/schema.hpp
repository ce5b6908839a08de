// The config's own parameter tables, in the same form as those of plugins.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/input_spec.hpp"
#include "core/plugin/descriptor.hpp"

namespace attnlab::config {

using Values = std::map<std::string, plugin::Value>;

/// Says of an unknown key where it would be right, or "".
using KeyHint = std::function<std::string(const std::string& key)>;

/// Members of an object read by a parameter table, defaults filled in. `extra_keys` may be present and are
/// left alone; any other key is an error with what `hint` says of it, else with the nearest key.
Values read_object(const Document& document, const std::string& pointer, const io::Json& object,
                   const std::vector<plugin::Parameter>& parameters,
                   const std::vector<std::string>& extra_keys = {}, const KeyHint& hint = {});

/// Top-level keys beside the objects: title, compare, mode, queries, layers, heads, seed.
const std::vector<plugin::Parameter>& run_parameters();
/// "attention".
const std::vector<plugin::Parameter>& attention_parameters();
/// "input" with a workload of this kind; empty when there is no such kind.
std::vector<plugin::Parameter> workload_parameters(const std::string& kind);
const std::vector<std::string>& workload_kinds();
/// "input" of the kinds that are read from files: trace, npz, safetensors.
const std::vector<plugin::Parameter>& file_input_parameters();
/// The key that says the kind of an input: "workload" or one of file_input_parameters().
std::string input_key(const InputSpec& input);
/// Top-level "plugin_path", which may also be one path.
const plugin::Parameter& plugin_path_parameter();
/// Keys that any stage may have beside its method's parameters.
const std::vector<plugin::Parameter>& stage_parameters();
/// Keys of a scorer's stage: select, share, reduce and the parameters of this selector.
std::vector<plugin::Parameter> selector_parameters(const std::string& selector,
                                                   const std::string& default_selector);
const std::vector<std::string>& selector_names();
/// All keys of a stage beside "masker": the method's own, those of any stage and, for a scorer, those of
/// `selector`. A method's own parameter wins over one of the same name, such as its own "seed". What a preset
/// fixes is not among them.
std::vector<plugin::Parameter> stage_table(const plugin::Descriptor& method, const std::string& selector);

/// Regular expression of the names of pipelines and stages, which also name folders.
inline constexpr const char* name_pattern = "^[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,63}$";

WorkloadSpec to_workload(const std::string& kind, const Values& values);

}  // namespace attnlab::config
