#include "core/sweep/trial.hpp"

#include "core/base/error.hpp"

namespace attnlab::sweep {
namespace {

using base::UserError;
using io::Json;

[[noreturn]] void refuse(const std::string& key, const Json& found, const std::string& allowed) {
  throw UserError("this is no line of a sweep's trials",
                  {.pointer = "/" + key, .found = io::line_text(found).substr(0, 100), .allowed = allowed});
}

const Json& member(const Json& line, const std::string& key, Json::value_t type, const std::string& allowed) {
  static const Json absent;
  const auto found = line.find(key);
  if (found == line.end()) refuse(key, absent, allowed);
  if (found->type() != type) refuse(key, *found, allowed);
  return *found;
}

}  // namespace

Json to_json(const Trial& trial, const Outcome& outcome) {
  Json line;
  line["id"] = trial.id;
  line["status"] = outcome.done() ? "done" : "failed";
  line["rung"] = trial.rung;
  line["point"] = trial.point.is_null() ? Json::object() : trial.point;
  if (outcome.done()) {
    line["metrics"] = outcome.metrics;
  } else {
    line["reason"] = outcome.reason;
    line["signal"] = outcome.signal;
    line["stderr"] = outcome.stderr_tail;
  }
  line["config"] = trial.config;
  line["clock"] = {{"seconds", outcome.seconds}};
  return line;
}

void from_json(const Json& line, Trial& trial, Outcome& outcome) {
  if (!line.is_object()) refuse("", line, "an object");
  trial = {};
  outcome = {};
  trial.id = member(line, "id", Json::value_t::string, "text").get<std::string>();
  outcome.id = trial.id;
  const Json& status = member(line, "status", Json::value_t::string, "done | failed");
  if (status != "done" && status != "failed") refuse("status", status, "done | failed");
  outcome.status = status == "done" ? Outcome::Status::done : Outcome::Status::failed;
  if (!line.contains("rung") || !line["rung"].is_number_integer())
    refuse("rung", line.value("rung", Json()), "an integer");
  trial.rung = line["rung"].get<int>();
  trial.point = member(line, "point", Json::value_t::object, "an object");
  if (line.contains("config")) trial.config = line["config"];
  if (outcome.done()) {
    for (const auto& metric : member(line, "metrics", Json::value_t::object, "an object").items()) {
      if (!metric.value().is_number()) refuse("metrics/" + metric.key(), metric.value(), "a number");
      outcome.metrics[metric.key()] = metric.value().get<double>();
    }
  } else {
    outcome.reason = member(line, "reason", Json::value_t::string, "text").get<std::string>();
    const auto signal = line.find("signal");
    if (signal != line.end() && signal->is_number_integer()) outcome.signal = signal->get<int>();
    const auto tail = line.find("stderr");
    if (tail != line.end() && tail->is_string()) outcome.stderr_tail = tail->get<std::string>();
  }
  const auto clock = line.find("clock");
  if (clock != line.end() && clock->is_object() && clock->contains("seconds") &&
      (*clock)["seconds"].is_number())
    outcome.seconds = (*clock)["seconds"].get<double>();
}

}  // namespace attnlab::sweep
