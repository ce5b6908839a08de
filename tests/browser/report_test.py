"""report.html in a real browser: what a reader sees and does, against the run's own files.

report_test.py PROGRAM CHROMIUM OUT: runs PROGRAM (attnlab) into OUT, opens the report, leaves screenshots there.
"""

import array
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import unittest
import zlib

from cdp import TIMEOUT, Browser

PROGRAM, CHROMIUM, OUT = (os.path.abspath(path) for path in sys.argv[1:4])
RESULT = os.path.join(OUT, "result")
REPORT = os.path.join(RESULT, "report.html")

SIDE = 600  # queries and keys: more than the picture has blocks each way, so that blocks are uneven
TITLE = 'A <b>title</b> & "quotes" </script><img src=x onerror=alert(1)>'
CONFIG = {
    "title": TITLE,
    "pipelines": {
        "dense": [],
        "fixed": [{"masker": "sink", "sink_size": 8}, {"masker": "local", "window_size": 32}],
        "heavy": [{"masker": "sink", "sink_size": 8}, {"masker": "oracle_top_k", "heavy_size": "15%"}],
        "sampled": [{"masker": "local", "window_size": 8}, {"masker": "random_sampling", "sampling_rate": 0.3}],
    },
    "input": {"workload": "power_law", "layers": 2, "query_heads": 2, "kv_heads": 1, "queries": SIDE, "keys": SIDE,
              "head_dim": 16, "value_dim": 16},
}


def load(name):
    with open(os.path.join(RESULT, name), encoding="utf-8") as file:
        return json.load(file)


def read_npy(path):
    """Values of a little-endian float32 npy file, flat."""
    with open(path, "rb") as file:
        data = file.read()
    header = int.from_bytes(data[8:10], "little")
    assert data[:6] == b"\x93NUMPY" and b"'<f4'" in data[10:10 + header], path
    return array.array("f", data[10 + header:])


def setUpModule():
    global browser, result, masks
    shutil.rmtree(RESULT, ignore_errors=True)
    os.makedirs(OUT, exist_ok=True)
    config = os.path.join(OUT, "config.json")
    with open(config, "w", encoding="utf-8") as file:
        json.dump(CONFIG, file)
    subprocess.run([PROGRAM, "run", config, "--out", RESULT, "--dump", "mask", "--quiet"], check=True, timeout=TIMEOUT,
                   stdout=subprocess.DEVNULL)
    result = load("result.json")
    # Layer 0, sequence 0, head 0: the first plane of the file.
    masks = {name: read_npy(os.path.join(RESULT, name, "layer00_mask.npy"))[:SIDE * SIDE] for name in CONFIG["pipelines"]}
    browser = Browser(CHROMIUM)


def tearDownModule():
    browser.close()


def box(selector):
    """Scrolls an element to the middle and returns its left, top, width and height in the viewport."""
    return browser.value(f"""(() => {{ const node = document.querySelector({json.dumps(selector)});
        node.scrollIntoView({{ block: "center", inline: "center" }});
        const box = node.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; }})()""")


def middle(selector):
    left, top, width, height = box(selector)
    return left + width / 2, top + height / 2


def text(selector):
    return browser.value(f"document.querySelector({json.dumps(selector)}).textContent")


def pipeline(name):
    return next(entry for entry in result["pipelines"] if entry["name"] == name)


def tip():
    """The tooltip's title and its figures by label, or None."""
    return browser.value("""(() => { const tip = document.getElementById("tip"); if (tip.hidden) return null;
        const texts = tag => [...tip.querySelectorAll(tag)].map(node => node.textContent);
        const labels = texts("dt"), values = texts("dd");
        return [tip.querySelector("b").textContent, Object.fromEntries(labels.map((l, i) => [l, values[i]]))]; })()""")


