"""check_against_runs.py PROGRAM SPEC...: what `check` foretells of each stage, beside the manifests that `run` then leaves.

Each spec is checked and run in an empty folder. Prints a line for each stage, all fits of it together: seconds foretold and taken,
the largest peak of memory foretold and measured, in GB, and their ratios; then how many are within 25 % (time) and 20 % (memory).
Nothing else should run meanwhile.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TIME, MEMORY = 0.25, 0.20


def foretold(text):
    """{stage: [seconds, GB]} of what `check` prints."""
    stages, stage = {}, None
    for line in text.splitlines():
        if found := re.match(r"stage (\S+) \(", line):
            stage = stages.setdefault(found[1], [None, None])
        elif found := re.match(r"  time +about ([\d:.]+)", line):
            stage[0] = sum(float(part) * 60**place for place, part in enumerate(reversed(found[1].split(":"))))
        elif found := re.match(r"  memory +about ([\d.]+) GB", line):
            stage[1] = float(found[1])
    return stages


def taken(runs):
    """{stage: [seconds, GB]} of the manifests below a folder."""
    stages = {}
    for path in runs.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        if "fit" not in manifest or manifest["status"] != "finished":
            continue
        stage = stages.setdefault(manifest["fit"]["stage"], [0, 0])
        stage[0] += manifest["wall_seconds"]
        stage[1] = max(stage[1], manifest.get("peak_memory_bytes", 0) / 1e9)
    return stages


def run(program, spec, folder):
    def output(verb, *more):
        done = subprocess.run([program, verb, spec, "--out", "runs", *more], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{verb} {spec} failed: {done.stderr}")
        return done.stdout

    told = foretold(output("check"))
    output("run", "-q")
    return told, taken(Path(folder) / "runs")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    program = str(Path(sys.argv[1]).resolve())
    within = {"time": [0, 0], "memory": [0, 0]}
    print("| experiment, stage | time, estimated / taken, s | ratio | peak memory, estimated / measured, GB | ratio |\n|---|---:|---:|---:|---:|")
    for spec in map(Path, sys.argv[2:]):
        with tempfile.TemporaryDirectory() as folder:
            told, took = run(program, str(spec.resolve()), folder)
        for stage, (seconds, gigabytes) in told.items():
            if stage not in took or seconds is None:
                continue
            ratios = [seconds / took[stage][0], gigabytes / took[stage][1]]
            for name, ratio, limit in zip(within, ratios, (TIME, MEMORY)):
                within[name][0] += abs(ratio - 1) <= limit
                within[name][1] += 1
            print(f"| {spec.stem}, {stage} | {seconds:g} / {took[stage][0]:.1f} | {ratios[0]:.2f} | {gigabytes:.2f} / {took[stage][1]:.2f} | {ratios[1]:.2f} |", flush=True)
    print(f"\ntime within 25 %: {within['time'][0]} of {within['time'][1]}; memory within 20 %: {within['memory'][0]} of {within['memory'][1]}")


main()
