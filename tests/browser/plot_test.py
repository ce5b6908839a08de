"""The plot of report.html: its choices, the front, and the figures of points by pointer and by keyboard."""

from report_case import CONFIG, ReportCase, browser, middle, pipeline, result, text, tip


class PlotTest(ReportCase):

    def figures(self, name, cost="density"):
        entry = pipeline(name)
        shares = {"density": entry["quality"]["density"]["mean"],
                  "bytes_read": (entry["cost"]["search_bytes_per_query"] + entry["cost"]["attended_bytes_per_query"]) /
                                result["input"]["dense_bytes_per_query"]}
        return shares[cost], entry["quality"]["output_error"]["mean"]

    def front(self, cost):
        better = lambda a, b: a != b and all(x <= y for x, y in zip(a, b))
        figures = {name: self.figures(name, cost) for name in CONFIG["pipelines"]}
        return {name for name, own in figures.items() if not any(better(other, own) for other in figures.values())}

    def front_shown(self):
        """The pipelines whose tooltips say so, each hovered and checked."""
        front = set()
        for i, name in enumerate(CONFIG["pipelines"]):
            x, y = middle(f".plot:not([hidden]) .broad [data-pipeline='{i}']")
            browser.move(x + 4, y + 3)
            if "Pareto front" in self.check_tip(name):
                front.add(name)
        browser.move(5, 5)
        self.assertIsNone(tip())
        return front

    def check_tip(self, name):
        title, facts = tip()
        self.assertEqual(title, name)
        quality = pipeline(name)["quality"]
        for label, metric, figure in (("density", "density", "mean"), ("output error mean", "output_error", "mean"),
                                      ("output error p05", "output_error", "p05"), ("mass recall", "mass_recall", "mean"),
                                      ("output error p95", "output_error", "p95")):
            self.assert_shown(facts[label], quality[metric][figure])
        self.assert_shown(facts["bytes read"], self.figures(name, "bytes_read")[0])
        return facts

    def test_plot_shows_figures_on_hover_and_focus(self):
        self.assertEqual(self.front_shown(), self.front("density"))
        self.check_arrows("density")
        browser.key("Escape")
        self.assertIsNone(tip())
        browser.key("Tab")
        self.assertFalse(browser.value("document.activeElement.matches('.point')"))

    def check_arrows(self, cost):
        """One Tab stop after the last choice; arrows go from cheap to dear and around."""
        browser.value("document.querySelector('#plot label + label select').focus()")
        browser.key("Tab")
        by_cost = sorted(CONFIG["pipelines"], key=lambda name: self.figures(name, cost)[0])
        for name in by_cost + by_cost[:1]:
            self.check_tip(name)
            self.assertIn(name + ": density", browser.value("document.activeElement.getAttribute('aria-label')"))
            browser.key("ArrowRight")

    def shown_plots(self):
        return browser.value("[...document.querySelectorAll('.plot')].filter(plot => plot.checkVisibility())"
                             ".map(plot => [plot.dataset.metric, plot.dataset.cost])")

    def test_plot_changes_its_metric(self):
        for metric in ("missed_mass", "denominator_error", "output_error"):
            self.choose("#plot select", metric)
            self.assertEqual(self.shown_plots(), [[metric, "density"]])

    def test_plot_against_bytes_read(self):
        self.assertEqual(self.shown_plots(), [["output_error", "density"]])
        self.assertNotEqual(self.front("bytes_read"), self.front("density"))
        browser.value("document.querySelector('#plot label + label select').focus()")
        browser.key("ArrowDown")
        browser.settle()
        self.assertEqual(self.shown_plots(), [["output_error", "bytes_read"]])
        self.assertEqual(text("#plot h2"), "Error against bytes read")
        self.assertEqual(self.front_shown(), self.front("bytes_read"))
        self.check_arrows("bytes_read")
        self.choose("#plot select", "missed_mass")
        self.assertEqual(self.shown_plots(), [["missed_mass", "bytes_read"]])
        self.choose("#plot label + label select", "density")
        self.assertEqual(self.shown_plots(), [["missed_mass", "density"]])
        self.assertEqual(text("#plot h2"), "Error against density")