class ReportTest(unittest.TestCase):

    def setUp(self):
        browser.size(1100, 900)
        browser.media(prefers_color_scheme="light")
        self.open()

    def open(self, path=REPORT):
        browser.open(path)
        browser.wait("document.querySelectorAll('.panel h3').length == 2 && "
                     "[...document.querySelectorAll('.panel h3')].every(title => title.textContent)")
        browser.settle()

    def tearDown(self):
        self.assertEqual(browser.errors(), [])
        self.assertEqual([url for url in browser.requests() if not url.startswith("file://")], [])
        self.assertEqual(len(browser.requests()), 1, browser.requests())

    def assert_shown(self, shown, exact):
        """`shown`, of three digits and perhaps in percent, is `exact`."""
        number = float(shown.split(" ")[0]) / (100 if shown.endswith("%") else 1)
        self.assertLessEqual(abs(number - exact), 0.00501 * abs(exact), f"{shown} for {exact}")

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

    # The plot.

    def check_tip(self, name):
        title, facts = tip()
        self.assertEqual(title, name)
        quality = pipeline(name)["quality"]
        for label, metric, figure in (("density", "density", "mean"), ("output error mean", "output_error", "mean"),
                                      ("output error p05", "output_error", "p05"), ("mass recall", "mass_recall", "mean"),
                                      ("output error p95", "output_error", "p95")):
            self.assert_shown(facts[label], quality[metric][figure])
        return facts

    def test_plot_shows_figures_on_hover_and_focus(self):
        front = set()
        for i, name in enumerate(CONFIG["pipelines"]):
            x, y = middle(f".plot:not([hidden]) .broad [data-pipeline='{i}']")
            browser.move(x + 4, y + 3)
            if "Pareto front" in self.check_tip(name):
                front.add(name)
        browser.move(5, 5)
        self.assertIsNone(tip())

        def figures(name):
            quality = pipeline(name)["quality"]
            return quality["density"]["mean"], quality["output_error"]["mean"]

        better = lambda a, b: a != b and all(x <= y for x, y in zip(a, b))
        names = CONFIG["pipelines"]
        self.assertEqual(front, {name for name in names if not any(better(figures(o), figures(name)) for o in names)})

        # One Tab stop; arrows go from sparse to dense and around.
        browser.value("document.querySelector('#plot select').focus()")
        browser.key("Tab")
        by_density = sorted(names, key=lambda name: pipeline(name)["quality"]["density"]["mean"])
        for name in by_density + by_density[:1]:
            self.check_tip(name)
            self.assertIn(name + ": density", browser.value("document.activeElement.getAttribute('aria-label')"))
            browser.key("ArrowRight")
        browser.key("Escape")
        self.assertIsNone(tip())
        browser.key("Tab")
        self.assertFalse(browser.value("document.activeElement.matches('.point')"))

    def choose(self, selector, value):
        browser.value(f"""(() => {{ const box = document.querySelector({json.dumps(selector)});
            box.value = {json.dumps(value)}; box.dispatchEvent(new Event("change")); }})()""")
        browser.settle()

    def test_plot_changes_its_metric(self):
        shown = "[...document.querySelectorAll('.plot')].filter(plot => plot.checkVisibility()).map(plot => plot.dataset.metric)"
        for metric in ("missed_mass", "denominator_error", "output_error"):
            self.choose("#plot select", metric)
            self.assertEqual(browser.value(shown), [metric])

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

    # The masks.

    def readout(self):
        return browser.value("[...document.querySelectorAll('.readout p')].map(line => line.textContent)")

    def check_readout(self):
        """Compares each figure with the dumped planes; returns the ranges (first, last) of queries and keys."""
        where, *lines = self.readout()
        ranges = re.fullmatch(r"quer(?:y|ies) (\d+)(?:–(\d+))?, keys? (\d+)(?:–(\d+))?", where)
        self.assertIsNotNone(ranges, where)
        q0, q1, k0, k1 = (int(number) if number else None for number in ranges.groups())
        q1, k1 = q0 if q1 is None else q1, k0 if k1 is None else k1
        visible = sum(max(0, min(query, k1) - k0 + 1) for query in range(q0, q1 + 1))
        self.assertEqual(len(lines), 2)
        for line in lines:
            name, says = line.split(": ", 1)
            if visible == 0:
                self.assertEqual(says, "nothing visible")
                continue
            plane = masks[name]
            active = sum(value > 0 for query in range(q0, q1 + 1)
                         for value in plane[query * SIDE + k0:query * SIDE + k1 + 1])
            counts = re.fullmatch(r"(\d+) of (\d+) visible entries active, density (.*)", says)
            self.assertEqual((int(counts[1]), int(counts[2])), (active, visible), line)
            self.assert_shown(counts[3], active / visible)
        return (q0, q1), (k0, k1)

    def picture(self):
        return browser.value("document.querySelector('.panel canvas').toDataURL()")

    def test_masks_agree_with_the_dump_at_every_zoom(self):
        left, top, width, height = box(".panel canvas")
        points = [(left + width * x, top + height * y) for x in (0.15, 0.4, 0.77) for y in (0.1, 0.35, 0.6, 0.85)]
        whole = self.picture()
        cells = set()
        for point in points:
            browser.move(*point)
            cells.add(self.check_readout())
        self.assertEqual(len(cells), len(points))
        (q0, q1), (k0, k1) = self.check_readout()
        self.assertGreater((q1 - q0 + 1) * (k1 - k0 + 1), 1, "the whole mask is drawn in blocks")

        x, y = left + width * 0.3, top + height * 0.6
        browser.wheel(x, y, -100)  # without focus the page scrolls instead
        left, top, width, height = box(".panel canvas")
        x, y = left + width * 0.3, top + height * 0.6
        browser.move(5, 5)
        self.assertEqual(self.picture(), whole)
        browser.click(x, y)
        before = self.check_readout()
        for _ in range(8):
            browser.wheel(x, y, -250)
        browser.wait("document.querySelector('.panel canvas.zoomed')")
        (q0, q1), (k0, k1) = self.check_readout()
        self.assertLessEqual((q1 - q0 + 1) * (k1 - k0 + 1), 4, "single counts")
        self.assertTrue(before[0][0] <= q0 + 3 and q1 - 3 <= before[0][1], "the point below the pointer stays")
        self.assertNotEqual(self.picture(), whole)
        for x_share in (0.2, 0.5, 0.9):
            browser.move(left + width * x_share, top + height * 0.5)
            self.check_readout()

        # Dragging moves the cell along with the pointer.
        start = (left + width * 0.5, top + height * 0.5)
        browser.move(*start)
        cell = self.check_readout()
        browser.press(*start)
        browser.move(start[0] + 60, start[1] + 40, buttons=1)
        browser.release(start[0] + 60, start[1] + 40)
        self.assertEqual(self.check_readout(), cell)

        # Keys: a cell to the right, far to the left, and back to all.
        browser.key("ArrowRight")
        moved = self.check_readout()
        self.assertEqual((moved[0], moved[1][0]), (cell[0], cell[1][1] + 1))
        browser.key("Home")
        self.assertEqual(self.check_readout()[1][0], 0)
        browser.key("End")
        self.assertEqual(self.check_readout()[1][1], SIDE - 1)
        browser.key("0")
        browser.key("Escape")
        browser.move(5, 5)
        browser.wait("!document.querySelector('.panel canvas.zoomed')")
        self.assertEqual(self.picture(), whole)

    def test_pictures_count_every_entry_of_the_dump(self):
        pictures = load("pictures.json")
        self.assertEqual((pictures["rows"], pictures["columns"], pictures["type"]), (512, 512, "uint8"))
        block = [i * 512 // SIDE for i in range(SIDE)]
        for name, plane in masks.items():
            counts = bytearray(512 * 512)
            for query in range(SIDE):
                row = block[query] * 512
                for key in range(query + 1):
                    counts[row + block[key]] += plane[query * SIDE + key] > 0
            self.assertEqual(zlib.decompress(base64.b64decode(pictures["active"][name])), counts, name)
            if name == "dense":
                self.assertEqual(zlib.decompress(base64.b64decode(pictures["visible"])), counts)

    def test_masks_by_keyboard_and_buttons_alone(self):
        browser.value("document.querySelector('#masks button[aria-label=\"show the whole mask\"]').focus()")
        browser.key("Tab")
        self.assertTrue(browser.value("document.activeElement.matches('canvas:focus-visible')"))
        self.check_readout()
        for key in ("+", "+", "+", "ArrowDown", "ArrowLeft", "PageUp", "-"):
            browser.key(key)
            self.check_readout()
        self.assertEqual(browser.value("document.querySelector('.readout').getAttribute('aria-live')"), "polite")
        browser.key("0")
        zoomed = "document.querySelector('.panel canvas').classList.contains('zoomed')"
        self.assertFalse(browser.value(zoomed))
        browser.click(*middle("#masks button[aria-label='zoom in']"))
        self.assertTrue(browser.value(zoomed))
        browser.click(*middle("#masks button[aria-label='show the whole mask']"))
        self.assertFalse(browser.value(zoomed))
        self.choose("#masks select", "3")
        self.choose("#masks label + label select", "none")
        browser.wait("document.querySelector('.panel h3').textContent === 'sampled'")
        self.assertEqual(browser.value("[...document.querySelectorAll('.panel')].filter(p => p.checkVisibility()).length"), 1)

    def test_masks_zoom_by_pinch(self):
        browser.size(390, 800, touch=True)
        self.open()
        x, y = middle(".panel canvas")
        browser.touch("touchStart", (x - 20, y), (x + 20, y))
        browser.touch("touchMove", (x - 60, y - 10), (x + 60, y + 10))
        browser.touch("touchMove", (x - 100, y - 20), (x + 100, y + 20))
        browser.touch("touchEnd")
        self.assertTrue(browser.value("document.querySelector('.panel canvas').classList.contains('zoomed')"))
        self.check_readout()

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
        self.assertEqual(tags.count("select"), 5)
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
