#include "core/report/operators_chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/report/axis.hpp"
#include "core/report/svg.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr size_t colors = 6;
constexpr double label_height = 15, word_width = 36;
constexpr int name_width = 18;

std::string class_of(size_t color) {
  return fmt::format("c{}{}", color % colors, color / colors % 2 == 1 ? " dashed" : "");
}

std::string line(const std::string& style, double x1, double y1, double x2, double y2) {
  return fmt::format(R"(<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>)", style, px(x1), px(y1), px(x2),
                     px(y2));
}

std::string text_at(const std::string& style, const char* anchor, double x, double y,
                    const std::string& text) {
  return fmt::format(R"(<text class="{}" text-anchor="{}" x="{}" y="{}">{}</text>)", style, anchor, px(x),
                     px(y), html_text(text));
}

/// One chart's pixels.
class Drawing {
 public:
  Drawing(const Chart& chart, double width, double height)
      : chart_(chart),
        right_(width - 132),
        bottom_(height - 46),
        x_(values([](const ChartPoint& p) { return std::vector<double>{p.x}; }), left_, right_, 0),
        y_(values([](const ChartPoint& p) { return whiskered(p); }), bottom_, top_, 0) {}

  std::string svg() const { return axes() + lines() + names() + marks(); }

 private:
  static std::vector<double> whiskered(const ChartPoint& p) {
    return p.low > 0 ? std::vector<double>{p.y, p.low, p.high} : std::vector<double>{p.y};
  }
  template <class Of>
  std::vector<double> values(const Of& of) const {
    std::vector<double> all;
    for (const ChartLine& line : chart_.lines) {
      for (const ChartPoint& point : line.points) {
        for (const double value : of(point)) all.push_back(value);
      }
    }
    return all;
  }

  std::string axes() const {
    std::string svg;
    double last = -1e9;
    for (const double tick : chart_.x_ticks) {
      const double at = x_.at(tick);
      svg += line("grid", at, top_, at, bottom_);
      if (at - last < 46) continue;
      last = at;
      svg += text_at("tick", "middle", at, bottom_ + 17, fmt::format("{:.0f}", tick));
    }
    for (const double tick : chart_.y_ticks.empty() ? y_.ticks() : chart_.y_ticks) {
      svg += line("grid", left_, y_.at(tick), right_, y_.at(tick)) +
             text_at("tick", "end", left_ - 7, y_.at(tick) + 4, chart_.y_label(tick));
    }
    svg += line("axis", left_, bottom_, right_, bottom_) + line("axis", left_, top_, left_, bottom_);
    svg += text_at("name", "middle", (left_ + right_) / 2, bottom_ + 38, chart_.x_name);
    const std::string name = text_at("name", "middle", 0, 0, chart_.y_name);
    return svg + fmt::format("<g transform=\"translate(13 {}) rotate(-90)\">{}</g>", px((top_ + bottom_) / 2),
                             name);
  }

  std::string lines() const {
    std::string svg;
    for (const ChartLine& drawn : chart_.lines) {
      std::string path, points;
      for (const ChartPoint& point : drawn.points) {
        const double x = x_.at(point.x), y = y_.at(point.y);
        path += fmt::format("{}{} {}", path.empty() ? 'M' : 'L', px(x), px(y));
        if (point.low > 0) points += line("range", x, y_.at(point.low), x, y_.at(point.high));
        points += fmt::format(R"(<circle cx="{}" cy="{}" r="3.5"><title>{}</title></circle>)", px(x), px(y),
                              html_text(point.tip));
      }
      svg += fmt::format(R"(<g class="{}"><path d="{}"/>{}</g>)", class_of(drawn.color), path, points);
    }
    return svg;
  }

