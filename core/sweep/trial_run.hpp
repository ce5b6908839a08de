// A trial's work: `attnlab run` of one config on one thread, down to a few figures.
#pragma once

#include <string>
#include <vector>

#include "core/plugin/catalog.hpp"
#include "core/sweep/zygote.hpp"

namespace attnlab::sweep {

/// Runs the config of a trial and returns its metrics (`metric_names`): of its first pipeline, means over
/// rows and bytes a query. A metric that is not finite is left out, and an error
/// when it is one of `required`; so are rows without a key where the config does not accept them. Throws
/// UserError. [main thread]
std::map<std::string, double> run_trial(const io::Json& config, const plugin::Catalog& catalog,
                                        const std::vector<std::string>& required);

/// Loads the plugins of these methods and starts what each trial would start for itself, so that
/// processes forked afterwards share it. One thread, now and in every run_trial after it. [main thread]
void prepare_trials(const std::vector<std::string>& methods, const plugin::Catalog& catalog);

}  // namespace attnlab::sweep
