// The mask viewer: one or two pipelines side by side under one view, zoomed and read by pointer and keyboard.
(() => {
  "use strict";

  const { data, element, select, button, addControls, percent, MaskCanvas, counts } = attnlab;
  const section = document.getElementById("masks");
  if (section === null || counts.pipelines.length === 0 || typeof DecompressionStream === "undefined") return;

  const { plane, firstOf } = counts;
  const largest = 28;  // pixels of a count at the closest view
  const none = "none";

  // x, y: stored column and row at the upper left. Zooms are 1 where the whole plane fits.
  const state = { x: 0, y: 0, zoomX: 1, zoomY: 1, cursor: null };
  const panels = [];
  const shown = () => panels.filter((panel) => panel.chosen !== none && panel.canvas.active);

  function viewOf(panel) {
    const { width, height } = MaskCanvas.size(panel.node.clientWidth);
    return { x: state.x, y: state.y, width, height,
      scaleX: (width / plane.columns) * state.zoomX, scaleY: (height / plane.rows) * state.zoomY };
  }

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function keepInside() {
    state.x = clamp(state.x, 0, plane.columns * (1 - 1 / state.zoomX));
    state.y = clamp(state.y, 0, plane.rows * (1 - 1 / state.zoomY));
  }

  const zoomed = () => state.zoomX > 1 || state.zoomY > 1;

  /** Zooms so that the stored point under (px, py), in pixels of the picture, stays where it is. */
  function zoom(factor, panel, px, py) {
    const view = viewOf(panel);
    const limit = (size, cells) => Math.max(1, largest / (size / cells));
    const column = view.x + px / view.scaleX;
    const row = view.y + py / view.scaleY;
    state.zoomX = clamp(state.zoomX * factor, 1, limit(view.width, plane.columns));
    state.zoomY = clamp(state.zoomY * factor, 1, limit(view.height, plane.rows));
    const after = viewOf(panel);
    state.x = column - px / after.scaleX;
    state.y = row - py / after.scaleY;
    keepInside();
    refresh();
  }

  function pan(dx, dy, panel) {
    const view = viewOf(panel);
    state.x -= dx / view.scaleX;
    state.y -= dy / view.scaleY;
    keepInside();
    refresh();
  }

  function fit() {
    Object.assign(state, { x: 0, y: 0, zoomX: 1, zoomY: 1 });
    refresh();
  }

  /** The cell of the drawn grid that holds the cursor. */
  function cellOf(panel) {
    const grid = panel.canvas.grid(viewOf(panel));
    return { row: Math.floor(state.cursor.row / grid.down), column: Math.floor(state.cursor.column / grid.across) };
  }

  const range = (first, last, one, many) => (first === last ? `${one} ${first}` : `${many} ${first}–${last}`);

  /** Queries and keys of the cell, in indices of the input. */
  function extent(panel, cell) {
    const { down, across } = panel.canvas.grid(viewOf(panel));
    const end = (block, size, stored, total) => firstOf(Math.min((block + 1) * size, stored), stored, total) - 1;
    const query = plane.first_query + firstOf(cell.row * down, plane.rows, plane.queries);
    const lastQuery = plane.first_query + end(cell.row, down, plane.rows, plane.queries);
    const key = firstOf(cell.column * across, plane.columns, plane.keys);
    const lastKey = end(cell.column, across, plane.columns, plane.keys);
    return `${range(query, lastQuery, "query", "queries")}, ${range(key, lastKey, "key", "keys")}`;
  }

  function describe(panel, cell) {
    const { active, visible } = panel.canvas.read(viewOf(panel), cell);
    const text = visible === 0 ? "nothing visible"
      : `${active} of ${visible} visible entries active, density ${percent(active / visible)}`;
    return element("p", {}, `${data.pipelines[panel.chosen].name}: ${text}`);
  }

  const readout = element("div", { class: "readout", "aria-live": "off", id: "mask-readout" });

  function read() {
    const [first] = shown();
    if (first === undefined) return;
    if (state.cursor === null) {
      const { down, across } = first.canvas.grid(viewOf(first));
      const per = (blocks, stored, total) => Math.round((blocks * total) / stored * 10) / 10;
      const queries = per(down, plane.rows, plane.queries);
      const keys = per(across, plane.columns, plane.keys);
      const cell = queries * keys === 1 ? "A cell is one query and one key."
        : `A cell is ${queries} ${queries === 1 ? "query" : "queries"} × ${keys} ${keys === 1 ? "key" : "keys"}, counted exactly.`;
      readout.replaceChildren(element("p", { class: "small" }, `${cell} Point at one to read it. `,
        element("span", { class: "keyboard" }, "Click, then scroll or drag to zoom and move. Keys: arrows, +, −, 0.")));
      return;
    }
    const cell = cellOf(first);
    readout.replaceChildren(element("p", {}, element("b", {}, extent(first, cell))),
      ...shown().map((panel) => describe(panel, cell)));
  }

  let waiting = false;
  function refresh() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const panel of shown()) {
        panel.canvas.draw(viewOf(panel), state.cursor === null ? null : cellOf(panel));
        panel.canvas.canvas.classList.toggle("zoomed", zoomed());
        panel.canvas.canvas.style.touchAction = zoomed() ? "none" : "pan-y";
      }
      read();
    });
  }

  function point(panel, event) {
    if (!panel.canvas.active) return;  // its counts are still being decoded
    const view = viewOf(panel);
    const cell = panel.canvas.cellAt(view, event.clientX, event.clientY);
    const { down, across } = panel.canvas.grid(view);
    readout.setAttribute("aria-live", "off");
    state.cursor = cell === null ? null : { row: cell.row * down, column: cell.column * across };
    refresh();
  }

  /** Moves the cursor by cells, and the view after it. */
  function step(panel, rows, columns) {
    if (!panel.canvas.active) return;
    const { down, across } = panel.canvas.grid(viewOf(panel));
    if (state.cursor === null) {
      state.cursor = { row: Math.floor(state.y + plane.rows / state.zoomY / 2),
        column: Math.floor(state.x + plane.columns / state.zoomX / 2) };
    }
    const cell = cellOf(panel);
    const cells = { rows: Math.ceil(plane.rows / down), columns: Math.ceil(plane.columns / across) };
    const row = clamp(cell.row + rows, 0, cells.rows - 1) * down;
    const column = clamp(cell.column + columns, 0, cells.columns - 1) * across;
    state.cursor = { row, column };
    state.x = clamp(state.x, column + across - plane.columns / state.zoomX, column);
    state.y = clamp(state.y, row + down - plane.rows / state.zoomY, row);
    keepInside();
    readout.setAttribute("aria-live", "polite");
    refresh();
  }

  /** Zooms around the cursor, else around the middle of the picture. */
  function zoomByKey(panel, factor) {
    const view = viewOf(panel);
    const at = state.cursor === null ? { x: view.width / 2, y: view.height / 2 }
      : { x: (state.cursor.column + 0.5 - view.x) * view.scaleX, y: (state.cursor.row + 0.5 - view.y) * view.scaleY };
    zoom(factor, panel, clamp(at.x, 0, view.width), clamp(at.y, 0, view.height));
  }

  function onKey(panel, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 10 : 1;
    const actions = {
      ArrowLeft: () => step(panel, 0, -far), ArrowRight: () => step(panel, 0, far),
      ArrowUp: () => step(panel, -far, 0), ArrowDown: () => step(panel, far, 0),
      PageUp: () => step(panel, -10, 0), PageDown: () => step(panel, 10, 0),
      Home: () => step(panel, 0, -plane.columns), End: () => step(panel, 0, plane.columns),
      "+": () => zoomByKey(panel, 1.5), "=": () => zoomByKey(panel, 1.5),
      "-": () => zoomByKey(panel, 1 / 1.5), "0": fit,
      Escape: () => { state.cursor = null; refresh(); },
    };
    const action = actions[event.key];
    if (action === undefined) return;
    event.preventDefault();
    action();
  }

  function listen(panel) {
    const node = panel.canvas.canvas;
    const pointers = new Map();
    const middle = () => {
      const [a, b] = [...pointers.values()];
      return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
    };
    node.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      node.setPointerCapture(event.pointerId);
      point(panel, event);
    });
    node.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (before === undefined) return point(panel, event);
      const old = pointers.size === 2 ? middle() : null;
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (old !== null) {
        const now = middle();
        const at = panel.canvas.inner(now.x, now.y);
        pan(now.x - old.x, now.y - old.y, panel);
        zoom(now.apart / Math.max(old.apart, 1), panel, at.x, at.y);
      } else if (zoomed()) {
        pan(event.clientX - before.x, event.clientY - before.y, panel);
      }
      point(panel, event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      node.addEventListener(end, (event) => pointers.delete(event.pointerId));
    }
    node.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "mouse" || pointers.size > 0) return;
      state.cursor = null;
      refresh();
    });
    // A wheel over an untouched picture scrolls the page. A pinch on a touchpad arrives as a wheel with Ctrl.
    node.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== node) return;
      if (event.deltaY > 0 && !zoomed() && !event.ctrlKey) return;
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 20 : 1);
      const at = panel.canvas.inner(event.clientX, event.clientY);
      zoom(Math.exp(-clamp(pixels, -300, 300) * (event.ctrlKey ? 0.01 : 0.002)), panel, at.x, at.y);
    }, { passive: false });
    node.addEventListener("keydown", (event) => onKey(panel, event));
    // Keyboard focus starts reading where the view is.
    node.addEventListener("focus", () => {
      if (node.matches(":focus-visible") && state.cursor === null) step(panel, 0, 0);
    });
  }

  /** Shows a pipeline in a panel; counts are decoded when they are first wanted. */
  async function choose(panel, chosen) {
    panel.wanted = chosen;
    const hidden = chosen === none;
    if (!hidden) {
      const [active, visible] = await Promise.all([counts.load(Number(chosen)), counts.load("visible")]);
      if (panel.wanted !== chosen) return;
      panel.canvas.setCounts(active, visible);
    }
    // With the counts, so that the readout never says old figures under a new name.
    panel.chosen = chosen;
    panel.node.hidden = hidden;
    if (!hidden) {
      panel.title.textContent = data.pipelines[chosen].name;
      panel.canvas.canvas.setAttribute("aria-label", `mask of ${data.pipelines[chosen].name}. ` +
        "Arrow keys read cells, plus and minus zoom, 0 shows all.");
    }
    refresh();
  }

  function makePanel(label, withNone, first) {
    const canvas = element("canvas", { tabindex: "0", role: "application", "aria-describedby": "mask-readout" });
    const title = element("h3", { class: "clamp" });
    const node = element("div", { class: "panel" }, title, canvas);
    const panel = { canvas: new MaskCanvas(canvas), node, title, chosen: none, wanted: none };
    const options = counts.pipelines.map((i) => [String(i), data.pipelines[i].name]);
    panel.select = select(label, withNone ? [[none, "nothing"], ...options] : options,
      (chosen) => choose(panel, chosen));
    panel.select.box.value = first;
    listen(panel);
    panels.push(panel);
    return panel;
  }

  const sparse = counts.pipelines.filter((i) => !data.pipelines[i].dense).map(String);
  const left = makePanel("show", false, sparse[0] ?? String(counts.pipelines[0]));
  const right = makePanel("beside it", true, sparse[1] ?? none);
  const grid = element("div", { class: "panels" }, left.node, right.node);
  const controls = addControls(section, left.select.label, right.select.label,
    element("span", { class: "group", role: "group", "aria-label": "zoom" },
      button("−", "zoom out", () => zoomByKey(left, 1 / 1.5)), button("+", "zoom in", () => zoomByKey(left, 1.5)),
      button("Show all", "show the whole mask", fit)));
  const viewer = element("div", { class: "viewer" }, grid, readout);
  const legend = section.querySelector(".legend");
  legend.before(controls);
  legend.after(viewer, element("h3", {}, "All masks"));

  for (const panel of panels) choose(panel, panel.select.box.value);
  new ResizeObserver(refresh).observe(grid);
  document.addEventListener("attnlab-theme", refresh);
})();
