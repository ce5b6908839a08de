// What the commands of `attnlab sweep` say of trials on record, and the report of a sweep.
#pragma once

#include <string>

#include "core/cli/sweep_session.hpp"
#include "core/report/sweep.hpp"

namespace attnlab::cli {

/// "/a=1 /b="10%"", or "the base config".
std::string point_text(const io::Json& point);

/// Writes the config of a trial into the store's folder. The command that runs it.
std::string run_command_of(const sweep::Store& store, const sweep::Record& record);

/// The sweep and its records as values. Writes nothing.
report::SweepReport sweep_report_of(const OpenedSweep& sweep, const sweep::Store& store);

/// Writes report.html, report.md and the configs that they link into the store's folder; those of an earlier
/// report are replaced. The path of report.html. Throws UserError (Exit::failed) for errors of files.
std::string write_sweep_report(const OpenedSweep& sweep, const sweep::Store& store);

/// The same, said on stderr; an error there is told and costs no more than the report.
void report_sweep(const OpenedSweep& sweep, const sweep::Store& store);

}  // namespace attnlab::cli
