"""What scripts/gpu_check.sh does with JSON: facts of the machine, readings of logs and run directories, the table at the end.

    python gpu_table.py write DIR [MODE]     DIR/gpu_check.json and DIR/gpu_check.md from DIR/parts, printed

The other verbs are the script's own; each prints JSON, exits 1 where what it looks at is not as it should be, and says so in `fault`.
"""
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys

DENSE_BF16 = 790.0  # TFLOP/s that an 8192³ bf16 product of random data reaches on an H200
ITERATIONS = 450_000  # the paper's
BATCHES = {"alexnet": 80, "vgg": 40}
VARIANTS = ["ours", "ours fastest", "torch compiled", "torch eager"]
SECTIONS = ["report", "tests", "bench", "layers", "sanitizer", "ceiling", "photographs", "cifar", "steps", "resume"]
QUICK = SECTIONS[:4]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def output(*command):
    """First line of a command's output; None where it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# ---- verbs of the sections


def facts(device, program):
    gpu = output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader") if device == "cuda" else None
    name, driver, memory = (gpu.splitlines()[0].split(", ") if gpu else (None, None, None))
    try:
        import torch
        versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    except ImportError:
        versions = {"torch": None}
    nvcc = re.search(r"release (\S+),", output("nvcc", "--version") or "")
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {
        "gpu": name, "driver": driver, "gpu_memory": memory, "nvcc": nvcc and nvcc.group(1), "sanitizer": shutil.which("compute-sanitizer"),
        **versions, "cpu": cpu.group(1) if cpu else platform.processor(), "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(), "hueristic": output(program, "--version"),
        "fault": None if gpu or device == "cpu" else "nvidia-smi tells of no GPU",
    }


def tests(log):
    """Counts of a test program's log; tests that skipped themselves say `skipped:`."""
    text = pathlib.Path(log).read_text(errors="replace")
    found = re.search(r"test result: (\w+)\. (\d+) passed; (\d+) failed; (\d+) ignored", text)
    if not found:
        return {"passed": 0, "failed": 0, "fault": "the tests did not end"}
    passed, failed = int(found.group(2)), int(found.group(3))
    skipped = len(re.findall(r"skipped:", text))
    broken = re.findall(r"^test (\S+) \.\.\..*FAILED|^    (\S+)$", text, re.M)
    fault = None if failed == 0 else f"{failed} failed: {' '.join(sorted({a or b for a, b in broken})[:8])}"
    return {"passed": passed, "failed": failed, "skipped": skipped, "fault": fault}


def sanitizer(log):
    text = pathlib.Path(log).read_text(errors="replace")
    summary = re.findall(r"=+ (?:ERROR|RACECHECK) SUMMARY: (.*)", text)
    ran = len(re.findall(r"^test .* ok$", text, re.M))
    return {"summary": summary[-1] if summary else "time was up before the end", "tests": ran, "fault": None}


def metrics(folder, split="train"):
    """Lines of the one metrics.jsonl below a folder."""
    found = sorted(pathlib.Path(folder).rglob("metrics.jsonl"))
    return [line for line in lines(found[0]) if line["split"] == split] if found else []


def pace(folder):
    """Medians over the windows after the first, which holds the start."""
    windows = [line for line in metrics(folder) if "images_per_second" in line]
    windows = windows[1:] or windows
    if not windows:
        return {"fault": f"no images_per_second in {folder}"}
    return {
        "images_per_s": statistics.median(w["images_per_second"] for w in windows),
        "waiting_share": statistics.median(w["waiting_share"] for w in windows),
        "windows": len(windows), "last_loss": windows[-1]["loss"], "fault": None,
    }


def accuracy(folder):
    """The report's own table."""
    found = [path for path in pathlib.Path(folder).rglob("report/*.md") if "top5" not in path.name]
    rows = [row for path in found for row in path.read_text().splitlines() if row.startswith("|")]
    seconds = {}
    for path in sorted(pathlib.Path(folder).rglob("manifest.json")):
        manifest = json.loads(path.read_text())
        seconds[path.parent.name.rsplit("-", 1)[0]] = manifest.get("wall_seconds")
    return {"table": rows, "seconds": seconds, "fault": None if rows else f"no table below {folder}"}


