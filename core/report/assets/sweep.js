// A sweep's page: what stands for one trial in any figure lights up together, lines are chosen by ranges on
// the axes of the parallel coordinates, and commands are copied.
(() => {
  "use strict";

  const { element, button, addControls, showTip, hideTip } = attnlab;
  const reach = 22;  // pixels from which the pointer finds a mark

  // The browser's own tooltip would cover ours.
  const facts = new Map();
  const marks = new Map();
  for (const mark of document.querySelectorAll("[data-trial]")) {
    const id = mark.dataset.trial;
    const title = mark.querySelector("title");
    const lines = title.textContent.split("\n");
    if (lines.length > (facts.get(id) ?? []).length) facts.set(id, lines);  // small figures say less
    title.remove();
    if (!marks.has(id)) marks.set(id, []);
    marks.get(id).push(mark);
  }

  let lit = null;
  let pinned = null;

  function light(id, place) {
    if (lit !== id) {
      for (const mark of marks.get(lit) ?? []) mark.classList.remove("chosen");
      for (const mark of marks.get(id) ?? []) {
        mark.classList.add("chosen");
        if (mark.matches(".line")) mark.parentNode.insertBefore(mark, mark.parentNode.querySelector(".axis"));
      }
      lit = id;
    }
    if (id === null) return hideTip();
    const [name, ...lines] = facts.get(id);
    const pairs = lines.map((line) => {
      const at = line.lastIndexOf(": ");
      return [line.slice(0, at), line.slice(at + 2)];
    });
    showTip(place, name, pairs);
  }

  /** Points of a path's or a circle's geometry, in the units of its picture. */
  function corners(mark) {
    if (mark.matches(".dot")) return [[Number(mark.getAttribute("cx")), Number(mark.getAttribute("cy"))]];
    return mark.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number));
  }

  function distance(points, x, y) {
    if (points.length === 1) return Math.hypot(x - points[0][0], y - points[0][1]);
    for (let i = 1; i < points.length; ++i) {
      const [[ax, ay], [bx, by]] = [points[i - 1], points[i]];
      if (x < ax || x > bx) continue;
      const slope = (by - ay) / (bx - ax);
      return Math.abs(y - (ay + (x - ax) * slope)) / Math.hypot(1, slope);
    }
    return Infinity;
  }

  function enliven(svg) {
    const list = [...svg.querySelectorAll("[data-trial]")].map((mark) => ({ mark, points: corners(mark) }));
    if (list.length === 0) return;
    const find = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = null;
      let least = reach;
      // The last of equals lies on top.
      for (const { mark, points } of list) {
        if (mark.classList.contains("faded")) continue;
        const apart = distance(points, at.x, at.y);
        if (apart <= least) [best, least] = [mark, apart];
      }
      return best;
    };
    const place = (event) => ({ left: event.clientX, right: event.clientX, top: event.clientY, bottom: event.clientY });
    svg.addEventListener("pointermove", (event) => {
      if (pinned !== null || event.buttons !== 0) return;
      const found = find(event);
      light(found ? found.dataset.trial : null, place(event));
    });
    svg.addEventListener("click", (event) => {
      const found = find(event);
      pinned = found && found.dataset.trial !== pinned ? found.dataset.trial : null;
      light(pinned, place(event));
    });
    svg.addEventListener("pointerleave", () => {
      if (pinned === null) light(null);
    });
  }
  for (const svg of document.querySelectorAll("svg")) enliven(svg);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    pinned = null;
    light(null);
  });

  // Ranges on axes.
  function addBrushes(svg) {
    const lines = [...svg.querySelectorAll(".line")].map((mark) => ({ mark, at: new Map(corners(mark)) }));
    const ranges = new Map();
    const count = element("span", { class: "small", role: "status" });
    const clear = button("Clear ranges", "Clear ranges", () => {
      for (const { box } of ranges.values()) box.remove();
      ranges.clear();
      apply();
    });
    addControls(svg.closest("section"), element("span", { class: "small" }, "Drag along an axis to choose lines by a range."), clear, count);

    function apply() {
      let kept = 0;
      for (const { mark, at } of lines) {
        const inside = [...ranges].every(([x, { low, high }]) => at.get(x) >= low && at.get(x) <= high);
        for (const same of marks.get(mark.dataset.trial)) same.classList.toggle("faded", !inside);
        kept += inside;
      }
      clear.hidden = ranges.size === 0;
      count.textContent = ranges.size === 0 ? "" : `${kept} of ${lines.length} lines`;
    }

    const part = (name, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      return node;
    };
    const up = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).y;
    for (const axis of svg.querySelectorAll("line.axis")) {
      if (axis.getAttribute("x1") !== axis.getAttribute("x2")) continue;
      const x = Number(axis.getAttribute("x1"));
      const top = Number(axis.getAttribute("y1"));
      const bottom = Number(svg.dataset.absent) + 8;
      const grip = part("rect", { class: "grip", x: x - 9, y: top, width: 18, height: bottom - top });
      let start = null;
      grip.addEventListener("pointerdown", (event) => {
        start = up(event);
        grip.setPointerCapture(event.pointerId);
        event.preventDefault();
      });
      grip.addEventListener("pointermove", (event) => {
        if (start === null) return;
        const end = Math.min(Math.max(up(event), top - 4), bottom);
        const [low, high] = [Math.min(start, end), Math.max(start, end)];
        if (high - low < 3) return;
        ranges.get(x)?.box.remove();
        const box = part("rect", { class: "brush", x: x - 7, y: low, width: 14, height: high - low });
        grip.before(box);
        ranges.set(x, { low, high, box });
        apply();
      });
      const end = (event) => {
        if (start !== null && Math.abs(up(event) - start) < 3 && ranges.has(x)) {
          ranges.get(x).box.remove();
          ranges.delete(x);
          apply();
        }
        start = null;
      };
      grip.addEventListener("pointerup", end);
      grip.addEventListener("pointercancel", () => (start = null));
      // A drag is no choice of a line.
      grip.addEventListener("click", (event) => event.stopPropagation());
      svg.append(grip);
    }
    apply();
  }
  for (const svg of document.querySelectorAll("svg.parallel")) addBrushes(svg);

  for (const code of document.querySelectorAll(".copyable")) {
    const copy = button("Copy", `Copy ${code.textContent}`, async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        copy.textContent = "Copied";
      } catch {
        window.getSelection().selectAllChildren(code);
        copy.textContent = "Selected: Ctrl+C";
      }
    });
    code.after(copy);
  }
})();
