#include "core/data/problem.hpp"

#include "core/base/error.hpp"
#include "core/data/archive_source.hpp"
#include "core/data/trace.hpp"
#include "core/data/workload.hpp"

namespace attnlab::data {

std::unique_ptr<Source> open_source(const config::InputSpec& spec) {
  switch (spec.kind) {
    case config::InputSpec::Kind::trace:
      return open_trace(spec.path);
    case config::InputSpec::Kind::archive:
      return open_archive(spec.path);
    case config::InputSpec::Kind::workload:
      return open_workload(spec.workload);
  }
  ATTNLAB_CHECK(false, "unknown kind of input");
}

}  // namespace attnlab::data
