// One mask on a canvas: coloured cells, axes, and the outline of the cell that is read.
attnlab.MaskCanvas = (() => {
  "use strict";

  const { plane, blockSums } = attnlab.counts;
  const levels = 16;
  const margin = { left: 52, right: 8, top: 4, bottom: 36 };
  const smallest = 1;  // pixels of a drawn cell; where counts are smaller, cells are blocks of them

  let colours = null;
  document.addEventListener("attnlab-theme", () => (colours = null));

  /** Colours as the theme has them, ramp, line and page as packed pixels. */
  function palette(host) {
    if (colours !== null) return colours;
    const probe = attnlab.element("div", { class: "legend", hidden: true });
    host.append(probe);
    const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const pixel = (colour) => {
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 1, 1);
      return new Uint32Array(pen.getImageData(0, 0, 1, 1).data.buffer)[0];
    };
    const ramp = Array.from({ length: levels }, (_, level) => {
      const sample = probe.appendChild(attnlab.element("i", { class: `d${level}` }));
      return pixel(getComputedStyle(sample).backgroundColor);
    });
    const variable = (name) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
    const names = Object.fromEntries(["line", "page", "muted", "text"].map((name) => [name, variable(name)]));
    probe.remove();
    colours = { ramp, line: pixel(names.line), page: pixel(names.page), muted: names.muted, text: names.text };
    return colours;
  }

  /** Smallest power of two of counts that is at least `smallest` pixels. */
  const block = (scale) => 2 ** Math.max(0, Math.ceil(Math.log2(smallest / scale)));

  /** Ticks at round indices of [first, first + count), some `room` pixels apart. */
  function ticks(first, count, pixelsPerIndex, room) {
    const wanted = room / pixelsPerIndex;
    const power = 10 ** Math.floor(Math.log10(Math.max(wanted, 1)));
    const step = Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= wanted));
    const found = [];
    for (let at = Math.ceil(first / step) * step; at < first + count; at += step) found.push(at);
    return found;
  }

  class MaskCanvas {
    constructor(canvas) {
      this.canvas = canvas;
      this.sums = new Map();
    }

    setCounts(active, visible) {
      this.active = active;
      this.visible = visible;
      this.sums.clear();
    }

    /** Pixels of the picture on a canvas of `width` pixels: the plane's shape, within reason. */
    static size(width) {
      const inner = width - margin.left - margin.right;
      const shape = (inner * plane.queries) / plane.keys;
      const height = Math.max(Math.min(shape, 520), Math.min(300, plane.rows * 40));
      return { width: inner, height, outer: height + margin.top + margin.bottom };
    }

    /** Sums at the view's resolution. */
    grid(view) {
      const down = block(view.scaleY);
      const across = block(view.scaleX);
      const key = `${down} ${across}`;
      if (!this.sums.has(key)) {
        if (this.sums.size > 8) this.sums.clear();
        const active = blockSums(this.active, down, across);
        const visible = blockSums(this.visible, down, across);
        this.sums.set(key, { ...active, active: active.sums, visible: visible.sums, down, across });
      }
      return this.sums.get(key);
    }

    /** What cell [row, column] of the grid holds: counts, and its range of stored rows and columns. */
    read(view, { row, column }) {
      const grid = this.grid(view);
      const at = row * grid.columns + column;
      return { active: grid.active[at], visible: grid.visible[at] };
    }

    /** The cell under a client point, or null outside the picture. */
    cellAt(view, clientX, clientY) {
      const box = this.canvas.getBoundingClientRect();
      const x = clientX - box.left - margin.left;
      const y = clientY - box.top - margin.top;
      const { width, height } = MaskCanvas.size(box.width);
      if (x < 0 || y < 0 || x >= width || y >= height) return null;
      const grid = this.grid(view);
      return { row: Math.floor((view.y + y / view.scaleY) / grid.down),
        column: Math.floor((view.x + x / view.scaleX) / grid.across) };
    }

    /** Picture coordinates of a client point, in pixels. */
    inner(clientX, clientY) {
      const box = this.canvas.getBoundingClientRect();
      return { x: clientX - box.left - margin.left, y: clientY - box.top - margin.top };
    }

    draw(view, cursor) {
      const box = this.canvas.getBoundingClientRect();
      if (box.width === 0) return;
      const { width, height, outer } = MaskCanvas.size(box.width);
      const ratio = window.devicePixelRatio || 1;
      this.canvas.style.height = `${outer}px`;
      this.canvas.width = Math.round(box.width * ratio);
      this.canvas.height = Math.round(outer * ratio);
      const pen = this.canvas.getContext("2d");
      const theme = palette(this.canvas.parentNode);
      this.drawCells(pen, view, theme, Math.round(width * ratio), Math.round(height * ratio), ratio);
      pen.scale(ratio, ratio);
      this.drawAxes(pen, view, theme, width, height);
      if (cursor !== null) this.outline(pen, view, theme, cursor, width, height);
    }

    drawCells(pen, view, theme, width, height, ratio) {
      const grid = this.grid(view);
      const image = pen.createImageData(width, height);
      const pixels = new Uint32Array(image.data.buffer);
      const columnOf = new Int32Array(width);
      for (let x = 0; x < width; ++x) {
        columnOf[x] = Math.min(grid.columns - 1, Math.floor((view.x + (x + 0.5) / ratio / view.scaleX) / grid.across));
      }
      const hatch = Math.round(6 * ratio);
      for (let y = 0, at = 0; y < height; ++y) {
        const row = Math.min(grid.rows - 1, Math.floor((view.y + (y + 0.5) / ratio / view.scaleY) / grid.down));
        const first = row * grid.columns;
        for (let x = 0; x < width; ++x, ++at) {
          const cell = first + columnOf[x];
          const visible = grid.visible[cell];
          if (visible === 0) {
            pixels[at] = (x + y) % hatch < ratio ? theme.line : theme.page;
          } else {
            // The square root lets sparse cells show; level 0 is for none only.
            pixels[at] = theme.ramp[Math.ceil(Math.sqrt(grid.active[cell] / visible) * (levels - 1))];
          }
        }
      }
      pen.putImageData(image, Math.round(margin.left * ratio), Math.round(margin.top * ratio));
    }

    drawAxes(pen, view, theme, width, height) {
      pen.font = "11px system-ui, sans-serif";
      pen.fillStyle = theme.muted;
      pen.strokeStyle = theme.muted;
      pen.strokeRect(margin.left - 0.5, margin.top - 0.5, width + 1, height + 1);
      const perKey = (view.scaleX * plane.columns) / plane.keys;
      const perQuery = (view.scaleY * plane.rows) / plane.queries;
      const firstKey = view.x * plane.keys / plane.columns;
      const firstQuery = view.y * plane.queries / plane.rows;
      pen.textAlign = "center";
      pen.textBaseline = "top";
      for (const key of ticks(firstKey, width / perKey, perKey, 70)) {
        const x = margin.left + (key + 0.5 - firstKey) * perKey;
        if (x > margin.left + width) continue;
        pen.fillRect(Math.round(x), margin.top + height, 1, 4);
        const half = pen.measureText(key).width / 2;
        pen.fillText(key, Math.min(x, margin.left + width + margin.right - half), margin.top + height + 6);
      }
      pen.fillText("key", margin.left + width / 2, margin.top + height + 21);
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      for (const query of ticks(firstQuery + plane.first_query, height / perQuery, perQuery, 36)) {
        const y = margin.top + (query - plane.first_query + 0.5 - firstQuery) * perQuery;
        if (y > margin.top + height) continue;
        pen.fillRect(margin.left - 4, Math.round(y), 4, 1);
        pen.fillText(query, margin.left - 6, Math.max(y, margin.top + 5));
      }
      pen.save();
      pen.translate(7, margin.top + height / 2);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "center";
      pen.fillText("query", 0, 0);
      pen.restore();
    }

    outline(pen, view, theme, cursor, width, height) {
      const grid = this.grid(view);
      const x = (cursor.column * grid.across - view.x) * view.scaleX;
      const y = (cursor.row * grid.down - view.y) * view.scaleY;
      pen.save();
      pen.beginPath();
      pen.rect(margin.left - 3, margin.top - 3, width + 6, height + 6);
      pen.clip();
      pen.strokeStyle = theme.text;
      pen.lineWidth = 2;
      pen.strokeRect(margin.left + x - 2, margin.top + y - 2, grid.across * view.scaleX + 4,
        grid.down * view.scaleY + 4);
      pen.restore();
    }
  }

  return MaskCanvas;
})();
