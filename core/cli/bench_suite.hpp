// attnlab bench --suite.
#pragma once

#include "core/cli/command.hpp"

namespace attnlab::cli {

/// --suite, --filter, --quick, --serve.
void add_suite_options(po::options_description& options);
/// Runs the suite that --suite names. Throws UserError for one that does not exist or a filter that nothing
/// matches.
int run_suite(const po::variables_map& values);

}  // namespace attnlab::cli
