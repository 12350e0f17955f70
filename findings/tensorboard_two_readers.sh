#!/usr/bin/env bash
# TensorBoard reads a run that was restarted without a session-start event in two ways.
#
# Versions: tensorboard 2.21.0, tensorboard-data-server 0.7.2, Python 3.11.
# Guessed:  the page and the Python reader (EventAccumulator) show the same curve.
# Seen:     two event files of one run hold steps 4, 8, 12 and 4, 8, 12, 16. `--load_fast=true` (the default where the data
#           server is installed) shows four points, each step once; `--load_fast=false`, and EventAccumulator, which scripts
#           and notebooks use, show seven, three steps twice. With `SessionLog START` of step 0 at the head of the second
#           file both show four. So a look at the page does not tell whether a log needs that event.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" -q install tensorboard==2.21.0 tensorboard-data-server==0.7.2 "setuptools<81"
cat > "$dir/look.py" <<'PY'
import json, os, struct, subprocess, sys, time, urllib.request
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

root = sys.argv[1] + "/logs"


def record(file, event):
    payload = event.SerializeToString()
    length = struct.pack("<Q", len(payload))
    crc = lambda data: struct.pack("<I", masked_crc32c(data))
    file.write(length + crc(length) + payload + crc(payload))


def write(run, stamp, steps, value, session):
    os.makedirs(f"{root}/{run}", exist_ok=True)
    with open(f"{root}/{run}/events.out.tfevents.{stamp:010}.host", "wb") as file:
        record(file, event_pb2.Event(wall_time=stamp, file_version="brain.Event:2"))
        if session:
            start = event_pb2.Event(wall_time=stamp, step=0)
            start.session_log.status = 1
            record(file, start)
        for step in steps:
            scalar = summary_pb2.Summary.Value(tag="loss", simple_value=value)
            summary = summary_pb2.Summary(value=[scalar])
            record(file, event_pb2.Event(wall_time=stamp + step, step=step, summary=summary))


def served(run, fast, port):
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", root, "--port", port, "--load_fast", fast]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(60):
            try:
                url = f"http://localhost:{port}/data/plugin/scalars/scalars?run={run}&tag=loss"
                return [point[1] for point in json.load(urllib.request.urlopen(url))]
            except OSError:
                time.sleep(1)
    finally:
        server.terminate()
        server.wait()


def accumulated(run):
    events = EventAccumulator(f"{root}/{run}")
    events.Reload()
    return [event.step for event in events.Scalars("loss")]


for run, session in [("bare", False), ("marked", True)]:
    write(run, 100, [4, 8, 12], 1.0, session)
    write(run, 200, [4, 8, 12, 16], 2.0, session)
once, twice = [4, 8, 12, 16], [4, 8, 12, 4, 8, 12, 16]
seen = {run: (served(run, "true", "6131"), served(run, "false", "6132"), accumulated(run)) for run in ("bare", "marked")}
print(seen)
assert seen["bare"] == (once, twice, twice), seen["bare"]
assert seen["marked"] == (once, once, once), seen["marked"]
PY
"$dir/venv/bin/python" "$dir/look.py" "$dir" 2>/dev/null
echo "as seen"
