#include "core/sweep/objective.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <tuple>

namespace attnlab::sweep {
namespace {

/// Values of a result with every objective to be minimised.
std::vector<double> minimised(const Goal& goal, const Result& result) {
  std::vector<double> values = result.judgement.values;
  for (size_t i = 0; i < values.size(); ++i) {
    if (goal.objectives[i].maximise) values[i] = -values[i];
  }
  return values;
}

bool dominates(const std::vector<double>& a, const std::vector<double>& b) {
  bool better = false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] > b[i]) return false;
    better = better || a[i] < b[i];
  }
  return better;
}

std::vector<size_t> of_kind(const std::vector<Result>& results, Judgement::Kind kind) {
  std::vector<size_t> indices;
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].judgement.kind == kind) indices.push_back(i);
  }
  return indices;
}

/// Ranks `members` from `first` on; returns the rank after the last. In lexicographic order only earlier ones
/// can dominate, so each goes to the first front without one that does: O(n log n) for one objective.
int rank_members(const Goal& goal, const std::vector<Result>& results, std::vector<size_t> members, int first,
                 std::vector<int>& ranks) {
  std::vector<std::vector<double>> values(results.size());
  for (const size_t m : members) values[m] = minimised(goal, results[m]);
  std::sort(members.begin(), members.end(), [&](size_t a, size_t b) {
    return std::tie(values[a], results[a].id) < std::tie(values[b], results[b].id);
  });
  std::vector<std::vector<size_t>> fronts;
  for (const size_t m : members) {
    // Of two fronts, one that dominates m lies in the earlier too: the search may halve.
    const auto front = std::partition_point(fronts.begin(), fronts.end(), [&](const auto& members_of_front) {
      return std::any_of(members_of_front.rbegin(), members_of_front.rend(),
                         [&](size_t other) { return dominates(values[other], values[m]); });
    });
    ranks[m] = first + static_cast<int>(front - fronts.begin());
    if (front == fronts.end()) {
      fronts.push_back({m});
    } else {
      front->push_back(m);
    }
  }
  return first + static_cast<int>(fronts.size());
}

/// Crowding distance of each member of one front: the sides of the box between its neighbours.
std::vector<double> crowding(const std::vector<std::vector<double>>& values) {
  std::vector<double> distance(values.size(), 0);
  const size_t objectives = values.front().size();
  for (size_t o = 0; o < objectives; ++o) {
    std::vector<size_t> order(values.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return values[a][o] < values[b][o]; });
    const double extent = values[order.back()][o] - values[order.front()][o];
    constexpr double infinity = std::numeric_limits<double>::infinity();
    distance[order.front()] = distance[order.back()] = infinity;
    if (!(extent > 0)) continue;
    for (size_t i = 1; i + 1 < order.size(); ++i)
      distance[order[i]] += (values[order[i + 1]][o] - values[order[i - 1]][o]) / extent;
  }
  return distance;
}

}  // namespace

const std::vector<std::string>& metric_names() {
  static const std::vector<std::string> names = {"density",           "mass_recall", "output_error",
                                                 "denominator_error", "entropy",     "search_bytes",
                                                 "attended_bytes",    "empty_rows"};
  return names;
}

std::vector<std::string> Goal::metrics() const {
  std::set<std::string> names;
  auto add = [&](const Expression& expression) {
    for (const auto& name : expression.names()) {
      if (!name.starts_with('/')) names.insert(name);
    }
  };
  for (const Objective& objective : objectives) add(objective.expression);
  for (const Expression& constraint : constraints) add(constraint);
  return {names.begin(), names.end()};
}

Objective hub_objective(std::optional<double> target_density) {
  const base::Mistake none;
  if (!target_density) {
    return {"hub", Expression::parse("output_error + 0.1 * density + 5 * (density > 0.5)", none), false};
  }
  return {fmt::format("hub at {:.6g}%", 100 * *target_density),
          Expression::parse(fmt::format("0.99 * output_error + 0.01 * density + 10 * max(0, density - {})",
                                        *target_density),
                            none),
          false};
}

Judgement judge(const Goal& goal, const Space& space, const Point& point, const Outcome& outcome) {
  Judgement judgement;
  if (!outcome.done()) {
    judgement.why = outcome.reason;
    return judgement;
  }
  auto fail = [&](const std::string& why) {
    judgement.kind = Judgement::Kind::failed;
    judgement.why = why;
    judgement.values.clear();
    return judgement;
  };
  const Lookup lookup = [&](const std::string& name) -> std::optional<double> {
    if (name.starts_with('/')) return space.number(point, name);
    const auto found = outcome.metrics.find(name);
    return found == outcome.metrics.end() ? std::nullopt : std::optional<double>(found->second);
  };
  for (const Objective& objective : goal.objectives) {
    const double value = objective.expression.value(lookup);
    if (!std::isfinite(value)) return fail(fmt::format("{} is {}", objective.expression.text(), value));
    judgement.values.push_back(value);
  }
  judgement.kind = Judgement::Kind::feasible;
  for (const Expression& constraint : goal.constraints) {
    const double holds = constraint.value(lookup);
    if (std::isnan(holds)) return fail(constraint.text() + " has no answer");
    if (holds != 0) continue;
    judgement.kind = Judgement::Kind::infeasible;
    judgement.why = constraint.text() + " does not hold";
    break;
  }
  return judgement;
}

std::vector<int> pareto_ranks(const Goal& goal, const std::vector<Result>& results) {
  std::vector<int> ranks(results.size(), -1);
  const int after = rank_members(goal, results, of_kind(results, Judgement::Kind::feasible), 0, ranks);
  rank_members(goal, results, of_kind(results, Judgement::Kind::infeasible), after, ranks);
  return ranks;
}

std::vector<size_t> pareto_front(const Goal& goal, const std::vector<Result>& results) {
  const std::vector<int> ranks = pareto_ranks(goal, results);
  std::vector<size_t> front;
  for (const size_t i : of_kind(results, Judgement::Kind::feasible)) {
    if (ranks[i] == 0) front.push_back(i);
  }
  std::sort(front.begin(), front.end(), [&](size_t a, size_t b) {
    return std::make_tuple(minimised(goal, results[a]), results[a].id) <
           std::make_tuple(minimised(goal, results[b]), results[b].id);
  });
  return front;
}

std::vector<size_t> best_first(const Goal& goal, const std::vector<Result>& results) {
  const std::vector<int> ranks = pareto_ranks(goal, results);
  std::vector<size_t> order;
  for (size_t i = 0; i < results.size(); ++i) {
    if (ranks[i] >= 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tie(ranks[a], results[a].id) < std::tie(ranks[b], results[b].id);
  });
  for (auto begin = order.begin(); begin != order.end();) {
    const auto end = std::find_if(begin, order.end(), [&](size_t i) { return ranks[i] != ranks[*begin]; });
    std::vector<std::vector<double>> values;
    for (auto i = begin; i != end; ++i) values.push_back(minimised(goal, results[*i]));
    const std::vector<double> distance = crowding(values);
    std::vector<size_t> places(values.size());
    std::iota(places.begin(), places.end(), size_t{0});
    std::stable_sort(places.begin(), places.end(),
                     [&](size_t a, size_t b) { return distance[a] > distance[b]; });
    const std::vector<size_t> members(begin, end);
    for (const size_t place : places) *begin++ = members[place];
  }
  return order;
}

}  // namespace attnlab::sweep