def losses(one, other, tolerance):
    """Largest relative difference of two runs' losses, step by step."""
    a, b = ([line["loss"] for line in metrics(folder)] for folder in (one, other))
    if not a or len(a) != len(b):
        return {"fault": f"{len(a)} and {len(b)} steps are no pair"}
    gap = max(abs(x - y) / max(abs(x), 1e-12) for x, y in zip(a, b))
    fault = None if gap <= float(tolerance) else f"losses differ by {gap:.1e}, more than {tolerance}"
    return {"steps": len(a), "gap": gap, "tolerance": float(tolerance), "losses": [a, b], "fault": fault}


def reached(folder, step):
    last = [line["step"] for line in metrics(folder)][-1:]
    return {"step": last, "fault": None if last and last[0] >= int(step) else "not yet"}


def resumed(folder, steps):
    """Whether the run went on from a checkpoint to its end, every step once, every loss finite."""
    train = metrics(folder)
    log = "".join(path.read_text() for path in pathlib.Path(folder).rglob("log.txt"))
    after = re.search(r"continuing after step (\d+)", log)
    whole = [line["step"] for line in train] == list(range(1, int(steps) + 1)) and all(line["loss"] is not None for line in train)
    fault = None
    if not after:
        fault = "the second process began anew"
    elif not whole:
        fault = f"{len(train)} of {steps} steps are in metrics.jsonl"
    return {"continued_after": after and int(after.group(1)), "steps": len(train), "fault": fault}


def add(keys, command):
    """Lines of standard input with KEY=VALUE,... and the command added."""
    added = dict(pair.split("=", 1) for pair in keys.split(",") if pair)
    for line in sys.stdin:
        print(line, end="", file=sys.stderr)
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        print(json.dumps({**added, **row, "command": command}), flush=True)


def largest():
    rows = []
    for line in sys.stdin:
        print(line, end="", file=sys.stderr)
        rows.append(json.loads(line))
    if rows:
        print(rows[-1]["batch"])


