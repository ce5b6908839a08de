#include <attnlab/masker.hpp>

enum class Shape { box, cone };

/// Presets of each convertible type. Keeps all keys.
struct Presets : attnlab::Masker {
  int tables = 1;
  double rate = 0.5;
  Shape shape = Shape::box;
  attnlab::CountOrFraction budget = 1;
  attnlab::Offset skip = 0;
  bool flag = false;
  std::string label = "plain";
  int needed = 0;
  int seed = 7;
  int free = 3;

  static void describe(attnlab::Description<Presets>& d) {
    d.id("presets").summary("Has presets.");
    d.preset("presets.all", "Fixes a value of each type.")
        .set("tables", 150)
        .set("rate", 1)
        .set("shape", "cone")
        .set("budget", 0.1)
        .set("skip", 4)
        .set("flag", true)
        .set("label", "fixed")
        .set("needed", 9)
        .set("seed", 42);
    d.preset("presets.box", "Fixes a choice.").set("shape", Shape::box);
    d.parameter("tables", &Presets::tables).doc("A count.").range(1, 1000);
    d.parameter("rate", &Presets::rate).doc("A share.").range(0, 1);
    d.parameter("shape", &Presets::shape).names({"box", "cone"}).doc("A choice.");
    d.parameter("budget", &Presets::budget).doc("Keys.");
    d.parameter("skip", &Presets::skip).doc("Keys, or none.");
    d.parameter("flag", &Presets::flag).doc("A switch.");
    d.parameter("label", &Presets::label).doc("Any text.");
    d.parameter("needed", &Presets::needed).doc("A count that must be given.").required();
    d.parameter("seed", &Presets::seed).doc("A seed of its own.").range(0, 100);
    d.parameter("free", &Presets::free).doc("A count that no preset fixes.").range(0, 100);
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    const bool whole = tables == 150 && rate == 1 && shape == Shape::cone && budget.is_fraction &&
                       budget.fraction == 0.1 && !skip.is_fraction && skip.count == 4 && flag &&
                       label == "fixed" && needed == 9 && seed == 42 && free == 5;
    for (auto query : tile.queries()) out.range(query, 0, whole ? tile.visible(query) : 1);
  }
};

ATTNLAB_PLUGIN(Presets);