  /// Names beside the right edge, at the height of their line's end or as near as there is room.
  std::string names() const {
    struct Name {
      const ChartLine* line;
      double x, end, y;
    };
    std::vector<Name> names;
    for (const ChartLine& drawn : chart_.lines) {
      if (drawn.points.empty()) continue;
      const double end = y_.at(drawn.points.back().y);
      names.push_back({&drawn, x_.at(drawn.points.back().x), end, end});
    }
    std::stable_sort(names.begin(), names.end(), [](const Name& a, const Name& b) { return a.y < b.y; });
    for (size_t i = 1; i < names.size(); ++i)
      names[i].y = std::max(names[i].y, names[i - 1].y + label_height);
    double limit = bottom_;
    for (size_t i = names.size(); i-- > 0; limit -= label_height) {
      names[i].y = std::min(names[i].y, limit);
      limit = std::min(limit, names[i].y);
    }
    std::string svg;
    for (const Name& name : names) {
      svg += line("leader", name.x + 5, name.end, right_ + 5, name.y);
      svg += text_at("end " + class_of(name.line->color), "start", right_ + 9, name.y + 4,
                     shorten(clean(name.line->name), name_width));
    }
    return svg;
  }

  std::string marks() const {
    std::vector<const ChartMark*> sorted;
    for (const ChartMark& mark : chart_.marks) sorted.push_back(&mark);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const ChartMark* a, const ChartMark* b) { return a->x < b->x; });
    std::string svg;
    std::vector<std::pair<double, double>> words;  ///< places taken
    for (const ChartMark* mark : sorted) {
      const double x = x_.at(mark->x), y = y_.at(mark->y);
      double base = y - 12;
      const auto taken = [&](const auto& other) {
        return std::abs(other.first - x) < word_width && std::abs(other.second - base) < label_height - 1;
      };
      while (base > top_ + 2 * label_height && std::any_of(words.begin(), words.end(), taken))
        base -= label_height;
      words.emplace_back(x, base);
      svg += fmt::format(
          R"(<g class="{}"><circle class="ring" cx="{}" cy="{}" r="7"><title>{}</title></circle>)",
          class_of(mark->color), px(x), px(y), html_text(mark->tip));
      svg += line("drop", x, y + 7, x, bottom_) + "</g>";
      svg += text_at("mark " + class_of(mark->color), "middle", x, base, mark->text);
    }
    return svg;
  }

  const Chart& chart_;
  double left_ = 86, top_ = 12, right_, bottom_;
  LogAxis x_, y_;
};

}  // namespace

// Dark on the light page and light on the dark one.
const char* const chart_style =
    ".pair{display:flex;flex-wrap:wrap;gap:28px 20px}.pair figure{flex:1 1 480px}"
    ".lines{max-width:100%;height:auto}.lines text{font-size:12px;fill:var(--text)}"
    ".lines .tick,.lines .name{fill:var(--muted)}.lines path{fill:none;stroke:var(--ink-c);stroke-width:2}"
    ".lines circle{fill:var(--ink-c)}.lines .range{stroke:var(--ink-c);stroke-width:1.5;opacity:.55}"
    ".lines .ring{fill:none;stroke:var(--ink-c);stroke-width:2}"
    ".lines .drop{stroke:var(--ink-c);stroke-width:1;stroke-dasharray:2 3}"
    ".lines .dashed path{stroke-dasharray:7 4}.lines .leader{stroke-dasharray:1 3}"
    ".lines text.end,.lines text.mark{fill:var(--ink-c)}"
    ".lines text.mark{font-weight:600;paint-order:stroke;stroke:var(--page);stroke-width:4px}"
    ".c0{--ink-c:light-dark(#5b6168,#b9c0c8)}.c1{--ink-c:light-dark(#1f54b0,#80b6ff)}"
    ".c2{--ink-c:light-dark(#a8480e,#ffa566)}.c3{--ink-c:light-dark(#1c6b45,#6fd3a0)}"
    ".c4{--ink-c:light-dark(#7a3aa0,#d3a2f2)}.c5{--ink-c:light-dark(#a02852,#ff9bb8)}";

std::string line_chart(const Chart& chart, double width, double height) {
  const bool empty = std::all_of(chart.lines.begin(), chart.lines.end(),
                                 [](const ChartLine& line) { return line.points.empty(); });
  if (empty) return "";
  return "<figure><h3>" + html_text(chart.title) + "</h3>" +
         fmt::format(
             R"(<svg class="lines" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">)",
             html_text(chart.title), px(width), px(height), px(width), px(height)) +
         Drawing(chart, width, height).svg() + "</svg></figure>";
}

}  // namespace attnlab::report
