"""Renders the JSON lines of scripts/bench_side_by_side.sh as a Markdown table.

    python scripts/bench_table.py FILE.jsonl ...

Medians over rounds; peak memory is the largest of all rounds, forward figures are without gradients.
"""
import json
import pathlib
import statistics
import sys


NAMES = {
    "alexnet": "AlexNet colorizer", "vgg": "VGG colorizer", "resnet18": "ResNet-18 colorizer",
    "probe": "linear probe of five layers on cached features",
}
KINDS = {"step": "training step", "forward": "forward pass"}


def title(path):
    """alexnet_step.jsonl -> AlexNet colorizer, training step."""
    if path.stem.startswith("pretext_"):
        task = path.stem.removeprefix("pretext_").removesuffix("_step").replace("_", " ")
        return f"pretext task {task}, training step"
    backbone, _, kind = path.stem.partition("_")
    return ", ".join([NAMES.get(backbone, backbone), KINDS.get(kind, kind)]).rstrip(", ")


def table(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    unit = next(key for key in ("images_per_s", "samples_per_s") if key in rows[0])
    yield f"### {title(path)}\n"
    yield f"| | {unit.removesuffix('_per_s')}/s, median | range | peak memory, GB |"
    yield "|---|---:|---:|---:|"
    medians, peaks = {}, {}
    for who in ("hueristic", "torch"):
        mine = [r for r in rows if r["who"] == who]
        speed = [r[unit] for r in mine]
        how = ", ".join(mine[0][key] for key in ("precision", "layout") if key in mine[0])
        medians[who], peaks[who] = statistics.median(speed), max(r["peak_bytes"] for r in mine)
        yield f"| {who}{f' ({how})' if how else ''} | {medians[who]:.2f} | {min(speed):.2f}–{max(speed):.2f} | {peaks[who] / 1e9:.2f} |"
    gflops = [r["nominal_gflops"] for r in rows if "nominal_gflops" in r]
    yield f"| ratio | **{medians['hueristic'] / medians['torch']:.2f}** | | **{peaks['hueristic'] / peaks['torch']:.2f}** |"
    if gflops:
        yield f"\nhueristic: {statistics.median(gflops):.0f} GFLOP/s nominal (multiply-adds on padding counted, though skipped)."
    yield ""


for name in sys.argv[1:]:
    print("\n".join(table(pathlib.Path(name))))
