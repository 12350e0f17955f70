#!/usr/bin/env bash
# `hueristic colorize` of 256x256 pictures with the full-width VGG colorizer beside the same in PyTorch eager: cold start (process start
# to one written file) and pictures a second when many are colored.
#
#   bash scripts/bench_colorize.sh [ROUNDS]
#
# PYTHON names a Python with torch and scikit-image (default python3). Prints medians over rounds as a table.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo build --release --quiet
hueristic=${CARGO_TARGET_DIR:-target}/release/hueristic
"$python" scripts/bench_colorize.py make "$folder"
"$hueristic" weights convert "$folder/eccv16.pth" "$folder/eccv16.safetensors" > /dev/null
many=$(ls "$folder/pictures" | wc -l)

seconds() { # command... : wall seconds
  local from to
  from=$(date +%s.%N); "$@" > /dev/null 2>&1; to=$(date +%s.%N)
  echo "$to - $from" | bc
}
ours() { seconds "$hueristic" colorize "$@" --weights "$folder/eccv16.safetensors" --out "$folder/ours" --overwrite --threads 2; }
theirs() { seconds "$python" scripts/bench_colorize.py torch "$folder" --limit "$1"; }

for _ in $(seq "$rounds"); do
  echo "hueristic $(ours "$folder/pictures/00.png") $(ours "$folder/pictures")" >> "$folder/times"
  echo "torch $(theirs 1) $(theirs "$many")" >> "$folder/times"
done
"$python" - "$folder/times" "$many" <<'PY'
import statistics, sys
rows, many = [line.split() for line in open(sys.argv[1])], int(sys.argv[2])
print(f"| 256x256 pictures, medians of {len(rows) // 2} rounds | one picture, process start to written file, s | a picture among {many}, ms | pictures/s |")
print("|---|---:|---:|---:|")
for who in ("hueristic", "torch"):
    one, all_ = zip(*[(float(r[1]), float(r[2])) for r in rows if r[0] == who])
    each = statistics.median((a - o) / (many - 1) for o, a in zip(one, all_))
    print(f"| {who} | {statistics.median(one):.2f} | {1000 * each:.0f} | {1 / each:.2f} |")
PY
