#include "core/sweep/nursery.hpp"

#include <memory>

#include "core/base/error.hpp"
#include "core/base/hash.hpp"
#include "core/kernels/table.hpp"
#include "core/plugin/crash.hpp"
#include "core/sweep/message.hpp"
#include "core/sweep/trial_run.hpp"

namespace attnlab::sweep {
namespace {

using base::Exit;
using base::UserError;
using io::Json;

NurseryTask read_task(const std::string& message) {
  const Json json = Json::parse(message);
  NurseryTask task;
  task.search.files = json.at("files").get<std::vector<std::string>>();
  for (const Json& folder : json.at("folders"))
    task.search.folders.push_back({folder.at(0).get<std::string>(), folder.at(1).get<std::string>()});
  task.required = json.at("required").get<std::vector<std::string>>();
  task.methods = json.at("methods").get<std::vector<std::string>>();
  task.limits = {json.at("seconds").get<double>(), json.at("memory").get<uint64_t>()};
  task.simd = json.at("simd").get<std::string>();
  task.plugins = json.at("plugins").get<std::map<std::string, std::string>>();
  return task;
}

/// Bits differ between targets: all ranks compute with rank 0's, where they can.
void use_kernels(const std::string& target) {
  for (const auto& name : kernels::table_names()) {
    const kernels::KernelTable* table = kernels::find_table(name);
    if (table->target != target) continue;
    return kernels::set_active_table(*table);
  }
  throw UserError("this machine has not the instructions that rank 0 computes with",
                  {.found = kernels::active_table().target,
                   .allowed = target,
                   .suggestion = "rank 0 on the machine with the oldest processor"},
                  Exit::failed);
}

/// Equal configs are equal trials only with the same code.
void check_plugins(const NurseryTask& task, const plugin::Catalog& catalog) {
  const auto here = plugin_hashes(catalog);
  for (const auto& [id, hash] : task.plugins) {
    const auto found = here.find(id);
    if (found == here.end())
      throw UserError("the plugin of " + id + " is missing here", {}, Exit::plugin_missing);
    if (found->second != hash) {
      throw UserError("the plugin of " + id + " is another file than rank 0's",
                      {.file = catalog.find(id)->file}, Exit::plugin_missing);
    }
  }
}

ZygoteOptions zygote_options(const NurseryTask& task, const plugin::Catalog& catalog) {
  return {.limits = task.limits,
          .work = [&](const Trial& trial) { return run_trial(trial.config, catalog, task.required); },
          .prepare = [&] { prepare_trials(task.methods, catalog); }};
}

void be_nursery(int socket) {
  plugin::report_crashes();
  NurseryTask task;
  plugin::Catalog catalog;
  std::unique_ptr<Zygote> zygote;
  if (const auto message = receive_message(socket)) {
    std::string refusal;
    try {
      task = read_task(*message);
      use_kernels(task.simd);
      catalog = plugin::Catalog::scan(task.search, plugin::probe_program());
      check_plugins(task, catalog);
      zygote = std::make_unique<Zygote>(zygote_options(task, catalog));
    } catch (const std::exception& error) {
      refusal = error.what();
    }
    send_message(socket, refusal);
  }
  while (zygote != nullptr) {
    const auto message = receive_message(socket);
    if (!message) break;
    // One that died while it had nothing to do costs no trial.
    if (!zygote->pass(*message)) {
      zygote = std::make_unique<Zygote>(zygote_options(task, catalog));
      zygote->pass(*message);
    }
    auto outcome = zygote->receive();
    if (!outcome) {
      outcome = death_of_watcher(message->substr(0, message->find('\n')));
      zygote = std::make_unique<Zygote>(zygote_options(task, catalog));
    }
    if (!send_message(socket, outcome_message(*outcome))) break;
  }
}

}  // namespace

std::string task_message(const NurseryTask& task) {
  Json folders = Json::array();
  for (const auto& folder : task.search.folders) folders.push_back({folder.path, folder.origin});
  return Json{{"files", task.search.files},
              {"folders", folders},
              {"required", task.required},
              {"methods", task.methods},
              {"seconds", task.limits.seconds},
              {"memory", task.limits.memory_bytes},
              {"simd", task.simd},
              {"plugins", task.plugins}}
      .dump();
}

std::map<std::string, std::string> plugin_hashes(const plugin::Catalog& catalog) {
  std::map<std::string, std::string> of_file, of_method;
  for (const auto& [id, entry] : catalog.entries()) {
    if (catalog.static_entry(entry.file) != nullptr) continue;
    std::string& hash = of_file[entry.file];
    if (hash.empty()) hash = base::hash_file(entry.file);
    of_method[id] = hash;
  }
  return of_method;
}

Nursery::Nursery() : child_(be_nursery) {}

void Nursery::pass(const std::string& message) {
  send_message(child_.socket(), message);
}

std::optional<std::string> Nursery::receive() {
  return receive_message(child_.socket());
}

}  // namespace attnlab::sweep
