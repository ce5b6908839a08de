// "space", "conditions", "default_space" and "constraints" of a sweep's config.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "core/config/refuse.hpp"
#include "core/config/schema.hpp"
#include "core/sweep/config.hpp"
#include "core/sweep/config_axis.hpp"

namespace attnlab::sweep {
namespace {

using base::Mistake;
using base::UserError;
using config::Document;
using io::Json;

constexpr size_t most_axes = 64;
/// Members of a run's config that can be varied.
const std::vector<std::string> varied_keys = {"pipelines", "attention", "input", "mode",
                                              "queries",   "layers",    "heads", "seed"};

class SpaceReader {
 public:
  SpaceReader(SweepConfig& sweep, const plugin::Catalog& catalog) : sweep_(sweep), catalog_(catalog) {
    space().base = sweep.base.root();
  }

  void read() {
    const Json& given = member("space");
    if (!given.is_object())
      refuse("/space", "has the wrong type", key_of(given), R"({"/pipelines/main/2/K": [4, 8]})");
    for (const auto& item : given.items()) {
      const std::string at = "/space/" + config::escape(item.key());
      if (item.key() == "zip") {
        read_zips(item.value());
      } else {
        add(read_axis(item.key(), item.value(), at));
      }
    }
    read_default_space();
    if (space().axes.empty())
      refuse("", "a sweep varies something", "",
             R"("space": {POINTER: [value, ...]} or "default_space": true)");
    read_conditions();
    read_constraints();
  }

 private:
  Space& space() { return sweep_.space; }
  const Document& document() const { return sweep_.document; }

  bool says(const char* key) const { return document().root().contains(key); }
  const Json& member(const char* key) const {
    static const Json empty = Json::object();
    const auto found = document().root().find(key);
    return found == document().root().end() ? empty : *found;
  }

  [[noreturn]] void refuse(const std::string& at, const std::string& summary, const std::string& found,
                           const std::string& allowed, const std::string& suggestion = "") const {
    config::refuse(document(), at, summary, found, allowed, suggestion);
  }

  /// With indices for the names of stages, as points have them.
  std::string canonical(const std::string& pointer, const std::string& at) const {
    if (!pointer.starts_with('/'))
      refuse(at, "an axis names a value of the base by JSON pointer", pointer, "/pipelines/main/2/heavy_size",
             "/" + pointer);
    const std::vector<std::string> tokens = config::split_pointer(pointer);
    if (std::find(varied_keys.begin(), varied_keys.end(), tokens.front()) == varied_keys.end()) {
      const bool of_run =
          tokens.front() == "plugin_path" || tokens.front() == "compare" || tokens.front() == "title";
      refuse(at, of_run ? "this is the same in all trials" : "a run has no such value", pointer,
             "/" + base::join(varied_keys, ", /"), base::did_you_mean(tokens.front(), varied_keys));
    }
    const Json* place = &sweep_.space.base;
    std::string walked;
    for (const auto& token : tokens) {
      std::string step = token;
      if (place != nullptr && place->is_array()) {
        const size_t index = config::array_index(*place, token, document().where(at));
        if (index < place->size()) step = std::to_string(index);
        place = index < place->size() ? &(*place)[index] : nullptr;
      } else if (place != nullptr) {
        const auto found = place->is_object() ? place->find(token) : place->end();
        place = place->is_object() && found != place->end() ? &*found : nullptr;
      }
      walked += "/" + config::escape(step);
    }
    return walked;
  }

  void add(Axis axis) {
    if (space().axes.size() >= most_axes)
      refuse(axis.at, "too many axes", "", fmt::format("at most {}", most_axes));
    for (const auto& pointer : axis.pointers) {
      for (const Axis& other : space().axes) {
        for (const auto& taken : other.pointers) {
          if (taken == pointer && !exclude_each_other(axis, other))
            refuse(axis.at, "two axes choose the same value", pointer, "one axis for each value",
                   "conditions that exclude each other may choose it both");
        }
      }
    }
    space().axes.push_back(std::move(axis));
  }

  /// Never active together: their conditions want different values of one pointer.
  bool exclude_each_other(const Axis& a, const Axis& b) {
    if (!a.condition || !b.condition) return false;
    for (const auto& left : space().conditions[*a.condition].tests) {
      for (const auto& right : space().conditions[*b.condition].tests) {
        if (left.pointer != right.pointer) continue;
        std::set<std::string> wanted;
        for (const auto& value : left.values) wanted.insert(key_of(value));
        if (std::none_of(right.values.begin(), right.values.end(),
                         [&](const Json& value) { return wanted.contains(key_of(value)); }))
          return true;
      }
    }
    return false;
  }

  Axis read_axis(const std::string& pointer, const Json& json, const std::string& at) const {
    Axis axis;
    axis.pointers = {canonical(pointer, at)};
    axis.at = at;
    read_axis_values(document(), json, axis);
    return axis;
  }

