#!/usr/bin/env bash
# The AlexNet training step here and in PyTorch, interleaved, two threads each, both with a retained heap.
#
#   bash scripts/bench_side_by_side.sh [ROUNDS] [extra options for both, e.g. --forward]
#
# PYTHON names a Python with torch (default python3). Prints JSON lines, then the medians and their ratio.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}; shift || true
python=${PYTHON:-python3}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
cargo bench --bench alexnet --no-run
for _ in $(seq "$rounds"); do
  cargo bench --quiet --bench alexnet -- --rounds 1 "$@" | tee -a "$out"
  # glibc: keep what was freed instead of giving pages back after every step
  MALLOC_TOP_PAD_=1073741824 MALLOC_TRIM_THRESHOLD_=1099511627776 MALLOC_MMAP_MAX_=0 \
    "$python" scripts/bench_torch.py --rounds 1 "$@" | tee -a "$out"
done
"$python" - "$out" <<'PY'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
def median(who, key): return statistics.median(r[key] for r in rows if r["who"] == who)
speed = {who: median(who, "images_per_s") for who in ("hueristic", "torch")}
peak = {who: max(r["peak_bytes"] for r in rows if r["who"] == who) for who in speed}
for who in speed:
    print(f"{who:10} {speed[who]:6.2f} images/s   peak {peak[who] / 1e9:.2f} GB")
print(f"ratio      {speed['hueristic'] / speed['torch']:6.2f}            {peak['hueristic'] / peak['torch']:.2f}")
PY
