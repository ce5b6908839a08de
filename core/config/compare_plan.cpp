#include "core/config/compare_plan.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <regex>

#include "core/config/refuse.hpp"
#include "core/config/rows.hpp"
#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

namespace fs = std::filesystem;
using base::Mistake;
using base::UserError;
using io::Json;
using namespace rows;

constexpr size_t kMostSubjects = 64, kMostSeeds = 1000;

// Labels of origins in subjects' documents; in_comparison puts the comparison's own places for them.
constexpr const char* kCommon = "the comparison";
constexpr const char* kSubject = "the comparison's subject";

/// Of a training config, what a comparison may say for all subjects, and what one subject may say.
const std::vector<std::string> common_keys = {"model", "attention", "task", "train", "allow_noncausal"};
const std::vector<std::string> subject_keys = {"model", "attention", "train", "allow_noncausal"};

/// An attention or task of another kind keeps nothing of what it replaces.
bool replaces(const std::string& at, const Json& value) {
  return (at == "/attention" && value.contains("scheme")) || (at == "/task" && value.contains("generated"));
}

/// Puts the members of what `comparison` says at `prefix + at` over those of `document` at `at`.
void overlay(const Document& comparison, const std::string& prefix, const std::string& at, const char* label,
             Document& document) {
  const Json& value = comparison.root().at(Json::json_pointer(prefix + at));
  if (value.is_object() && !replaces(at, value)) {
    for (const auto& item : value.items())
      overlay(comparison, prefix, at + "/" + escape(item.key()), label, document);
    return;
  }
  document.set(at, value, {label, comparison.origin(prefix + at).folder});
}

/// The config that "base" names, or an empty one.
Document base_of(const Document& document) {
  if (!document.root().contains("base")) return {};
  const Json& base = document.root()["base"];
  if (!base.is_string())
    refuse(document, "/base", "\"base\" has the wrong type", base.dump(), "the path of a training config");
  const std::string path = document.resolve_path("/base", base.get<std::string>());
  if (!fs::exists(path))
    refuse(document, "/base", "its base does not exist", path, "the path of a training config",
           "paths are relative to the file that names them");
  return Document::load(path);
}

std::string pointer_of(const std::string& subject) {
  return "/subjects/" + escape(subject);
}

void check_subject(const Document& document, const std::string& name, const Json& subject) {
  static const std::regex pattern(name_pattern);
  const std::string pointer = pointer_of(name);
  if (!std::regex_match(name, pattern))
    refuse(document, pointer, "subjects name folders", name, "letters, digits, _ + - and .");
  if (!subject.is_object())
    refuse(document, pointer, "has the wrong type", subject.dump(), "an object { ... }");
  for (const auto& item : subject.items()) {
    const std::string& key = item.key();
    if (std::find(subject_keys.begin(), subject_keys.end(), key) != subject_keys.end()) continue;
    const std::string why = key == "task"   ? "all subjects read the same windows"
                            : key == "seed" ? "\"seeds\" beside \"subjects\" are those of all"
                                            : base::did_you_mean(key, subject_keys);
    refuse(document, pointer + "/" + escape(key), "a subject has no \"" + key + "\"", key,
           base::join(subject_keys), why);
  }
}

std::vector<uint64_t> read_seeds(const Document& document) {
  const char* allowed = "a count from 1 to 1000, or a list of different seeds";
  const Json value = document.root().contains("seeds") ? document.root()["seeds"] : Json(3);
  auto is_seed = [](const Json& seed) {
    return seed.is_number_integer() && seed >= 0 && seed <= uint64_t{9000000000000000000};
  };
  std::vector<uint64_t> seeds;
  if (is_seed(value) && value >= 1 && value <= kMostSeeds) {
    for (uint64_t seed = 1; seed <= value.get<uint64_t>(); ++seed) seeds.push_back(seed);
    return seeds;
  }
  if (!value.is_array() || value.empty() || value.size() > kMostSeeds ||
      !std::all_of(value.begin(), value.end(), is_seed))
    refuse(document, "/seeds", "these are no seeds", value.dump(), allowed);
  for (size_t i = 0; i < value.size(); ++i) {
    const auto seed = value[i].get<uint64_t>();
    if (std::find(seeds.begin(), seeds.end(), seed) != seeds.end())
      refuse(document, fmt::format("/seeds/{}", i), "a seed stands twice", value[i].dump(), allowed);
    seeds.push_back(seed);
  }
  return seeds;
}

SubjectPlan resolve_subject(const Document& document, const Document& base, const std::string& name,
                            uint64_t seed, const plugin::Catalog& catalog) {
  check_subject(document, name, document.root()["subjects"][name]);
  SubjectPlan subject{name, base, {}};
  try {
    for (const std::string& key : common_keys) {
      if (document.root().contains(key)) overlay(document, "", "/" + key, kCommon, subject.document);
    }
    overlay(document, pointer_of(name), "", kSubject, subject.document);
    subject.document.set("/title", name, {kSubject, ""});
    subject.document.set("/seed", seed, {kSubject, ""});
    subject.plan = resolve_training(subject.document, catalog);
    subject.plan.plugin_path.clear();
  } catch (const UserError& error) {
    throw in_comparison(error, document, subject);
  }
  return subject;
}

void require_same_windows(const Document& document, const ComparePlan& plan) {
  const SubjectPlan& baseline = plan.subjects[plan.baseline];
  for (const SubjectPlan& subject : plan.subjects) {
    if (subject.plan.model.block == baseline.plan.model.block) continue;
    throw in_comparison(UserError("all subjects read the same windows",
                                  [&] {
                                    Mistake mistake = subject.document.where("/model/block");
                                    mistake.found = std::to_string(subject.plan.model.block);
                                    mistake.allowed = fmt::format("{}, as of \"{}\"",
                                                                  baseline.plan.model.block, baseline.name);
                                    return mistake;
                                  }()),
                        document, subject);
  }
}

}  // namespace

