// Commands of `attnlab`, and what they share: option tables, help, the path from options to a document and a
// catalog.
#pragma once

#include <boost/program_options.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/config/run_plan.hpp"
#include "core/data/open_input.hpp"

namespace attnlab::cli {

namespace po = boost::program_options;

/// One command. Help, completion and the reference page are made from this table.
struct Command {
  std::string name;       ///< "run", "plugin list"
  std::string arguments;  ///< "CONFIG"
  std::string summary;    ///< one line
  std::string details;    ///< paragraphs for `attnlab help NAME`
  std::function<void(po::options_description&)> options;
  std::function<int(const po::variables_map&)> run;
  int min_arguments = 0, max_arguments = 0;
  bool hidden = false;
};

/// All commands, in the order of the help.
const std::vector<Command>& commands();

/// The command whose name the words begin with, longer names first, or nullptr; `used`: words of its name.
const Command* find_command(const std::vector<std::string>& words, size_t& used);
/// What `attnlab help WORDS` prints. Throws UserError for an unknown command.
std::string help_text(const std::vector<std::string>& words);
/// The arguments of a command, read by its option table. Throws po::error.
po::variables_map parse_arguments(const Command& command, const std::vector<std::string>& arguments);

/// The words of this process's command line, as typed.
const std::vector<std::string>& command_line();

/// Runs a command line and returns the exit code. Errors are printed to stderr.
int main(int argc, const char* const* argv);

// Pieces shared by commands.

void add_plugin_options(po::options_description& options);
/// --set, --input, --mode, --queries, --layers, --heads, --seed.
void add_config_options(po::options_description& options);
std::vector<std::string> positional(const po::variables_map& values);
/// The config file of the command line with all overrides applied.
config::Document load_document(const po::variables_map& values);
/// Where --plugin, --plugin-path, the environment and these folders of a config send us.
plugin::SearchPath plugin_search(const po::variables_map& values,
                                 const std::vector<std::string>& config_folders);
plugin::Catalog load_catalog(const po::variables_map& values, const std::vector<std::string>& config_folders);
/// The entry of a method that the user named; throws UserError with the nearest id.
const plugin::CatalogEntry& find_method(const plugin::Catalog& catalog, const std::string& id);
/// A trace folder, .npz or .safetensors file as a config's "input" would say it. `what` names it in errors.
io::Json input_of(const std::string& path, const std::string& what);
/// The document of a command that takes an input: a config with an "input", or the path of one.
config::Document input_document(const std::string& path);
/// "0,2-4" -> [0, 2, 3, 4].
io::Json parse_index_list(const std::string& option, const std::string& text);

/// The layers of --layers, ascending, which the input must have; without the option all of the input's.
std::vector<int> layers_option(const po::variables_map& values, const data::Source& source);
/// Which of `choices` the option's text is. Throws UserError for another.
size_t choice_option(const po::variables_map& values, const std::string& option,
                     const std::vector<std::string>& choices);
/// --threads, checked: 0 means all cores.
int thread_option(const po::variables_map& values);
void add_simd_option(po::options_description& options);
/// Makes the kernels of --simd the active ones.
void simd_option(const po::variables_map& values);

// The commands, one file each.
Command run_command();
Command run_child_command();
Command bench_command();
Command train_command();
Command compare_command();
Command sweep_plan_command();
Command sweep_run_command();
Command sweep_resume_command();
Command sweep_status_command();
Command sweep_best_command();
Command sweep_report_command();
Command sweep_merge_command();
Command sweep_export_command();
Command sample_command();
Command eval_command();
Command routing_command();
Command operators_command();
Command forward_command();
Command train_hash_command();
Command calibrate_command();
Command verify_sampling_command();
Command doctor_command();
Command plugin_list_command();
Command plugin_info_command();
Command plugin_doctor_command();
Command plugin_schema_command();
Command plugin_probe_command();
Command config_show_command();
Command config_validate_command();
Command config_explain_command();
Command config_schema_command();
Command completion_bash_command();
Command complete_command();
Command reference_page_command();

}  // namespace attnlab::cli
