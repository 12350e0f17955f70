#!/usr/bin/env bash
# The AlexNet training step here and in PyTorch, interleaved, two threads each, both with a retained heap.
#
#   bash scripts/bench_side_by_side.sh [ROUNDS] [extra options for both, e.g. --forward]
#
# PYTHON names a Python with torch (default python3). Prints JSON lines, then the medians and their ratio as a table.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}; shift || true
python=${PYTHON:-python3}
folder=$(mktemp -d)
out=$folder/side_by_side.jsonl
trap 'rm -rf "$folder"' EXIT
cargo bench --bench alexnet --no-run
for _ in $(seq "$rounds"); do
  cargo bench --quiet --bench alexnet -- --rounds 1 "$@" | tee -a "$out"
  # glibc: keep what was freed instead of giving pages back after every step
  MALLOC_TOP_PAD_=1073741824 MALLOC_TRIM_THRESHOLD_=1099511627776 MALLOC_MMAP_MAX_=0 \
    "$python" scripts/bench_torch.py --rounds 1 "$@" | tee -a "$out"
done
"$python" scripts/bench_table.py "$out"
