"""report.html of a sweep: one trial is the same in all figures, ranges choose lines, and commands are those of the records."""

import json
import os
import shutil
import subprocess
import unittest

from cdp import TIMEOUT
from report_case import OUT, PROGRAM, browser, middle, text, tip

FOLDER = os.path.join(OUT, "sweep")
HEAVY = "/pipelines/main/1/heavy_size"
WINDOW = "/pipelines/main/0/window_size"
CONFIG = {
    "title": "A <b>sweep</b> </script><img src=x onerror=alert(1)>",
    "base": {
        "pipelines": {"main": [{"masker": "local", "window_size": 4}, {"masker": "oracle_top_k", "heavy_size": "10%"}]},
        "input": {"workload": "power_law", "query_heads": 2, "kv_heads": 1, "queries": 8, "keys": 256, "head_dim": 8,
                  "value_dim": 8},
    },
    "space": {HEAVY: ["1%", "5%", "20%", "50%"], WINDOW: [1, 8, 64]},
    "objective": [{"minimise": "output_error"}, {"minimise": "density"}],
    "constraints": ["density <= 0.5"],
}


def make():
    """The sweep's folder with its report; the trials on record by id."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    config = os.path.join(OUT, "sweep.json")
    with open(config, "w", encoding="utf-8") as file:
        json.dump(CONFIG, file)
    for arguments in (["run", config, "--out", FOLDER, "--quiet"], ["report", FOLDER]):
        subprocess.run([PROGRAM, "sweep", *arguments], check=True, timeout=TIMEOUT, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    with open(os.path.join(FOLDER, "trials.jsonl"), encoding="utf-8") as file:
        return {trial["id"]: trial for trial in map(json.loads, file)}


class SweepTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.trials = make()
        cls.ids = sorted(cls.trials)

    def setUp(self):
        browser.size(1100, 900)
        browser.media(prefers_color_scheme="light")
        browser.open(os.path.join(FOLDER, "report.html"))
        browser.settle()

    def tearDown(self):
        self.assertEqual(browser.errors(), [])
        self.assertEqual(len(browser.requests()), 1, browser.requests())

    def count(self, selector):
        return browser.value(f"document.querySelectorAll({json.dumps(selector)}).length")

    def front(self):
        done = [(trial["metrics"]["output_error"], trial["metrics"]["density"], id) for id, trial in self.trials.items()
                if trial["metrics"]["density"] <= 0.5]
        return {own[2] for own in done
                if not any(a <= own[0] and b <= own[1] and (a, b) != own[:2] for a, b, _ in done)}

    def test_every_trial_is_drawn(self):
        self.assertEqual(len(self.ids), 12)
        self.assertEqual(self.count("#front circle[data-trial]"), 12)
        self.assertEqual(self.count(".parallel .line"), 12)
        self.assertEqual(self.count("#front .best[data-trial]"), len(self.front()))
        self.assertIn("<b>sweep</b>", text("h1"))
        self.assertLessEqual(browser.value("document.documentElement.scrollWidth"), 1100)

    def test_trial_lights_up_everywhere(self):
        index = self.ids.index(min(self.front()))
        x, y = middle(f"#front circle[data-trial='{index}']")
        browser.move(x + 2, y)
        title, facts = tip()
        trial = self.trials[self.ids[index]]
        self.assertEqual(title, trial["id"][:12] + ", on the Pareto front")
        self.assertAlmostEqual(float(facts["output_error"]), trial["metrics"]["output_error"],
                               delta=1e-3 * trial["metrics"]["output_error"])
        self.assertEqual(facts["heavy_size"], trial["point"][HEAVY])
        self.assertEqual(facts["window_size"], str(trial["point"][WINDOW]))
        self.assertEqual(self.count(".chosen"), self.count(f"[data-trial='{index}']"))
        browser.click(x + 2, y)  # keeps it
        browser.move(5, 5)
        self.assertIsNotNone(tip())
        browser.key("Escape")
        self.assertIsNone(tip())
        self.assertEqual(self.count(".chosen"), 0)

    def test_ranges_choose_lines(self):
        left, top, width, height = browser.value("""(() => { const grip = document.querySelector(".grip");
            grip.scrollIntoView({ block: "center" }); const box = grip.getBoundingClientRect();
            return [box.left, box.top, box.width, box.height]; })()""")
        x, half = left + width / 2, top + height * 0.45
        browser.press(x, top + 2)
        browser.move(x, half, buttons=1)
        browser.release(x, half)
        upper = [trial for trial in self.trials.values() if trial["point"][HEAVY] in ("20%", "50%")]
        self.assertEqual(self.count(".parallel .line:not(.faded)"), len(upper))
        self.assertEqual(text("#parallel [role=status]"), f"{len(upper)} of 12 lines")
        browser.value("document.querySelector('#parallel button').click()")
        self.assertEqual(self.count(".faded"), 0)

    def test_links_and_commands_are_of_the_front(self):
        links = browser.value("[...document.querySelectorAll('#listed a')].map(link => link.getAttribute('href'))")
        self.assertEqual({link[len("configs/"):-len(".json")] for link in links}, {id[:12] for id in self.front()})
        for link in links:
            with open(os.path.join(FOLDER, link), encoding="utf-8") as file:
                self.assertIn("main", json.load(file)["pipelines"])
        commands = browser.value("[...document.querySelectorAll('#listed .copyable')].map(code => code.textContent)")
        self.assertEqual(commands, [f"attnlab run {os.path.join(FOLDER, link)}" for link in links])
        self.assertEqual(self.count("#listed .copyable + button"), len(links))
