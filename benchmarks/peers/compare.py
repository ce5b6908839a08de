#!/usr/bin/env python3
"""Times kernels of attnlab and of its peers on the same shapes, in alternation. README.md beside this file says how."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

# Threads that spin after their work is done would take the CPU from the other side's samples.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SAMPLE_SECONDS = 4e-3


class Ours:
    """A child that answers each line, the name of its case, with one sample."""

    def __init__(self, arguments, case):
        command = suite_command(arguments) + ["--serve", "--filter", "^" + case + "$"]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.case = case
        self.heading = self._answer()

    def _answer(self):
        line = self.child.stdout.readline()
        if not line:
            sys.exit(f"attnlab ended with exit code {self.child.wait()}")
        return json.loads(line)

    def sample(self):
        self.child.stdin.write(self.case + "\n")
        self.child.stdin.flush()
        answer = self._answer()
        return answer["seconds"], answer["busy_threads"]

    def close(self):
        self.child.stdin.close()
        self.child.wait()


class Peer:
    """A function of this process, called as often as a sample of some milliseconds needs."""

    def __init__(self, name, call, arguments):
        self.name = name
        self.call = call
        # As attnlab does: on one thread, time is CPU time.
        self.on_cpu_clock = arguments.threads == 1
        self.calls = 1
        call()
        if not arguments.quick:
            self.calls = max(1, round(SAMPLE_SECONDS / self.sample()[0]))

    def sample(self):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(self.calls):
            self.call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return (cpu if self.on_cpu_clock else wall) / self.calls, cpu / wall


def suite_command(arguments):
    command = [arguments.attnlab, "bench", "--suite", "kernels", "--threads", str(arguments.threads)]
    if arguments.simd:
        command += ["--simd", arguments.simd]
    return command + (["--quick"] if arguments.quick else [])


def our_cases(arguments):
    command = suite_command(arguments) + ["--list", "--filter", arguments.filter]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        sys.exit(result.returncode)
    return result.stdout.split()


def alternate(ours, peer, rounds):
    """Samples of both sides; who goes first changes from round to round."""
    sides = [ours] + ([peer] if peer else [])
    samples = [[] for _ in sides]
    for round_number in range(rounds):
        order = range(len(sides)) if round_number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            samples[side].append(sides[side].sample())
    return samples


def spread(values):
    return {"median": statistics.median(values), "minimum": min(values), "maximum": max(values)}


def record(case, samples, peer, threads):
    ours = samples[0]
    result = {"case": case, "threads": threads, "seconds": spread([s for s, _ in ours]),
              "busy_threads": statistics.median(b for _, b in ours)}
    if peer:
        theirs = samples[1]
        result["peer"] = peer.name
        result["peer_seconds"] = spread([s for s, _ in theirs])
        result["peer_busy_threads"] = statistics.median(b for _, b in theirs)
        result["times_faster_than_peer"] = spread([t / o for (o, _), (t, _) in zip(ours, theirs)])
    return result


def milliseconds(values):
    return f"{values['median'] * 1e3:.4g}"


def print_record(result):
    line = f"{result['case']:<36} {milliseconds(result['seconds']):>9} {result['busy_threads']:>5.1f}"
    if "peer" in result:
        ratio = result["times_faster_than_peer"]
        line += (f"  {result['peer']:<30} {milliseconds(result['peer_seconds']):>9} {result['peer_busy_threads']:>5.1f}"
                 f"  {ratio['median']:.2f} ({ratio['minimum']:.2f}-{ratio['maximum']:.2f})")
    print(line, flush=True)


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attnlab", default=os.path.join(root, "build/bin/attnlab"), help="the program")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases with such names")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="of both sides")
    parser.add_argument("--simd", metavar="TARGET", help="instructions of attnlab's kernels; default: the CPU's best")
    parser.add_argument("--without", action="append", default=[], metavar="PEER", help="take a peer for absent")
    parser.add_argument("--all", action="store_true", help="time our cases that no peer has as well")
    parser.add_argument("--quick", action="store_true", help="tiny shapes; the figures mean nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.threads < 1:
        parser.error("--rounds and --threads must be positive")

    import torch_peer
    version, torch = torch_peer.find("torch" in arguments.without, arguments.threads)
    if not arguments.json:
        print(f"torch: {version}; {arguments.threads} threads, {arguments.rounds} rounds, in alternation\n")
        print(f"{'case':<36} {'ours, ms':>9} {'busy':>5}  {'peer':<30} {'peer, ms':>9} {'busy':>5}  times faster")

    results = []
    heading = {}
    for case in our_cases(arguments):
        makers = torch_peer.makers(case, torch) if torch else []
        if torch and not makers and not arguments.all:
            continue
        ours = Ours(arguments, case)
        heading = {key: ours.heading[key] for key in ("machine", "build", "simd_target")}
        for name, make in makers or [(None, None)]:
            peer = Peer(name, make(), arguments) if make else None
            results.append(record(case, alternate(ours, peer, arguments.rounds), peer, arguments.threads))
            if not arguments.json:
                print_record(results[-1])
        ours.close()
    if arguments.json:
        heading.update({"peers": {"torch": version}, "threads": arguments.threads, "rounds": arguments.rounds,
                        "quick": arguments.quick, "cases": results})
        print(json.dumps(heading, indent=2))


if __name__ == "__main__":
    main()
