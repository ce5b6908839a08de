// The plot: choice of the metric and of the cost, and the figures of a point on hover and keyboard focus.
(() => {
  "use strict";

  const { data, element, select, addControls, showTip, hideTip, rove } = attnlab;
  const section = document.getElementById("plot");
  const plots = [...section.querySelectorAll(".plot")];
  const reach = 26;  // pixels from which the pointer finds a point

  function show(point, points) {
    for (const other of points) other.classList.toggle("chosen", other === point);
    const pipeline = data.pipelines[point.dataset.pipeline];
    const facts = [...pipeline.facts];
    if (point.classList.contains("front")) facts.push(["Pareto front", "yes"]);
    showTip(point.getBoundingClientRect(), pipeline.name, facts);
  }

  function hide(points) {
    for (const point of points) point.classList.remove("chosen");
    hideTip();
  }

  function nearest(points, event) {
    let best = null;
    let distance = reach;
    for (const point of points) {
      const box = point.getBoundingClientRect();
      const apart = Math.hypot(event.clientX - (box.left + box.right) / 2, event.clientY - (box.top + box.bottom) / 2);
      if (apart < distance) [best, distance] = [point, apart];
    }
    return best;
  }

  function enliven(svg) {
    const place = (point) => [Number(point.getAttribute("cx")), Number(point.getAttribute("cy"))];
    const points = [...svg.querySelectorAll(".point")].sort((a, b) => {
      const [ax, ay] = place(a);
      const [bx, by] = place(b);
      return ax - bx || ay - by;
    });
    for (const point of points) {
      const title = point.querySelector("title");
      point.setAttribute("aria-label", title.textContent);
      point.setAttribute("role", "img");
      title.remove();  // the browser's own tooltip would cover ours
      point.addEventListener("focus", () => show(point, points));
      point.addEventListener("blur", () => hide(points));
    }
    rove(points, points[0]);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const at = points.indexOf(document.activeElement);
      if (step === undefined || at < 0) return;
      event.preventDefault();
      const next = points[(at + step + points.length) % points.length];
      rove(points, next);
      next.focus();
    });
    const point = (event) => {
      const found = nearest(points, event);
      if (found) show(found, points);
      else hide(points);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hide(points);
    });
  }

  for (const svg of section.querySelectorAll("svg")) enliven(svg);

  const choices = (key, title) => [...new Map(plots.map((plot) => [plot.dataset[key], plot.dataset[title]]))];
  function choose() {
    for (const plot of plots) {
      plot.hidden = plot.dataset.metric !== metric.box.value || plot.dataset.cost !== cost.box.value;
      if (!plot.hidden) section.querySelector("h2").textContent = `Error against ${plot.dataset.costTitle}`;
    }
  }
  const metric = select("metric", choices("metric", "title"), choose);
  const cost = select("against", choices("cost", "costTitle"), choose);
  addControls(section, metric.label, cost.label, element("span", { class: "small keyboard" }, "Arrow keys move between points."));
})();
