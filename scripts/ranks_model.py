"""ranks_model.py SUMS STEP VALUES... [--links LINKS]: what a sum of gradients adds to a training step, for other numbers of processes and links.

SUMS and LINKS are outputs of benches/ranks.rs, with a heading "# mpirun -n N ..." or "# RATE" (of scripts/ranks_links.sh) above the
lines of each. STEP is the time of a step without the sum, in seconds; VALUES are numbers of parameters.

A sum of V values among N processes sends 2 (N - 1) messages for each piece of 2^18 values, and 2 (N - 1) / N * 4 V bytes from each
process. It is taken to cost, per message, half the time of the smallest sum of two processes over TCP without a limit; per byte, the
time of a sum of 2^20 values of these two, and the time of the byte on the link, of whose rate Ethernet and TCP leave 95 %: what a
processor copies and adds is not hidden behind the link, nor either of them behind the backward pass.

Printed: with LINKS, the foretold and the measured sums over links of limited rate; for the VALUES, the time of a sum and the share of a
step's speed that remains. Below it the same for GPUs, 8 of one machine and 512 of 64 machines, from the assumptions in this file
alone: with the batch of the paper's run shared, and with that batch for each GPU, since 40 pictures are no batch of 64 machines.
"""

import argparse
import json

PIECE = 2**18
PAYLOAD = 0.95
LINKS = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 1e10 / 8, "100 Gbit/s": 1e11 / 8}
# Assumptions about GPUs: share of the peak that a step reaches, FLOP/s in bf16 of an H200, bytes in a second of one GPU to others of
# its machine (NVLink 4, 450 GB/s, four fifths of it) and of other machines (400 Gbit/s for each GPU, four fifths).
SHARE, PEAK, INSIDE, BETWEEN = 0.3, 790e12, 360e9, 40e9
# Parameters, multiply-adds of a forward pass of a picture at the size of the run's crops (`hueristic model`), pictures of a step: the
# colorizers of experiments/paper/table2.yaml and table1.yaml. A step takes three times as many.
PAPER = {"AlexNet": (58_127_353, 8.509e9, 80), "VGG": (32_230_393, 19.744e9, 40)}


def tables(path):
    """Lines by heading, as {heading: {values: row}}."""
    found, rows = {}, None
    for line in open(path):
        if line.startswith("#"):
            rows = found.setdefault(line[1:].strip(), {})
        elif line.startswith("{"):
            row = json.loads(line)
            rows[row["values"]] = row
    return found


def sent(values, ranks):
    return 2 * (ranks - 1) / ranks * 4 * values


def cost(rows):
    """Seconds of a message, and of a byte."""
    return rows[min(rows)]["seconds"] / 2, rows[2**20]["seconds"] / rows[2**20]["bytes"]


def time(values, ranks, rows, link=None):
    message, byte = cost(rows)
    messages = -(-values // PIECE) * 2 * (ranks - 1)
    wire = 1 / (PAYLOAD * link) if link else 0
    return messages * message + sent(values, ranks) * (byte + wire)


def rate(text):
    """Bytes in a second of a rate as tc writes it."""
    for unit, bits in (("gbit", 1e9), ("mbit", 1e6)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * bits / 8
    raise SystemExit(f"{text} is no rate: 1gbit, 300mbit")


def check(links, over_tcp):
    print("| link | values | foretold, s | measured, s | foretold / measured |\n|---:|---:|---:|---:|---:|")
    for heading, rows in links.items():
        for values, row in rows.items():
            if values >= 2**18:
                told = time(values, 2, over_tcp, rate(heading))
                print(f"| {heading} | {values:,} | {told:.4f} | {row['seconds']:.4f} | {told / row['seconds']:.2f} |")


def foretell(parameters, step, in_memory, over_tcp):
    print("| parameters | processes | link | sum, s | speed kept, % |\n|---:|---:|:---|---:|---:|")
    for values in parameters:
        cases = [(2, "shared memory", in_memory, None)]
        cases += [(ranks, name, over_tcp, link) for ranks in (2, 8, 64) for name, link in LINKS.items()]
        for ranks, name, rows, link in cases:
            more = time(values, ranks, rows, link)
            print(f"| {values:,} | {ranks} | {name} | {more:.2f} | {100 * step / (step + more):.0f} |")


def foretell_gpus():
    print("| network | GPUs | pictures each | step, ms | sum, ms | speed kept, % | the same in bf16 | |\n|:---|---:|---:|---:|---:|---:|---:|---:|")
    for network, (values, multiplications, batch) in PAPER.items():
        for gpus, each, bandwidth in ((8, batch // 8, INSIDE), (8, batch, INSIDE), (512, batch, BETWEEN)):
            step = 3 * 2 * multiplications * each / (SHARE * PEAK)
            sums = [sent(values, gpus) * part / bandwidth for part in (1, 0.5)]
            cells = " | ".join(f"{1e3 * more:.1f} | {100 * step / (step + more):.0f}" for more in sums)
            print(f"| {network} | {gpus} | {each} | {1e3 * step:.1f} | {cells} |")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("sums")
    arguments.add_argument("step", type=float)
    arguments.add_argument("values", type=int, nargs="+")
    arguments.add_argument("--links")
    given = arguments.parse_args()
    two = {"tcp" in heading: rows for heading, rows in tables(given.sums).items() if "-n 2 " in heading and "bf16" not in heading}
    if given.links:
        check(tables(given.links), two[True])
        print()
    foretell(given.values, given.step, two[False], two[True])
    print()
    foretell_gpus()


main()
