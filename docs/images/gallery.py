"""Draws the mask of each pipeline of gallery.json as an SVG: python3 gallery.py ATTNLAB FOLDER."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

SIZE = 96
STYLE = "<style>path{stroke:#1f54b0;stroke-width:1.04}@media(prefers-color-scheme:dark){path{stroke:#80b6ff}}</style>"


def runs(row):
    """[begin, end) of each run of active keys."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row > 0, [0]]).astype(int)))
    return zip(edges[::2], edges[1::2])


def svg(mask):
    path = "".join(f"M{begin} {query + 0.5}H{end}" for query, row in enumerate(mask) for begin, end in runs(row))
    frame = f'<path d="M0 0V{SIZE}H{SIZE}" fill="none" style="stroke:#888"/>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE}" height="{SIZE}" viewBox="0 0 {SIZE} {SIZE}">'
            f"{STYLE}{frame}<path d=\"{path}\"/></svg>\n")


def main(attnlab, folder):
    config = pathlib.Path(__file__).parent / "gallery.json"
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([attnlab, "run", config, "--dump", "mask", "--out", out, "--quiet"], check=True, capture_output=True)
        for mask in pathlib.Path(out).glob("*/mask.npy"):
            (pathlib.Path(folder) / f"{mask.parent.name}.svg").write_text(svg(np.load(mask)[0, 0]))


main(*sys.argv[1:])