def status(name, outcome, seconds, out):
    why, log = pathlib.Path(out) / "parts" / f"{name}.why", pathlib.Path(out) / f"{name}.log"
    said = why.read_text().strip() if why.exists() else None
    if outcome == "failed":
        told = re.findall(r"(?:error|because): (.*)|^(\w*(?:Error|Exception): .*)", log.read_text(errors="replace"), re.M)
        said = f"{''.join(told[-1])} ({log.name})" if told else f"see {log.name}"
    return {
        "section": name, "status": outcome, "seconds": int(seconds), "why": said,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


# ---- the table


def benchmarks(data):
    """A row for each case and variant: medians over the rounds."""
    ceiling = next((row["tflops"] for row in data.get("ceiling", [])), None)
    rows = data.get("bench", [])
    flop = {row["backbone"]: row["tflops"] / row["images_per_s"] for row in rows if "tflops" in row}
    result = []
    for case in dict.fromkeys(row["case"] for row in rows):
        for variant in VARIANTS:
            mine = [row for row in rows if (row["case"], row["variant"]) == (case, variant)]
            if not mine:
                continue
            backbone, speed = mine[0]["backbone"], [row["images_per_s"] for row in mine]
            rate = statistics.median(speed)
            tflops, on_gpu = flop[backbone] * rate if backbone in flop else None, mine[0]["device"] != "cpu"
            result.append({
                "case": case, "variant": variant, "batch": mine[-1]["batch"], "size": mine[0]["size"], "precision": mine[0]["precision"],
                "images_per_s": rate, "range": [min(speed), max(speed)], "rounds": len(mine), "tflops": tflops,
                "share_of_790": tflops / DENSE_BF16 if tflops and on_gpu else None, "share_of_measured": tflops and ceiling and tflops / ceiling,
                "peak_bytes": max(row["peak_bytes"] for row in mine), "reserved_bytes": max(row.get("reserved_bytes") or 0 for row in mine),
                "projected_hours": ITERATIONS * BATCHES[backbone] / rate / 3600 if on_gpu else None, "commands": sorted({row["command"] for row in mine}),
            })
    for row in result:
        against = [r["images_per_s"] for r in result if (r["case"], r["variant"]) == (row["case"], "torch compiled")]
        row["times_compiled"] = row["images_per_s"] / against[0] if against else None
    return result


def missing(data, statuses, bench, mode):
    """Figures that the check is for and that are not there, each with the reason."""
    quick = "quick" in mode
    gone = [f"{name}: {statuses[name]['why'] or statuses[name]['status'] if name in statuses else 'not run'}" for name in (QUICK if quick else SECTIONS)
            if statuses.get(name, {}).get("status") in (None, "skipped")]
    cases = ["alexnet", "vgg"] if quick else ["alexnet", "vgg", "alexnet fill", "vgg fill"] if "cuda" in mode else ["alexnet", "vgg fill"]
    have = {(row["case"], row["variant"]) for row in bench}
    gone += [f"bench {case}, {variant}" for case in cases for variant in VARIANTS if (case, variant) not in have and "bench" in statuses]
    return gone


def share(value):
    return "–" if value is None else f"{100 * value:.1f} %"


def bench_table(bench):
    yield "| step | | batch | images/s | range | × torch compiled | TFLOP/s | of 790 | of measured | peak GB | reserved GB | 450 k iterations, h |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for row in bench:
        times = "–" if row["times_compiled"] is None else f"{row['times_compiled']:.2f}"
        tflops = "–" if row["tflops"] is None else f"{row['tflops']:.3g}"
        hours = "–" if row["projected_hours"] is None else f"{row['projected_hours']:.3g}"
        reserved = f"{row['reserved_bytes'] / 1e9:.2f}" if row["reserved_bytes"] else "–"
        yield (f"| {row['case']}, {row['size']}² {row['precision']} | {row['variant']} | {row['batch']} | {row['images_per_s']:.4g} | "
               f"{row['range'][0]:.4g}–{row['range'][1]:.4g} | {times} | {tflops} | {share(row['share_of_790'])} | "
               f"{share(row['share_of_measured'])} | {row['peak_bytes'] / 1e9:.2f} | {reserved} | {hours} |")


def layer_rows(rows, case):
    """Our layers in their order, each with those of PyTorch that compute the same: a ReLU belongs to the layer before it."""
    ours, theirs = ([row for row in rows if row["case"] == case and row["who"] == who] for who in ("hueristic", "torch eager"))
    groups = []
    for row in theirs:
        if row["layer"].endswith("ReLU") and groups:
            groups[-1] = {**groups[-1], "forward": groups[-1]["forward"] + row["forward"], "backward": groups[-1]["backward"] + row["backward"]}
        else:
            groups.append(row)
    # Layers are matched in order, by the shape of their output: tables differ in rows that only one of them has.
    for row in ours:
        at = next((i for i, other in enumerate(groups) if other["shape"] == row["shape"]), None)
        other = groups[at] if at is not None else None
        groups = groups[at + 1:] if at is not None else groups
        yield row, other


def layer_table(rows):
    yield "| step | layer | output | forward, ms | backward, ms | torch forward, ms | torch backward, ms |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for case in dict.fromkeys(row["case"] for row in rows):
        for row, other in layer_rows(rows, case):
            shape = " × ".join(map(str, row["shape"]))
            theirs = [f"{1e3 * other[k]:.3g}" if other else "–" for k in ("forward", "backward")]
            yield f"| {case} | {row['layer']} | {shape} | {1e3 * row['forward']:.3g} | {1e3 * row['backward']:.3g} | {theirs[0]} | {theirs[1]} |"


def summary(name, data, bench):
    """One cell about a section's data."""
    rows, faults = data.get(name, []), [row["fault"] for row in data.get(name, []) if row.get("fault")]
    said = []
    if name == "report" and rows:
        r = rows[0]
        said = [str(r[k]) for k in ("gpu", "driver", "gpu_memory", "cpu", "hueristic") if r.get(k)] + [f"{r['cores']} cores", f"torch {r['torch']}"]
    elif name == "tests":
        said = [f"{r['test']}: {r['passed']} passed, {r['failed']} failed" + (f", {r['skipped']} skipped" if r.get("skipped") else "") for r in rows]
    elif name == "sanitizer":
        said = [f"{r['tool']}: {r['summary']} ({r['tests']} tests)" for r in rows]
    elif name == "ceiling":
        said = [f"{r['product']}: {r['tflops']:.3g} TFLOP/s; copy {r['copy_bytes_per_s'] / 1e12:.3g} TB/s" for r in rows]
    elif name == "bench":
        said = [f"{len(rows)} readings, below"] if rows else []
    elif name == "layers":
        said = [f"{len(rows)} layers, below"] if rows else []
    elif name == "photographs":
        best = next((b["images_per_s"] for b in bench if (b["case"], b["variant"]) == ("alexnet", "ours") and b["size"] == 180), None)
        for r in rows:
            if "images_per_s" in r:
                busy = f", busy {share(r['images_per_s'] / best)} of the benchmark's {best:.4g}" if best else ""
                said.append(f"{r['images_per_s']:.4g} images/s from JPEGs, waiting {share(r['waiting_share'])}{busy}")
    elif name == "cifar":
        said = ["; ".join(f"{stage} {s:.0f} s" for stage, s in r.get("seconds", {}).items() if s is not None) or "below" for r in rows]
    elif name == "steps":
        said = [f"{r['precision']}: losses of {r['steps']} steps within {r['gap']:.1e} (allowed {r['tolerance']:g})" for r in rows if "gap" in r]
    elif name == "resume":
        said = [f"{r['from']} → {r['to']}: went on after step {r['continued_after']}, {r['steps']} steps" for r in rows]
    return "; ".join(said + faults)


def markdown(result):
    data, bench = result["data"], result["benchmarks"]
    yield f"# GPU check, {result['date']}, {result['mode']}\n"
    yield "| section | outcome | s | |"
    yield "|---|---|---:|---|"
    for name in SECTIONS:
        s = result["sections"].get(name)
        if s:
            yield f"| {name} | {s['status']} | {s['seconds']} | {'; '.join(filter(None, [summary(name, data, bench), s['why']]))} |"
        else:
            yield f"| {name} | not run | | |"
    if bench:
        yield "\n## Training steps\n"
        yield from bench_table(bench)
    if data.get("layers"):
        yield "\n## Layers, each alone\n"
        yield from layer_table(data["layers"])
    for row in data.get("cifar", []):
        yield "\n## Linear probe on CIFAR-10, top-1 %\n"
        yield from row["table"]
    yield "\nMissing: " + ("; ".join(result["missing"]) or "nothing") + "."


def write(out, mode):
    out = pathlib.Path(out)
    parts = out / "parts"
    statuses = {name: json.loads((parts / f"{name}.status").read_text()) for name in SECTIONS if (parts / f"{name}.status").exists()}
    data = {name: lines(parts / f"{name}.jsonl") for name in statuses}
    bench = benchmarks(data)
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "mode": mode, "sections": statuses,
        "missing": missing(data, statuses, bench, mode), "benchmarks": bench, "data": data,
    }
    text = "\n".join(markdown(result)) + "\n"
    for name, content in (("gpu_check.json", json.dumps(result, indent=1) + "\n"), ("gpu_check.md", text)):
        partial = out / f"{name}.tmp"
        partial.write_text(content)
        partial.rename(out / name)
    print(text)
    print(f"{out / 'gpu_check.md'}, {out / 'gpu_check.json'}")
    return any(s["status"] == "failed" for s in statuses.values())


def main():
    verb, *arguments = sys.argv[1:] or [""]
    readings = {f.__name__: f for f in (facts, tests, sanitizer, pace, accuracy, losses, resumed, reached, status)}
    if verb in readings:
        reading = readings[verb](*arguments)
        if verb != "reached":
            print(json.dumps(reading))
        sys.exit(1 if reading.get("fault") else 0)
    if verb == "write":
        sys.exit(1 if write(arguments[0], arguments[1] if len(arguments) > 1 else "") else 0)
    if verb in ("add", "largest"):
        {"add": add, "largest": largest}[verb](*arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
