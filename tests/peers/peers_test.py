"""The peers' harness: with its peer absent, and with a peer that this test makes up."""

import json
import pathlib
import subprocess
import sys
import types

program, folder = sys.argv[1:]
CASE = "top_k/f32/n1024/k10"


def run(*arguments):
    command = [sys.executable, "-B", pathlib.Path(folder, "compare.py"), "--attnlab", program, "--quick", "--threads", "1", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


result = run("--without", "torch", "--rounds", "3", "--filter", f"^{CASE}$")
assert result.returncode == 0, result.stderr
assert result.stdout.startswith("torch: absent (left out by --without); 1 threads, 3 rounds"), result.stdout
assert result.stdout.splitlines()[-1].startswith(CASE), result.stdout

result = run("--without", "torch", "--rounds", "2", "--filter", f"^{CASE}$", "--json")
report = json.loads(result.stdout)
assert report["peers"]["torch"].startswith("absent"), report
assert report["machine"]["cores"] >= 1 and report["simd_target"], report
ours = {case["case"]: case for case in report["cases"]}[CASE]
assert 0 < ours["seconds"]["minimum"] <= ours["seconds"]["median"] <= ours["seconds"]["maximum"] < 1, ours
assert "peer" not in ours, ours

result = run("--filter", "no such case")
assert result.returncode == 2 and "--filter" in result.stderr, result

sys.path.insert(0, folder)
import compare  # noqa: E402
import torch_peer  # noqa: E402

# Both sides once in each round, who goes first in turn.
order = []


def side(name, seconds):
    return types.SimpleNamespace(name=name, sample=lambda: (order.append(name), (seconds, 1.0))[1])


ours, peer = side("ours", 2.0), side("peer", 5.0)
record = compare.record("case", compare.alternate(ours, peer, 3), peer, 2)
assert order == ["ours", "peer", "peer", "ours", "ours", "peer"], order
assert record["peer"] == "peer" and record["times_faster_than_peer"]["median"] == 2.5, record

# Each case that says so is a peer's: its name is read right.
torch = types.SimpleNamespace(float32="f32", bfloat16="bf16", nn=types.SimpleNamespace(functional=types.SimpleNamespace()))
for case, peers in (("prefill/f32/q32kv8/d128/s2048", 1), ("decode/bf16/q32kv8/d128/k32768", 1), (CASE, 1),
                    ("gemm/f32/m7n33k17", 1), ("sparse/f32/shared/q32kv8/d128/k256/1%", 0)):
    assert len(torch_peer.makers(case, torch)) == peers, case
torch.nn.functional.scaled_dot_product_attention = None
assert [name for name, _ in torch_peer.makers("prefill/f32/q32kv8/d128/s2048", torch)][0] == "scaled_dot_product_attention"
print("ok")