  void read_zips(const Json& zips) {
    constexpr const char* allowed = R"([{"/a": [1, 2], "/b": [10, 20]}, ...])";
    if (!zips.is_array()) refuse("/space/zip", "has the wrong type", key_of(zips), allowed);
    for (size_t z = 0; z < zips.size(); ++z) {
      const std::string at = fmt::format("/space/zip/{}", z);
      if (!zips[z].is_object() || zips[z].size() < 2)
        refuse(at, "at least two axes are zipped", key_of(zips[z]), allowed);
      Axis zipped;
      zipped.at = at;
      for (const auto& item : zips[z].items()) {
        const std::string inner = at + "/" + config::escape(item.key());
        const Axis axis = read_axis(item.key(), item.value(), inner);
        if (axis.is_range())
          refuse(inner, "zipped axes have values that can be counted", key_of(item.value()),
                 R"(a list, or a range with "step" or "count")");
        if (zipped.pointers.empty()) zipped.choices.resize(axis.choices.size());
        if (axis.choices.size() != zipped.choices.size())
          refuse(inner, "zipped axes have equally many values", std::to_string(axis.choices.size()),
                 std::to_string(zipped.choices.size()));
        if (std::find(zipped.pointers.begin(), zipped.pointers.end(), axis.pointers[0]) !=
            zipped.pointers.end())
          refuse(inner, "two axes choose the same value", axis.pointers[0], "one axis for each value");
        zipped.pointers.push_back(axis.pointers[0]);
        for (size_t i = 0; i < axis.choices.size(); ++i) zipped.choices[i].push_back(axis.choices[i][0]);
      }
      add(zipped);
    }
  }

  void read_default_space() {
    if (!says("default_space")) return;
    const Json& given = member("default_space");
    if (given == false) return;
    constexpr const char* allowed = R"(true, or stages: ["/pipelines/main/2"])";
    std::vector<std::pair<std::string, std::string>> stages;  // pointer, and where it is said
    if (given == true) {
      const std::string pipeline = "/pipelines/" + config::escape(sweep_.pipeline);
      const Json& list = space().base["pipelines"][sweep_.pipeline];
      if (!list.is_array())
        refuse("/default_space", "the pipeline is a policy", sweep_.pipeline,
               R"(stages: ["/pipelines/main/2"])");
      for (size_t i = 0; i < list.size(); ++i)
        stages.emplace_back(fmt::format("{}/{}", pipeline, i), "/default_space");
    } else {
      if (!given.is_array() || given.empty())
        refuse("/default_space", "has the wrong type", key_of(given), allowed);
      for (size_t i = 0; i < given.size(); ++i) {
        const std::string at = fmt::format("/default_space/{}", i);
        if (!given[i].is_string()) refuse(at, "has the wrong type", key_of(given[i]), allowed);
        stages.emplace_back(canonical(given[i].get<std::string>(), at), at);
      }
    }
    size_t added = 0;
    for (const auto& [pointer, at] : stages) added += add_stage(pointer, at);
    if (added == 0)
      refuse("/default_space", "no parameter of these stages has values for sweeps", key_of(given), allowed,
             "attnlab plugin info METHOD lists a method's");
  }

  /// The values that a stage's method declares for sweeps, except where the space already says what varies.
  size_t add_stage(const std::string& pointer, const std::string& at) {
    const Json::json_pointer path(pointer);
    const Json* stage = space().base.contains(path) ? &space().base.at(path) : nullptr;
    if (stage == nullptr || !stage->is_object() || !stage->contains("masker") ||
        !stage->at("masker").is_string())
      refuse(at, "there is no such stage", pointer, "/pipelines/NAME/INDEX or /pipelines/NAME/STAGE");
    const plugin::CatalogEntry* entry = catalog_.find(stage->value("masker", ""));
    if (entry == nullptr) return 0;  // the first point tells what is missing
    std::string selector = entry->descriptor.selector;
    if (stage->contains("select") && stage->at("select").is_string()) selector = stage->at("select");
    size_t added = 0;
    for (const auto& parameter : config::stage_table(entry->descriptor, selector)) {
      Axis axis;
      axis.pointers = {pointer + "/" + config::escape(parameter.key)};
      axis.at = at;
      for (const auto& value : parameter.sweep) axis.choices.push_back({plugin::to_json(value)});
      const bool said = std::any_of(space().axes.begin(), space().axes.end(), [&](const Axis& other) {
        return std::any_of(other.pointers.begin(), other.pointers.end(),
                           [&](const std::string& taken) { return lies_in(axis.pointers[0], taken); });
      });
      if (axis.choices.empty() || said) continue;
      order_by_numbers(axis);
      add(axis);
      ++added;
    }
    return added;
  }

  /// The axis that chooses the value at `pointer` or one around it; nullptr when the base alone says it.
  const Axis* axis_of(const std::string& pointer) const {
    for (const Axis& axis : sweep_.space.axes) {
      for (const auto& chosen : axis.pointers) {
        if (lies_in(pointer, chosen)) return &axis;
      }
    }
    return nullptr;
  }

  std::vector<std::string> pointers() const {
    std::vector<std::string> list;
    for (const Axis& axis : sweep_.space.axes)
      list.insert(list.end(), axis.pointers.begin(), axis.pointers.end());
    return list;
  }

