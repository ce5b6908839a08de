"""report.html in a real browser: what a reader sees and does, against the run's own files.

report_test.py PROGRAM CHROMIUM OUT: runs PROGRAM (attnlab) into OUT, opens the report, leaves screenshots there.
"""

import json
import os
import re
import sys
import unittest
import zlib

from mask_test import MaskTest  # noqa: F401, for unittest to find
from plot_test import PlotTest  # noqa: F401
from sweep_test import SweepTest  # noqa: F401
from report_case import (CONFIG, OUT, REPORT, RESULT, TITLE, ReportCase, browser, load, middle, pipeline, result,
                         text, tip)


class ReportTest(ReportCase):

    # The table.

    def order(self):
        return browser.value("[...document.querySelectorAll('#comparison tbody th')].map(cell => cell.textContent)")

    def sorts(self):
        return browser.value("[...document.querySelectorAll('#comparison thead th')].flatMap(cell => "
                             "cell.getAttribute('aria-sort') ? [cell.textContent + ' ' + cell.getAttribute('aria-sort')] : [])")

    def test_table_sorts_by_exact_figures(self):
        original = list(CONFIG["pipelines"])
        self.assertEqual(self.order(), original)
        by_density = sorted(original, key=lambda name: pipeline(name)["quality"]["density"]["mean"])
        self.assertNotEqual(by_density, original)
        heading = "#comparison th[data-sort]:nth-child(2) button"
        browser.click(*middle(heading))
        self.assertEqual(self.order(), by_density)
        self.assertEqual(self.sorts(), ["mean ascending"])
        browser.value(f"document.querySelector('{heading}').focus()")
        browser.key("Enter")
        self.assertEqual(self.order(), by_density[::-1])
        self.assertEqual(self.sorts(), ["mean descending"])
        browser.key(" ")
        self.assertEqual(self.order(), original)
        self.assertEqual(self.sorts(), [])
        browser.click(*middle(heading))
        browser.click(*middle("#comparison th[data-sort] button"))  # names
        self.assertEqual(self.order(), sorted(original))
        self.assertEqual(self.sorts(), ["pipeline ascending"])

    def test_table_is_numeric_and_stable_with_absent_figures_last(self):
        figures = ["10", "", "9", "Infinity", "1e-7", "9", "-0.5", "Infinity"]
        with open(REPORT, encoding="utf-8") as file:
            page = file.read()
        rows = "".join(f'<tr><th class="who">row {i}</th><td data-value="{value}">text {9 - i}</td></tr>'
                       for i, value in enumerate(figures))
        edited = os.path.join(RESULT, "edited.html")
        with open(edited, "w", encoding="utf-8") as file:
            file.write(re.sub(r"<tbody>.*?</tbody>", f"<tbody>{rows}</tbody>", page, count=1, flags=re.S))
        self.open(edited)
        places = lambda: [int(name.split()[1]) for name in self.order()]
        heading = "#comparison th[data-sort]:nth-child(2) button"
        browser.click(*middle(heading))
        self.assertEqual(places(), [6, 4, 2, 5, 0, 3, 7, 1])
        browser.click(*middle(heading))
        self.assertEqual(places(), [3, 7, 0, 2, 5, 4, 6, 1])

    # Layers and heads.

    def test_heat_map_shows_the_rows_of_heads(self):
        with open(os.path.join(RESULT, "rows.jsonl"), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        row = next(row for row in rows if (row["pipeline"], row["layer"], row["head"]) == ("heavy", 1, 0))
        cell = "#heads figure[data-pipeline='2'] tbody tr:nth-child(2) td"
        for metric in ("density", "mass_recall", "output_error"):
            self.choose("#heads select", metric)
            self.assert_shown_short(text(cell), row[metric]["mean"])
            browser.move(5, 5)
            browser.move(*middle(cell))
            title, facts = tip()
            self.assertEqual((title, facts["pipeline"]), ("layer 1, head 0", "heavy"))
            self.assert_shown(facts[metric.replace("_", " ")], row[metric]["mean"])
        browser.value(f"document.querySelector(\"{cell.replace('nth-child(2)', 'nth-child(1)')}\").focus()")
        browser.key("ArrowDown")
        self.assertEqual(tip()[0], "layer 1, head 0")
        browser.key("ArrowRight")
        self.assertEqual(tip()[0], "layer 1, head 1")
        self.choose("#heads label + label select", "1")
        visible = "[...document.querySelectorAll('#heads figure')].filter(card => card.checkVisibility()).length"
        self.assertEqual(browser.value(visible), 1)

    def assert_shown_short(self, shown, exact):
        number = float(shown.split(" ")[0]) / (100 if shown.endswith("%") else 1)
        self.assertLessEqual(abs(number - exact), 0.0501 * abs(exact) + 0.0051 * (shown.endswith("%")), shown)

    # The page.

    def test_provenance_and_command(self):
        provenance = load("provenance.json")
        self.assertEqual(text("#command"), provenance["command"])
        section = text("#provenance")
        for part in (provenance["started"], provenance["simd_target"], provenance["build"]["compiler"],
                     provenance["machine"]["cpu"], provenance["plugins"][0]["hash"], result["run_id"]):
            self.assertIn(part, section)
        browser.click(*middle("#provenance button"))
        browser.wait("document.querySelector('#provenance [role=status]').textContent")
        if text("#provenance [role=status]") != "copied":
            self.assertEqual(browser.value("getSelection().toString()"), provenance["command"])

    def test_hostile_text_stays_text(self):
        self.assertEqual(text("h1"), TITLE)
        with open(REPORT, encoding="utf-8") as file:
            page = file.read()
        hostile = '<img src=x onerror="document.title=1">\'&amp;'
        edited = os.path.join(RESULT, "hostile.html")
        with open(edited, "w", encoding="utf-8") as file:
            self.assertIn('"name":"fixed"', page)
            file.write(page.replace('"name":"fixed"', '"name":' + json.dumps(hostile).replace("<", "\\u003c")))
        self.open(edited)
        x, y = middle(".plot:not([hidden]) .broad [data-pipeline='1']")
        browser.move(x, y)
        self.assertEqual(tip()[0], hostile)
        self.assertEqual(text(".panel h3"), hostile)
        self.assertEqual(browser.value("document.querySelectorAll('img, b b, h1 b').length"), 0)

    def test_every_control_is_a_tab_stop_with_a_name_and_a_visible_focus(self):
        seen = []
        for _ in range(80):
            browser.key("Tab")
            state = browser.value("""(() => { const node = document.activeElement; if (node === document.body) return null;
                const style = getComputedStyle(node);
                const name = node.getAttribute("aria-label") || node.textContent || node.labels?.[0]?.textContent;
                const ring = style.outlineStyle !== "none" || node.matches(".point");
                return [node.tagName.toLowerCase(), node.id || node.className.baseVal || node.className, !!name.trim(), ring]; })()""")
            if state is None:
                break
            seen.append(state)
        for tag, what, named, ring in seen:
            self.assertTrue(named and ring, f"{tag} {what}: named {named}, ring {ring}")
        tags = [tag for tag, *_ in seen]
        self.assertGreaterEqual(tags.count("button"), 11 + 5)
        self.assertEqual(tags.count("select"), 6)
        self.assertEqual(tags.count("canvas"), 2)
        self.assertEqual(tags.count("circle"), 1)
        self.assertEqual(tags.count("td"), 3, "one for each heat map")

    def test_text_has_contrast_in_both_themes(self):
        faint = """(() => { const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
            const rgb = colour => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
              return [...pen.getImageData(0, 0, 1, 1).data]; };
            const light = ([r, g, b]) => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
              return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
            const ground = node => { for (; node; node = node.parentElement) {
              const colour = rgb(getComputedStyle(node).backgroundColor); if (colour[3] === 255) return colour; }
              return rgb("white"); };
            return [...document.querySelectorAll("body *")].filter(node => node.checkVisibility() &&
                !node.closest("script") && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
              .flatMap(node => { const style = getComputedStyle(node);
                const a = light(rgb(node.closest("svg") ? style.fill : style.color)), b = light(ground(node));
                const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                return ratio < 4.5 ? [`${node.tagName} ${node.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`] : []; }); })()"""
        for theme in ("light", "dark"):
            browser.media(prefers_color_scheme=theme)
            for metric in ("mass_recall", "density", "output_error"):
                self.choose("#heads select", metric)
                self.assertEqual(browser.value(faint), [], theme)

    def test_themes(self):
        ground = "getComputedStyle(document.body).backgroundColor"
        mask = self.picture()
        light = browser.value(ground)
        browser.media(prefers_color_scheme="dark")
        dark = browser.value(ground)
        self.assertNotEqual(light, dark)
        self.assertNotEqual(self.picture(), mask)
        browser.click(*middle(".theme"))
        browser.move(5, 5)
        self.assertEqual(browser.value(ground), light)
        self.assertEqual(self.picture(), mask)

    def test_nothing_moves_by_itself(self):
        browser.media(prefers_reduced_motion="reduce")
        browser.click(*middle("#masks button[aria-label='zoom in']"))
        self.assertEqual(browser.value("document.getAnimations().length"), 0)

    def test_phone_does_not_scroll_sideways(self):
        for width in (360, 1100):
            browser.size(width, 740, touch=width < 400)
            self.open()
            self.assertLessEqual(browser.value("document.documentElement.scrollWidth"), width)

    def test_prints_on_white_without_controls(self):
        browser.size(700, 900)  # about the width of A4 between margins
        browser.send("Emulation.setEmulatedMedia", media="print",
                     features=[{"name": "prefers-color-scheme", "value": "dark"}])
        try:
            shown = lambda selector: browser.value(
                f"[...document.querySelectorAll('{selector}')].filter(node => node.checkVisibility()).length")
            self.assertEqual(shown(".controls, .theme, canvas"), 0)
            self.assertEqual(shown("th[data-sort] button"), 12)
            self.assertEqual(shown(".mask"), 4)
            self.assertEqual(browser.value("getComputedStyle(document.documentElement).colorScheme"), "light")
            self.assertLessEqual(browser.value("document.documentElement.scrollWidth"), 700)
        finally:
            browser.send("Emulation.setEmulatedMedia", media="")

    def test_readable_without_script(self):
        browser.send("Emulation.setScriptExecutionDisabled", value=True)
        try:
            browser.open(REPORT)
            self.assertEqual(self.order(), list(CONFIG["pipelines"]))
            count = lambda selector: browser.value(f"document.querySelectorAll('{selector}').length")
            self.assertEqual(count(".controls") + count("canvas"), 0)
            self.assertEqual(count(".plot:not([hidden]) .broad .point"), 4)
            self.assertEqual(count(".mask"), 4)
        finally:
            browser.send("Emulation.setScriptExecutionDisabled", value=False)

    def test_screenshots_show_something(self):
        for name, scheme, width in (("light", "light", 1100), ("dark", "dark", 1100), ("phone", "light", 360)):
            browser.size(width, 900, touch=width < 400)
            browser.media(prefers_color_scheme=scheme)
            self.open()
            png = browser.screenshot(os.path.join(OUT, f"report-{name}.png"))
            width, height, data = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big"), b""
            at = 8
            while at < len(png):
                size = int.from_bytes(png[at:at + 4], "big")
                if png[at + 4:at + 8] == b"IDAT":
                    data += png[at + 8:at + 8 + size]
                at += 12 + size
            lines = zlib.decompress(data)
            stride = len(lines) // height
            distinct = {lines[i:i + stride] for i in range(0, len(lines), stride)}
            self.assertGreater(len(distinct), height // 5, f"{name}: {width} x {height} of few different lines")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
