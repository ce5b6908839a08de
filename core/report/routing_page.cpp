// report.html of a router.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/report/routing.hpp"
#include "core/report/routing_tables.hpp"
#include "core/report/svg.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using train::BranchAblation;
using train::GateGroup;
using train::LayerRouting;
using train::RoutingRecord;

constexpr size_t branch_colors = 6;

// Dark on the light page and light on the dark one, so that the page's own colour reads on all of them.
constexpr const char* style =
    ".pair{display:flex;flex-wrap:wrap;gap:24px}.pair figure{flex:1 1 380px}"
    ".bars{max-width:100%;height:auto}.bars text{font-size:12.5px;fill:var(--text)}"
    ".bars .quiet{fill:var(--muted)}.bars .inside{fill:var(--page)}"
    ".b0{--branch:light-dark(#1f54b0,#80b6ff)}.b1{--branch:light-dark(#a8480e,#ffa566)}"
    ".b2{--branch:light-dark(#1c6b45,#6fd3a0)}.b3{--branch:light-dark(#7a3aa0,#d3a2f2)}"
    ".b4{--branch:light-dark(#a02852,#ff9bb8)}.b5{--branch:light-dark(#5b6168,#b9c0c8)}"
    ".heats{grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr))}.heat td{min-width:32px}"
    ".heat thead th{padding:0 2px 2px;vertical-align:bottom}#tables h3{margin-top:28px}"
    "#tables .grid-table th,#tables .grid-table td{padding:4px 7px}#tables .word{text-align:left}"
    "#tables thead th{white-space:normal;vertical-align:bottom}tbody .word{font-weight:400;color:var(--text)}"
    ".bars [class^=b]{fill:var(--branch)}.legend i[class^=b]{background:var(--branch)}";

std::string color_of(const std::vector<std::string>& branches, const std::string& branch) {
  const auto at = std::find(branches.begin(), branches.end(), branch) - branches.begin();
  return fmt::format("b{}", static_cast<size_t>(at) % branch_colors);
}

std::string svg_text(const char* style_class, const char* anchor, double x, double y,
                     const std::string& what) {
  return fmt::format(R"(<text class="{}" text-anchor="{}" x="{}" y="{}">{}</text>)", style_class, anchor,
                     px(x), px(y), html_text(what));
}

std::string svg_open(const std::string& label, double width, double height) {
  return fmt::format(
      R"(<svg class="bars" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">)",
      html_text(label), px(width), px(height), px(width), px(height));
}

std::string bar(const std::string& color, double x, double y, double width, double height,
                const std::string& tip) {
  return fmt::format(R"(<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>)",
                     color, px(x), px(y), px(width), px(height), html_text(tip));
}

/// One bar for each layer, as long as 1, cut into the shares of its branches.
std::string stacked_bars(const RoutingRecord& record, const std::string& title,
                         std::vector<double> GateGroup::*shares) {
  constexpr double width = 500, left = 64, right = 496, row = 28, height = 20;
  const std::vector<std::string> branches = routing_branches(record);
  std::string svg = svg_open(title, width, row * static_cast<double>(record.layers.size()));
  double y = 0;
  for (const LayerRouting& layer : record.layers) {
    svg += svg_text("quiet", "end", left - 8, y + 15, fmt::format("layer {}", layer.layer));
    double x = left;
    for (size_t e = 0; e < layer.branches.size(); ++e) {
      const double share = (layer.all.*shares)[e], wide = share * (right - left);
      const std::string& branch = layer.branches[e];
      svg += bar(color_of(branches, branch), x, y, wide, height,
                 fmt::format("layer {}, {}: {:.4f}", layer.layer, branch, share));
      if (wide > 36) svg += svg_text("inside", "middle", x + wide / 2, y + 15, fmt::format("{:.3f}", share));
      x += wide;
    }
    y += row;
  }
  return "<figure><h3>" + title + "</h3>" + svg + "</svg></figure>";
}

std::string branch_legend(const RoutingRecord& record) {
  const std::vector<std::string> branches = routing_branches(record);
  std::string legend = R"(<div class="legend">)";
  for (const std::string& branch : branches) {
    legend +=
        fmt::format(R"(<span><i class="{}"></i>{}</span>)", color_of(branches, branch), html_text(branch));
  }
  return legend + "</div>";
}

std::string gate_section(const RoutingRecord& record) {
  return R"(<section id="gates"><h2>Gates</h2><p class="small">What the tokens of each layer give to its branches, and how many have their largest gate there: a small lead decides that as well as a large one.</p>)" +
         branch_legend(record) + R"(<div class="pair">)" +
         stacked_bars(record, "mean gate", &GateGroup::gates) +
         stacked_bars(record, "share of tokens by largest gate", &GateGroup::chosen) + "</div></section>";
}

std::string heat_cell(int64_t layer, const GateGroup& group, double gate) {
  if (std::isnan(gate)) return R"(<td class="nothing"></td>)";
  return fmt::format(R"(<td class="d{}" title="layer {}, {}, {} tokens: {:.4f}">{:.2f}</td>)",
                     std::lround(std::clamp(gate, 0.0, 1.0) * (color_levels - 1)), layer,
                     html_text(group.name), group.tokens, gate, gate);
}

/// On two lines where that is narrower: "line break", "lower-case", "Q1 0.088-1.590", "224-255".
std::string column_heading(const std::string& name) {
  const size_t at = name.find_first_of(" -");
  if (at == std::string::npos) return html_text(name);
  return html_text(name.substr(0, at + 1)) + "<br>" + html_text(name.substr(at + 1));
}