  void read_conditions() {
    if (!says("conditions")) return;
    const Json& given = member("conditions");
    constexpr const char* allowed = R"([{"if": {"/a": 1}, "then": {"/b": [2, 3]}}])";
    if (!given.is_array()) refuse("/conditions", "has the wrong type", key_of(given), allowed);
    for (size_t c = 0; c < given.size(); ++c) {
      const std::string at = fmt::format("/conditions/{}", c);
      const Json& json = given[c];
      const bool formed = json.is_object() && json.size() == 2 && json.contains("if") &&
                          json.contains("then") && json["if"].is_object() && json["then"].is_object() &&
                          !json["if"].empty() && !json["then"].empty();
      if (!formed) refuse(at, "a condition has \"if\" and \"then\"", key_of(json), allowed);
      Condition condition;
      condition.at = at;
      for (const auto& item : json["if"].items())
        condition.tests.push_back(
            read_test(item.key(), item.value(), at + "/if/" + config::escape(item.key())));
      space().conditions.push_back(condition);
      for (const auto& item : json["then"].items()) {
        Axis axis = read_axis(item.key(), item.value(), at + "/then/" + config::escape(item.key()));
        axis.condition = c;
        add(std::move(axis));
      }
    }
  }

  Condition::Test read_test(const std::string& name, const Json& wanted, const std::string& at) const {
    Condition::Test test;
    test.pointer = canonical(name, at);
    test.values = wanted.is_array() ? wanted.get<std::vector<Json>>() : std::vector<Json>{wanted};
    const Axis* axis = axis_of(test.pointer);
    if (axis == nullptr)
      refuse(at, "no axis before this condition changes the value", name, base::join(pointers()),
             base::did_you_mean(test.pointer, pointers()));
    const auto place = std::find(axis->pointers.begin(), axis->pointers.end(), test.pointer);
    if (axis->is_range() || place == axis->pointers.end()) return test;
    // What the value may be, also by other axes for the same pointer.
    std::vector<std::string> known;
    for (const Axis& other : sweep_.space.axes) {
      const auto found = std::find(other.pointers.begin(), other.pointers.end(), test.pointer);
      if (found == other.pointers.end()) continue;
      if (other.is_range()) return test;
      for (const auto& choice : other.choices)
        known.push_back(key_of(choice[static_cast<size_t>(found - other.pointers.begin())]));
    }
    for (const auto& value : test.values) {
      if (std::find(known.begin(), known.end(), key_of(value)) == known.end())
        refuse(at, "the axis never has this value", key_of(value), base::join(known),
               base::did_you_mean(key_of(value), known));
    }
    return test;
  }

  void read_constraints() {
    if (!says("constraints")) return;
    const Json& given = member("constraints");
    constexpr const char* allowed = R"(["density <= 0.1", "/pipelines/main/2/K <= 10"])";
    if (!given.is_array()) refuse("/constraints", "has the wrong type", key_of(given), allowed);
    for (size_t c = 0; c < given.size(); ++c) {
      const std::string at = fmt::format("/constraints/{}", c);
      if (!given[c].is_string()) refuse(at, "has the wrong type", key_of(given[c]), allowed);
      Expression constraint = Expression::parse(given[c].get<std::string>(), document().where(at));
      if (!constraint.is_comparison()) refuse(at, "a constraint compares", constraint.text(), allowed);
      if (constraint.names().empty()) refuse(at, "it holds always or never", constraint.text(), allowed);
      bool of_point = true;
      for (size_t n = 0; n < constraint.names().size(); ++n) {
        const std::string name = constraint.names()[n];
        if (name.starts_with('/')) {
          const std::string pointer = canonical(name, at);
          check_number(pointer, at);
          constraint.rename(n, pointer);
          continue;
        }
        of_point = false;
        if (std::find(metric_names().begin(), metric_names().end(), name) == metric_names().end())
          refuse(at, "there is no such metric", name, base::join(metric_names()),
                 base::did_you_mean(name, metric_names()));
      }
      (of_point ? space().constraints : sweep_.goal.constraints).push_back(constraint);
    }
  }

  /// The value at the pointer must be a number, whoever says it.
  void check_number(const std::string& pointer, const std::string& at) const {
    const Axis* axis = axis_of(pointer);
    if (axis == nullptr) {
      if (!sweep_.space.number(Json::object(), pointer))
        refuse(at, "neither an axis nor the base has a number here", pointer, base::join(pointers()),
               base::did_you_mean(pointer, pointers()));
      return;
    }
    const auto place = std::find(axis->pointers.begin(), axis->pointers.end(), pointer);
    if (axis->is_range() || place == axis->pointers.end()) return;
    for (const auto& choice : axis->choices) {
      const Json& value = choice[static_cast<size_t>(place - axis->pointers.begin())];
      if (!number_of(value)) refuse(at, "the axis has values that are no numbers", key_of(value), "numbers");
    }
  }

  SweepConfig& sweep_;
  const plugin::Catalog& catalog_;
};

}  // namespace

void resolve_space(const plugin::Catalog& catalog, SweepConfig& sweep) {
  SpaceReader(sweep, catalog).read();
}

}  // namespace attnlab::sweep
