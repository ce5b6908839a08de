// Layers and heads: choice of metric and pipeline, and the figures of a cell on hover and keyboard focus.
(() => {
  "use strict";

  const { data, element, select, addControls, figure, number, percent, showTip, hideTip, rove } = attnlab;
  const section = document.getElementById("heads");
  if (section === null) return;

  const levels = 16;
  const decades = 4;  // as in the C++ side: one lucky head must not make all others look the same

  /** Levels of a logarithmic scale over the positive values of all pipelines; 0 only at 0. */
  function logarithmic(values) {
    const positive = values.filter((value) => Number.isFinite(value) && value > 0);
    const high = positive.reduce((a, b) => Math.max(a, b), 0);
    const low = Math.max(positive.reduce((a, b) => Math.min(a, b), Infinity), high / 10 ** decades);
    const level = (value) => {
      if (value <= 0) return 0;
      if (value >= high || low >= high) return levels - 1;
      if (value <= low) return 1;
      return 1 + Math.round((Math.log(value / low) / Math.log(high / low)) * (levels - 2));
    };
    const steps = high > 0 ? [0, ...[0, 1, 2, 3, 4].map((step) => low * (high / low) ** (step / 4))] : [0];
    return { level, steps: [...new Set(steps)] };
  }

  // `place` of the metric in a cell [layer, head, ...]; `bad` is what the scale shows, `show` its inverse as text.
  const metrics = {
    output_error: { title: "output error", place: 2, ramp: "e", bad: (v) => v, show: (v) => number(v, 2),
      text: (v) => number(v), scale: logarithmic },
    mass_recall: { title: "mass recall", place: 3, ramp: "e", bad: (v) => Math.max(0, 1 - v),
      show: (v) => percent(1 - v, 2), text: (v) => percent(v), scale: logarithmic },
    density: { title: "density", place: 4, ramp: "d", bad: (v) => v, show: (v) => percent(v, 2),
      text: (v) => percent(v),
      scale: () => ({
        level: (v) => (v > 0 ? Math.ceil(Math.sqrt(Math.min(v, 1)) * (levels - 1)) : 0),
        steps: [0, 0.01, 0.05, 0.1, 0.25, 0.5, 1],
      }) },
  };

  const figures = [...section.querySelectorAll("figure")];
  const cellsOf = new Map(figures.map((card) => [card, [...card.querySelectorAll("td[class]")]]));
  const valuesOf = (card) => data.heads[card.dataset.pipeline];
  const legend = section.querySelector(".legend");

  function paint(metric) {
    const all = figures.flatMap((card) => valuesOf(card).map((cell) => metric.bad(figure(cell[metric.place]))));
    const scale = metric.scale(all);
    for (const card of figures) {
      const cells = cellsOf.get(card);
      valuesOf(card).forEach((values, i) => {
        const value = figure(values[metric.place]);
        const bad = metric.bad(value);
        cells[i].className = Number.isNaN(bad) ? "nothing" : metric.ramp + scale.level(bad);
        if (!card.querySelector(".fine")) cells[i].textContent = Number.isNaN(value) ? "-" : metric.show(bad);
      });
    }
    legend.replaceChildren(...scale.steps.map((bad) =>
      element("span", {}, element("i", { class: metric.ramp + scale.level(bad) }), metric.show(bad))));
    section.querySelector(".metric").textContent = metric.title;
  }

  function enliven(card) {
    const cells = cellsOf.get(card);
    const name = data.pipelines[card.dataset.pipeline].name;
    const show = (cell) => {
      const values = valuesOf(card)[cells.indexOf(cell)];
      showTip(cell.getBoundingClientRect(), `layer ${values[0]}, head ${values[1]}`,
        [["pipeline", name],
         ...Object.values(metrics).map((metric) => [metric.title, metric.text(figure(values[metric.place]))])]);
    };
    cells.forEach((cell, i) => {
      const [layer, head, ...values] = valuesOf(card)[i];
      const texts = Object.values(metrics).map((metric, m) => `${metric.title} ${metric.text(figure(values[m]))}`);
      cell.setAttribute("aria-label", `layer ${layer}, head ${head}: ${texts.join(", ")}`);
      cell.removeAttribute("title");
      cell.addEventListener("focus", () => show(cell));
      cell.addEventListener("blur", hideTip);
    });
    const table = card.querySelector("table");
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", name);
    card.querySelector(".scroll").removeAttribute("tabindex");  // the cells are the way in
    rove(cells, cells[0]);
    table.addEventListener("pointerover", (event) => {
      const cell = event.target.closest("td[class]");
      if (cell) show(cell);
      else hideTip();
    });
    table.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hideTip();
    });
    table.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      const cell = event.target.closest("td[class]");
      if (move === undefined || cell === null) return;
      event.preventDefault();
      const row = table.rows[cell.parentNode.rowIndex + move[0]];
      const next = row && row.cells[cell.cellIndex + move[1]];
      if (!next || !next.matches("td[class]")) return;
      rove(cells, next);
      next.focus();
    });
  }

  figures.forEach(enliven);
  const metric = select("metric", Object.entries(metrics).map(([key, { title }]) => [key, title]),
    (key) => paint(metrics[key]));
  const pipeline = select("pipeline",
    [["all", "all"], ...figures.map((card) => [card.dataset.pipeline, data.pipelines[card.dataset.pipeline].name])],
    (chosen) => {
      for (const card of figures) card.hidden = chosen !== "all" && card.dataset.pipeline !== chosen;
    });
  addControls(section, metric.label, pipeline.label);
})();