std::string name_of(Match match) {
  return match == Match::parameters ? "parameters" : match == Match::compute ? "compute" : "none";
}

TrainPlan ComparePlan::trial(size_t subject, uint64_t seed) const {
  TrainPlan trial = subjects[subject].plan;
  trial.seed = seed;
  return trial;
}

std::vector<std::string> comparison_plugin_folders(const Document& document) {
  std::vector<std::string> folders = plugin_folders(document);
  for (const std::string& folder : plugin_folders(base_of(document))) folders.push_back(folder);
  return folders;
}

const std::vector<Parameter>& comparison_parameters() {
  static const std::vector<Parameter> table = [] {
    Parameter title =
        of_type(ParameterType::string, "title", "Shown in reports; default: the config's file name.");
    title.default_value = {std::string()};
    Parameter baseline = of_type(ParameterType::string, "baseline",
                                 "The subject that others are compared to; default: the first.");
    baseline.default_value = {std::string()};
    return std::vector<Parameter>{
        title, baseline,
        choice("match", {"none", "parameters", "compute"},
               "What subjects have alike: nothing, parameters (by mlp_dim), or compute (by steps).",
               {std::string("none")})};
  }();
  return table;
}

const std::vector<Parameter>& decode_parameters() {
  static const std::vector<Parameter> table = {
      integer("tokens", 0, 1 << 20, "Tokens decoded against the clock; 0: a window.", whole(0)),
      integer("batch", 1, 65536, "Sequences decoded at once.", whole(1)),
  };
  return table;
}

ComparePlan resolve_comparison(const Document& document, const plugin::Catalog& catalog) {
  std::vector<std::string> extra = common_keys;
  for (const char* key : {"base", "subjects", "seeds", "decode", "plugin_path", "extends"})
    extra.emplace_back(key);
  const Values top = read_object(document, "", document.root(), comparison_parameters(), extra);
  ComparePlan plan;
  plan.title = top.at("title").as<std::string>();
  if (plan.title.empty()) plan.title = fs::path(document.path()).stem().string();
  const auto match = top.at("match").as<std::string>();
  plan.match = match == "parameters" ? Match::parameters : match == "compute" ? Match::compute : Match::none;
  plan.seeds = read_seeds(document);
  const Json decode =
      document.root().contains("decode") ? document.root()["decode"] : Json(Json::value_t::object);
  const Values decoding = read_object(document, "/decode", decode, decode_parameters());
  plan.decode_tokens = decoding.at("tokens").as<int64_t>();
  plan.decode_batch = decoding.at("batch").as<int64_t>();

  const bool has = document.root().contains("subjects") && document.root()["subjects"].is_object();
  const size_t count = has ? document.root()["subjects"].size() : 0;
  if (count == 0 || count > kMostSubjects)
    refuse(document, has ? "/subjects" : "", "a comparison has 1 to 64 \"subjects\"", std::to_string(count),
           "{\"mha\": {}, \"mla\": {\"attention\": {\"scheme\": \"mla\"}}, ...}");
  const Document base = base_of(document);
  std::vector<std::string> names;
  for (const auto& item : document.root()["subjects"].items()) {
    names.push_back(item.key());
    plan.subjects.push_back(resolve_subject(document, base, item.key(), plan.seeds.front(), catalog));
  }
  if (const auto baseline = top.at("baseline").as<std::string>(); !baseline.empty()) {
    const auto found = std::find(names.begin(), names.end(), baseline);
    if (found == names.end())
      refuse(document, "/baseline", "there is no such subject", baseline, base::join(names),
             base::did_you_mean(baseline, names));
    plan.baseline = static_cast<size_t>(found - names.begin());
  }
  require_same_windows(document, plan);
  return plan;
}

UserError in_comparison(const UserError& error, const Document& comparison, const SubjectPlan& subject) {
  Mistake mistake = error.mistake();
  // What has no file of its own is said of the subject's config.
  if (mistake.file.empty()) {
    const Mistake where = subject.document.where(mistake.pointer);
    mistake.file = where.file, mistake.line = where.line, mistake.column = where.column;
  }
  const bool own = mistake.file == kSubject;
  if (own || mistake.file == kCommon || mistake.file.empty()) {
    const Mistake where = comparison.where((own ? pointer_of(subject.name) : "") + mistake.pointer);
    mistake.file = where.file, mistake.line = where.line, mistake.column = where.column;
    mistake.pointer = where.pointer;
  }
  return UserError(fmt::format("subject \"{}\": {}", subject.name, error.summary()), mistake, error.exit());
}

Json to_json(const ComparePlan& plan, const plugin::Catalog& catalog) {
  Json json = {{"title", plan.title},
               {"baseline", plan.subjects[plan.baseline].name},
               {"match", name_of(plan.match)},
               {"seeds", plan.seeds},
               {"decode", {{"tokens", plan.decode_tokens}, {"batch", plan.decode_batch}}},
               {"task", to_json(plan.subjects.front().plan, catalog)["task"]},
               {"subjects", Json::object()}};
  for (const SubjectPlan& subject : plan.subjects) {
    const Json whole = to_json(subject.plan, catalog);
    for (const std::string& key : subject_keys) json["subjects"][subject.name][key] = whole[key];
  }
  return json;
}

}  // namespace attnlab::config
