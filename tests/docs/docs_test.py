"""Runs the blocks of a page as its reader would, from an installed prefix in an empty folder.

A block of cpp, cmake or json is written to a file when the text before it ends with `NAME`: . Blocks of sh are run in one shell, in order.
A block of text right after one of sh or python is what that printed, line by line; <words> in it stand for anything, clock
readings for other clock readings, and figures for figures within 2 %. With --update the page gets what was printed."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"(?:`(?P<file>[\w./-]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CLOCK = re.compile(r"[\d.]+ (?:µs|ms|s)\b")
FILES = ("cpp", "cmake", "json")
MARK = "@@block"


def script_of(blocks):
    """One shell script of the whole page: a failing command ends it."""
    lines = ["set -e", "exec 2>&1"]
    for index, block in enumerate(blocks):
        if block["file"] and block["kind"] in FILES:
            lines += [f"mkdir -p \"$(dirname '{block['file']}')\"", f"cat >'{block['file']}' <<'@@END'", block["text"] + "@@END"]
        elif block["kind"] == "python":
            lines += [f"echo '{MARK} {index}'", "/usr/bin/python3 - <<'@@END'", block["text"] + "@@END"]
        elif block["kind"] == "sh":
            lines += [f"echo '{MARK} {index}'", block["text"]]
    return "\n".join(lines)


def printed_by(output):
    """What each block printed, by its index."""
    parts = re.split(rf"^{MARK} (\d+)\n", output, flags=re.MULTILINE)
    return {int(index): text for index, text in zip(parts[1::2], parts[2::2])}


def same_word(wanted, found):
    """Equal, both rules under headings, or figures that differ as they may between SIMD targets."""
    try:
        return abs(float(wanted) - float(found)) <= 0.02 * abs(float(wanted))
    except ValueError:
        return wanted == found or set(wanted) == set(found) == {"─"}


def same(wanted, found):
    """Whether a line is as the page says."""
    if "<" in wanted:
        return re.fullmatch(".*".join(map(re.escape, re.split("<[^<>]+>", wanted))), found) is not None
    wanted, found = (CLOCK.sub("<clock>", line).split() for line in (wanted, found))
    return len(wanted) == len(found) and all(map(same_word, wanted, found))


def differences(blocks, printed):
    for index, block in enumerate(blocks):
        if block["kind"] != "text":
            continue
        wanted, found = block["text"].splitlines(), printed.get(index - 1, "").splitlines()
        for line in range(max(len(wanted), len(found))):
            pair = [lines[line] if line < len(lines) else "(no line)" for lines in (wanted, found)]
            if not same(*pair):
                yield index, f"the page says:  {pair[0]}\nit printed:     {pair[1]}"
                break


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("page", type=pathlib.Path)
    arguments.add_argument("--build", type=pathlib.Path, required=True)
    arguments.add_argument("--cmake", default="cmake")
    arguments.add_argument("--update", action="store_true", help="write what was printed into the page")
    arguments = arguments.parse_args()

    page = arguments.page.read_text()
    matches = list(BLOCK.finditer(page))
    blocks = [match.groupdict() for match in matches]
    home = pathlib.Path(tempfile.mkdtemp(prefix="attnlab_docs_")).resolve()
    try:
        subprocess.run([arguments.cmake, "--install", arguments.build, "--prefix", home / "attnlab"], check=True,
                       stdout=subprocess.DEVNULL)
        folder = home / "first-masker"
        folder.mkdir()
        environment = {"HOME": str(home), "PATH": f"{home}/attnlab/bin:/usr/bin:/bin", "XDG_CACHE_HOME": str(home / "cache")}
        done = subprocess.run(["bash", "-c", script_of(blocks)], cwd=folder, env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=300)
        printed = {index: text.replace(str(folder), "<folder>").replace(str(home), "<home>") for index, text in printed_by(done.stdout).items()}
        if done.returncode != 0:
            sys.exit(f"{arguments.page}: a block ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr}")
    finally:
        shutil.rmtree(home, ignore_errors=True)

    if arguments.update:
        for index in reversed([index for index, _ in differences(blocks, printed)]):
            start, end = matches[index].span("text")
            page = page[:start] + printed.get(index - 1, "") + page[end:]
        arguments.page.write_text(page)
        return
    wrong = [text for _, text in differences(blocks, printed)]
    if wrong or not blocks:
        sys.exit("\n\n".join([f"{arguments.page}:", *wrong]) if blocks else f"{arguments.page} holds no block")
    print(f"{arguments.page}: {len(blocks)} blocks")


if __name__ == "__main__":
    main()
