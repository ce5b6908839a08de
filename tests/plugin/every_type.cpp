#include <attnlab/masker.hpp>

enum class Shape { box, cone };

/// One parameter of each type, and a rule between two of them that no table can say. Keeps all keys.
struct EveryType : attnlab::Masker {
  bool flag = true;
  int64_t lowest = 1;
  int64_t highest = 8;
  double rate = 0.5;
  std::string label = "plain";
  Shape shape = Shape::cone;
  attnlab::Path weights;
  attnlab::CountOrFraction budget = 0.25;
  attnlab::Offset skip = 0;
  std::vector<int64_t> widths = {4, 16};

  static void describe(attnlab::Description<EveryType>& d) {
    d.id("every_type").summary("Has a parameter of each type.").paper("arXiv:1706.03762");
    d.parameter("flag", &EveryType::flag).doc("A switch.");
    d.parameter("lowest", &EveryType::lowest).doc("Not above highest.").range(0, 100);
    d.parameter("highest", &EveryType::highest).doc("Not below lowest.").range(0, 100);
    d.parameter("rate", &EveryType::rate).doc("A share.").above(0).below(1).unit("keys per row");
    d.parameter("label", &EveryType::label).doc("Any text.");
    d.parameter("shape", &EveryType::shape).names({"box", "cone"}).doc("A choice.");
    d.parameter("weights", &EveryType::weights).doc("A file.");
    d.parameter("budget", &EveryType::budget).doc("Keys.").sweep({0.25, 64});
    d.parameter("skip", &EveryType::skip).doc("Keys, or none.");
    d.parameter("widths", &EveryType::widths).doc("Several counts.").range(1, 64);
  }
  void prepare() {
    if (lowest > highest) throw attnlab::ParameterError("lowest", "lowest is above highest");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) out.full(query);
  }
};

ATTNLAB_PLUGIN(EveryType);