/// One branch: layers down, groups of tokens across.
std::string heat_table(const RoutingRecord& record, const std::string& branch, GateGroups groups) {
  std::string html = fmt::format(
      R"(<figure><h3 class="clamp">{0}</h3><div class="scroll" tabindex="0" role="region" aria-label="gates of {0}"><table class="heat"><thead><tr><th scope="col">layer</th>)",
      html_text(branch));
  for (const GateGroup& group : record.layers.front().*groups)
    html += "<th scope=\"col\">" + column_heading(group.name) + "</th>";
  html += "</tr></thead><tbody>";
  for (const LayerRouting& layer : record.layers) {
    html += fmt::format("<tr><th scope=\"row\">{}</th>", layer.layer);
    for (const GateGroup& group : layer.*groups)
      html += heat_cell(layer.layer, group, gate_of(layer, branch, group));
    html += "</tr>";
  }
  return html + "</tbody></table></div></figure>";
}

std::string heat_section(const RoutingRecord& record, const char* id, const std::string& title,
                         const std::string& about, GateGroups groups) {
  if (record.layers.empty() || (record.layers.front().*groups).size() < 2) return "";
  std::string legend;
  for (const int level : {0, 3, 6, 9, 12, 15}) {
    legend += fmt::format(R"(<span><i class="d{}"></i>{:.1f}</span>)", level,
                          static_cast<double>(level) / (color_levels - 1));
  }
  std::string cards;
  for (const std::string& branch : routing_branches(record)) cards += heat_table(record, branch, groups);
  return fmt::format(R"(<section id="{}"><h2>{}</h2><p class="small">{}</p><div class="legend">)", id, title,
                     about) +
         legend + R"(</div><div class="cards heats">)" + cards + "</div></section>";
}

/// Differences of the loss as bars from a line at 0.
std::string difference_bars(const RoutingRecord& record, bool forced) {
  constexpr double width = 500, left = 90, right = 430, row = 28, height = 20;
  const std::vector<std::string> branches = routing_branches(record);
  std::vector<BranchAblation> shown;
  std::copy_if(record.ablations.begin(), record.ablations.end(), std::back_inserter(shown),
               [&](const BranchAblation& a) { return a.forced == forced; });
  double low = 0, high = 1e-12;
  for (const BranchAblation& a : shown) {
    low = std::min(low, a.difference);
    high = std::max(high, a.difference);
  }
  // A label beside a bar to the left needs room between it and the names.
  const double start = low < 0 ? left + 60 : left;
  const auto at = [&](double value) { return start + (value - low) / (high - low) * (right - start); };
  const std::string title = forced ? "all tokens on one branch" : "without a branch";
  std::string svg = svg_open(title, width, row * static_cast<double>(shown.size()));
  double y = 0;
  for (const BranchAblation& a : shown) {
    const double from = std::min(at(0), at(a.difference)), to = std::max(at(0), at(a.difference));
    svg += svg_text("quiet", "end", left - 10, y + 15, a.branch);
    svg += bar(color_of(branches, a.branch), from, y, std::max(1.0, to - from), height,
               fmt::format("{}: loss {:.4f}, {:+.4f}", a.branch, a.loss, a.difference));
    svg += a.difference < 0 ? svg_text("", "end", from - 6, y + 15, fmt::format("{:+.4f}", a.difference))
                            : svg_text("", "start", to + 6, y + 15, fmt::format("{:+.4f}", a.difference));
    y += row;
  }
  svg += fmt::format(R"(<line class="axis" x1="{0}" y1="0" x2="{0}" y2="{1}"/>)", px(at(0)), px(y));
  return "<figure><h3>" + title + "</h3>" + svg + "</svg></figure>";
}

std::string ablation_section(const RoutingRecord& record) {
  if (record.ablations.empty()) return "";
  return R"(<section id="ablations"><h2>Branches dropped and forced</h2><p class="small">What the loss of the same windows gains, in nats: with the branch out of all layers and the other gates renormalised, and with every token on it. Each panel has a scale of its own; the model was trained for neither.</p>)"
         R"(<div class="pair">)" +
         difference_bars(record, false) + difference_bars(record, true) + "</div></section>";
}

std::string table_section(const RoutingRecord& record) {
  std::string html = R"(<section id="tables"><h2>Tables</h2>)";
  for (const PlainTable& table : routing_tables(record)) html += plain_html(table);
  return html + "</section>";
}

}  // namespace

std::string routing_html(const RoutingRecord& record) {
  const std::string title = html_text(routing_title(record));
  std::string page = page_head(routing_title(record), style);
  page += "<header><h1>" + title + "</h1><p>" + html_text(routing_summary(record)) + ".</p><p>" +
          html_text(state_line(record)) + "</p></header>\n";
  const std::string scale = "Mean gate of the branch; layers down, one scale from 0 to 1.";
  for (const std::string& section :
       {gate_section(record),
        heat_section(record, "classes", "By kind of token", scale, &LayerRouting::classes),
        heat_section(record, "positions", "By position in the window", scale, &LayerRouting::positions),
        heat_section(
            record, "losses", "By loss",
            scale + " Quarters of the tokens by the loss of what follows, in nats; Q1 is the easiest.",
            &LayerRouting::losses),
        ablation_section(record), table_section(record)}) {
    page += section + "\n";
  }
  return page + "</main></body></html>\n";
}

}  // namespace attnlab::report
