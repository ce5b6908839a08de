"""The mask viewer against pictures.json and dumped masks."""

import base64
import re
import zlib

from report_case import CONFIG, SIDE, ReportCase, box, browser, load, masks, middle


class MaskTest(ReportCase):

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
