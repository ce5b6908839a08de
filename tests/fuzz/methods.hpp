// Methods linked into the config targets, and the property that both of them check.
#pragma once

#include <attnlab/scorer.hpp>

#include <string>
#include <vector>

#include "core/config/run_plan.hpp"
#include "tests/fuzz/support.hpp"

namespace attnlab::fuzz {

enum class Form { round, square };

/// Has a parameter of every type.
struct Every : attnlab::Masker {
  attnlab::CountOrFraction size = 0.25;
  attnlab::Offset offset = 0;
  int64_t count = 3;
  double portion = 0.5;
  bool flag = true;
  Form form = Form::square;
  std::string word = "w";
  std::vector<double> list = {0.5, 1};
  attnlab::Path file;
  static void describe(attnlab::Description<Every>& d) {
    d.id("every").summary("Every type.");
    d.parameter("size", &Every::size);
    d.parameter("offset", &Every::offset);
    d.parameter("count", &Every::count).range(1, 9);
    d.parameter("portion", &Every::portion);
    d.parameter("flag", &Every::flag);
    d.parameter("form", &Every::form).names({"round", "square"});
    d.parameter("word", &Every::word);
    d.parameter("list", &Every::list);
    d.parameter("file", &Every::file);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

struct Ranker : attnlab::Scorer {
  int64_t seed = 11;
  static void describe(attnlab::Description<Ranker>& d) {
    d.id("ranker").summary("Has a seed of its own.").selector("top_k").samples();
    d.parameter("seed", &Ranker::seed);
  }
  void score(const attnlab::Tile&, attnlab::Scores&) const {}
};

ATTNLAB_STATIC_PLUGIN(methods, Every, Ranker);

/// When the document resolves, its resolved form is a config that resolves to itself.
inline void check_resolves_to_itself(const config::Document& document) {
  static const plugin::Catalog catalog = [] {
    plugin::Catalog linked;
    linked.add_static(methods, "methods");
    return linked;
  }();
  accepted([&] {
    const io::Json resolved = to_json(config::resolve(document, catalog), catalog);
    config::Document again;
    again.set("", io::Json::parse(resolved.dump()), {"resolved", "/"});
    io::Json same;
    const bool resolves = accepted([&] { same = to_json(config::resolve(again, catalog), catalog); });
    ATTNLAB_CHECK(resolves, "a resolved config is refused: " + resolved.dump());
    ATTNLAB_CHECK(same.dump() == resolved.dump(), resolved.dump() + " resolves to " + same.dump());
  });
}

}  // namespace attnlab::fuzz
