#include "core/measure/machine.hpp"

#include <attnlab/abi.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/base/hash.hpp"

namespace attnlab::measure {
namespace {

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  }
  return "unknown";
}

}  // namespace

io::Json describe_machine() {
  utsname system{};
  ::uname(&system);
  io::Json json;
  json["cpu"] = cpu_model();
  json["cores"] = std::thread::hardware_concurrency();
  json["memory_bytes"] =
      static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGE_SIZE));
  json["system"] = fmt::format("{} {} {}", system.sysname, system.release, system.machine);
  return json;
}

io::Json describe_build() {
  io::Json json;
  json["attnlab"] = ATTNLAB_VERSION;
  json["plugin_abi"] = fmt::format("{}.{}", ATTNLAB_ABI_MAJOR, ATTNLAB_ABI_MINOR);
#ifdef __clang__
  json["compiler"] = "clang " __clang_version__;
#else
  json["compiler"] = "gcc " __VERSION__;
#endif
  json["flags"] = ATTNLAB_BUILD_FLAGS;
  return json;
}

uint64_t peak_resident_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

io::Json describe_files(const std::vector<std::string>& paths) {
  io::Json list = io::Json::array();
  for (const auto& path : paths) {
    std::error_code failure;
    list.push_back({{"path", path},
                    {"hash", base::hash_file(path)},
                    {"bytes", std::filesystem::file_size(path, failure)}});
  }
  return list;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace attnlab::measure
