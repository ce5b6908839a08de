// The pictures' counts: decoding, and exact sums over blocks of them.
attnlab.counts = (() => {
  "use strict";

  const plane = attnlab.data.pictures;
  const arrays = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };

  /** Little-endian integers from base64 of a zlib stream. */
  async function decode(text) {
    const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new arrays[plane.type](await new Response(stream).arrayBuffer());
  }

  const loaded = new Map();

  /** The counts of a pipeline, or "visible", decoded once. */
  function load(which) {
    if (!loaded.has(which)) {
      loaded.set(which, decode(which === "visible" ? plane.visible : plane.active[which]));
    }
    return loaded.get(which);
  }

  /** Sums over blocks of `down` x `across` counts, row by row; the last ones may be smaller. */
  function blockSums(counts, down, across) {
    const rows = Math.ceil(plane.rows / down);
    const columns = Math.ceil(plane.columns / across);
    const sums = new Float64Array(rows * columns);
    for (let row = 0, at = 0; row < plane.rows; ++row) {
      const first = Math.floor(row / down) * columns;
      for (let column = 0; column < plane.columns; ++column, ++at) {
        sums[first + Math.floor(column / across)] += counts[at];
      }
    }
    return { rows, columns, sums };
  }

  /** First entry of block `block`, where `count` blocks hold `total` entries: entry i is in floor(i count / total). */
  const firstOf = (block, count, total) => Math.ceil((block * total) / count);

  const pipelines = plane.active.flatMap((counts, i) => (counts === null ? [] : [i]));

  return { plane, pipelines, load, blockSums, firstOf };
})();
