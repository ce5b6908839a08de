"""Draws the mask of each pipeline of gallery.json as an SVG: python3 gallery.py ATTNLAB FOLDER."""

import pathlib
import shutil
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
    first = SIZE - len(mask)  # the prompt, which is dense
    path = "".join(f"M{begin} {first + query + 0.5}H{end}" for query, row in enumerate(mask) for begin, end in runs(row))
    prompt = f'<path d="M0 0L{first} {first}H0Z" style="fill:#888;stroke:none;opacity:.4"/>' if first else ""
    frame = f'<path d="M0 0V{SIZE}H{SIZE}" fill="none" style="stroke:#888"/>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE}" height="{SIZE}" viewBox="0 0 {SIZE} {SIZE}">'
            f"{STYLE}{frame}{prompt}<path d=\"{path}\"/></svg>\n")


def main(attnlab, folder):
    attnlab = pathlib.Path(attnlab).resolve()
    with tempfile.TemporaryDirectory() as work:
        config, out = pathlib.Path(work) / "gallery.json", pathlib.Path(work) / "out"
        shutil.copy(pathlib.Path(__file__).parent / "gallery.json", config)
        run = lambda *command: subprocess.run([attnlab, *command], cwd=work, check=True, stdout=subprocess.DEVNULL)
        run("calibrate", config, "--out", "channels.npz", "--quiet")
        run("train-hash", config, "--out", "hash.safetensors", "--top-k", "12", "--steps", "200", "--quiet")
        run("run", config, "--dump", "mask", "--out", out, "--quiet")
        for mask in pathlib.Path(out).glob("*/mask.npy"):
            (pathlib.Path(folder) / f"{mask.parent.name}.svg").write_text(svg(np.load(mask)[0, 0]))


main(*sys.argv[1:])
