"""A run, the browser that shows its report, and what the tests of it share. Importing it starts both."""

import array
import atexit
import json
import os
import shutil
import subprocess
import sys
import unittest

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


shutil.rmtree(RESULT, ignore_errors=True)
os.makedirs(OUT, exist_ok=True)
with open(os.path.join(OUT, "config.json"), "w", encoding="utf-8") as config:
    json.dump(CONFIG, config)
subprocess.run([PROGRAM, "run", os.path.join(OUT, "config.json"), "--out", RESULT, "--dump", "mask", "--quiet"], check=True,
               timeout=TIMEOUT, stdout=subprocess.DEVNULL)
result = load("result.json")
# Layer 0, sequence 0, head 0: the first plane of the file.
masks = {name: read_npy(os.path.join(RESULT, name, "layer00_mask.npy"))[:SIDE * SIDE] for name in CONFIG["pipelines"]}
browser = Browser(CHROMIUM)
atexit.register(browser.close)


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


class ReportCase(unittest.TestCase):
    """Opens the report before each test; afterwards nothing may have failed or been fetched."""

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

    def choose(self, selector, value):
        browser.value(f"""(() => {{ const box = document.querySelector({json.dumps(selector)});
            box.value = {json.dumps(value)}; box.dispatchEvent(new Event("change")); }})()""")
        browser.settle()

    def picture(self):
        return browser.value("document.querySelector('.panel canvas').toDataURL()")
