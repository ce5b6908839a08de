#include "core/report/style.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "core/report/svg.hpp"

namespace attnlab::report {
namespace {

using Color = std::array<int, 3>;

struct Theme {
  Color paper, density, error, dark_text, light_text;
  int bright_from;  ///< error level from which the other text colour reads better
  bool dark;
};

constexpr Theme light_theme{
    {255, 255, 255}, {31, 84, 176}, {178, 74, 12}, {10, 11, 13}, {255, 255, 255}, 13, false};
constexpr Theme dark_theme{{28, 31, 36}, {128, 182, 255}, {255, 158, 94}, {0, 0, 0}, {255, 255, 255}, 9,
                           true};

std::string hex(const Color& color) {
  return fmt::format("#{:02x}{:02x}{:02x}", color[0], color[1], color[2]);
}

Color mix(const Color& from, const Color& to, int level) {
  Color color{};
  for (size_t i = 0; i < 3; ++i) {
    color[i] = from[i] + static_cast<int>(std::lround((to[i] - from[i]) * level / (color_levels - 1.0)));
  }
  return color;
}

std::string ramps(const Theme& theme) {
  std::string css;
  for (int level = 0; level < color_levels; ++level) {
    const std::string density = hex(mix(theme.paper, theme.density, level));
    const bool past = level >= theme.bright_from;
    css += fmt::format(".d{}{{stroke:{};background:{}}}.e{}{{background:{};color:{}}}\n", level, density,
                       density, level, hex(mix(theme.paper, theme.error, level)),
                       hex(past == theme.dark ? theme.dark_text : theme.light_text));
  }
  return css;
}

constexpr const char* layout = R"(
:root{color-scheme:light dark;--page:#fafaf9;--paper:#fff;--text:#1b1e22;--muted:#666c74;--line:#dfe1e4;--accent:#1f54b0;--warn:#8a5300}
@media (prefers-color-scheme:dark){:root{--page:#141619;--paper:#1c1f24;--text:#e6e8eb;--muted:#9aa1aa;--line:#343941;--accent:#80b6ff;--warn:#f0b45a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1080px;margin:0 auto;padding:32px 24px 40px}
h1{font-size:26px;line-height:1.25;margin:0 0 14px;overflow-wrap:anywhere}
h2{font-size:18px;margin:40px 0 10px}
/* A name of a thousand letters takes four lines. */
.clamp{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:4;overflow:hidden}
h3{font-size:14px;margin:0 0 6px;overflow-wrap:anywhere}
p{margin:6px 0}
.small{font-size:13px;color:var(--muted)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:0;font-size:14px}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
.notes{margin:16px 0 0;padding:8px 14px;border-left:3px solid var(--warn);background:var(--paper);font-size:14px;overflow-wrap:anywhere}
.notes ul{margin:0;padding-left:18px}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--muted);text-align:right;white-space:nowrap}
.grid-table td,.grid-table th{padding:5px 10px;text-align:right;white-space:nowrap}
.grid-table thead tr:first-child th{padding-bottom:0;font-weight:400}
.grid-table tbody tr{border-top:1px solid var(--line)}
.grid-table th[colspan]:not([colspan="1"]){text-align:center}
.grid-table .who{position:sticky;left:0;background:var(--page);text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:120px;max-width:260px;color:var(--text);padding-left:0}
.grid-table .warn{color:var(--warn);font-weight:600}
.wide{width:100%}
details{margin:8px 0;font-size:13px;color:var(--muted)}
summary{cursor:pointer}
figure{margin:0;min-width:0}
figcaption{font-size:13px;color:var(--muted);overflow-wrap:anywhere;margin-top:6px}
svg{display:block}
.scatter{max-width:100%;height:auto}
.narrow{display:none}
.scatter text{font-size:12px;fill:var(--text)}
.scatter .tick,.scatter .name{fill:var(--muted)}
.grid{stroke:var(--line);stroke-width:1}
.axis{stroke:var(--muted);stroke-width:1}
.whisker{stroke:var(--accent);stroke-width:1.5;opacity:.55}
.leader{stroke:var(--muted);stroke-width:.75}
.point{fill:var(--accent);stroke:var(--page);stroke-width:1.5}
.exact{fill:var(--muted)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(290px,1fr));gap:28px 24px}
.heats{grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr))}
.mask{max-width:100%;border:1px solid var(--line);shape-rendering:crispEdges}
.mask path{fill:none;stroke-width:1.04}
.mask,.nothing{background:repeating-linear-gradient(135deg,var(--line) 0 1px,var(--page) 1px 6px)}
.legend{display:flex;flex-wrap:wrap;align-items:center;gap:4px 14px;font-size:13px;color:var(--muted);margin:8px 0 14px}
.legend span{display:inline-flex;align-items:center;gap:6px}
.legend i{width:16px;height:16px;border:1px solid var(--line);display:inline-block}
.heat{font-size:11px}
.heat th{padding:0 6px 0 0;font-weight:400}
.heat thead th{padding:0 0 2px;text-align:center}
.heat td{min-width:15px;height:22px;padding:0 2px;text-align:center;border:1px solid var(--page);white-space:nowrap}
.fine td{min-width:10px;height:11px;padding:0}
.fine th{font-size:10px;line-height:11px}
.heat thead th:first-child{padding-right:6px}
.fine thead th+th{text-align:left}
.bar{display:block;height:10px;min-width:1px;background:var(--accent);opacity:.75}
.bar-cell{width:40%;min-width:90px}
.total td{font-weight:600}
.part .who{padding-left:18px;color:var(--muted)}
pre{background:var(--paper);border:1px solid var(--line);padding:10px 12px;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
footer{margin-top:44px;border-top:1px solid var(--line);padding-top:14px}
@media (max-width:640px){main{padding:20px 16px 32px}h1{font-size:22px}h2{margin-top:32px}.broad{display:none}.narrow{display:block}dl{grid-template-columns:1fr}dt{margin-top:6px;font-size:12.5px}.grid-table td,.grid-table th{padding:5px 7px}.grid-table .who{min-width:140px;max-width:150px;font-size:13px}}
@media print{body{font-size:12px}figure,tr{break-inside:avoid}}
)";

}  // namespace

std::string style_sheet() {
  return layout + ramps(light_theme) + "@media (prefers-color-scheme:dark){\n" + ramps(dark_theme) + "}\n";
}

}  // namespace attnlab::report
