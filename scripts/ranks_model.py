"""ranks_model.py SUMS STEP VALUES...: what a sum of gradients adds to a training step, for other numbers of processes and links.

SUMS is the output of benches/ranks.rs, a heading "# mpirun -n N …" above the lines of each N. STEP is the time of a step without
the sum, in seconds; VALUES are numbers of parameters. The sum of each bucket of 2^20 values among N processes is taken to cost
2 (N - 1) messages of latency a, and 2 (N - 1) / N * 4 MiB at B, the slower of the link and of what one core copies and adds. Both
are those of two processes: a is half the time of the smallest buffer, B the rate of a bucket.

Printed: the time of a sum, and the share of a step's speed that remains if nothing of it is hidden behind the backward pass.
"""

import json
import sys

BUCKET = 2**20
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}


def measured(path, over_tcp):
    """Lines of two processes, by values."""
    rows, wanted = {}, False
    for line in open(path):
        if line.startswith("#"):
            wanted = "-n 2 " in line and ("tcp" in line) == over_tcp
        elif wanted:
            row = json.loads(line)
            rows[row["values"]] = row
    return rows


def costs(rows):
    """Latency, and bytes in a second."""
    return rows[min(rows)]["seconds"] / 2, rows[BUCKET]["bytes"] / rows[BUCKET]["seconds"]


def row(values, ranks, link, latency, rate, step):
    messages = -(-values // BUCKET) * 2 * (ranks - 1)
    time = messages * latency + 2 * (ranks - 1) / ranks * 4 * values / rate
    print(f"| {values:,} | {ranks} | {link} | {time:.2f} | {100 * step / (step + time):.0f} |")


def main():
    step, parameters = float(sys.argv[2]), [int(values) for values in sys.argv[3:]]
    print("| parameters | processes | link | sum, s | speed kept, % |\n|---:|---:|:---|---:|---:|")
    for values in parameters:
        row(values, 2, "shared memory", *costs(measured(sys.argv[1], False)), step)
        latency, rate = costs(measured(sys.argv[1], True))
        for ranks in (2, 8, 64):
            for link, speed in LINKS.items():
                row(values, ranks, link, latency, min(speed, rate), step)


main()
