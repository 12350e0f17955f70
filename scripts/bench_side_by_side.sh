#!/usr/bin/env bash
# A colorizer's training step here and in PyTorch, interleaved, two threads each, both with a retained heap.
#
#   bash scripts/bench_side_by_side.sh [alexnet|vgg] [ROUNDS] [extra options for both, e.g. --forward --batch 1 --size 256]
#
# PYTHON names a Python with torch (default python3). RUNNER is put before both commands: `chrt -r 1` keeps other
# processes of a shared machine from them. Prints JSON lines, then the medians and their ratio as a table.
set -euo pipefail
cd "$(dirname "$0")/.."
backbone=${1:-alexnet}; shift || true
rounds=${1:-5}; shift || true
python=${PYTHON:-python3}
read -ra runner <<< "${RUNNER:-env}"
name=${backbone}_step
[[ " $* " == *" --forward "* ]] && name=${backbone}_forward
folder=$(mktemp -d)
out=$folder/$name.jsonl
trap 'rm -rf "$folder"' EXIT
cargo bench --bench colorizer --no-run
for _ in $(seq "$rounds"); do
  "${runner[@]}" cargo bench --quiet --bench colorizer -- --backbone "$backbone" --rounds 1 "$@" | tee -a "$out"
  # glibc: keep what was freed instead of giving pages back after every step
  MALLOC_TOP_PAD_=1073741824 MALLOC_TRIM_THRESHOLD_=1099511627776 MALLOC_MMAP_MAX_=0 \
    "${runner[@]}" "$python" scripts/bench_torch.py --backbone "$backbone" --rounds 1 "$@" | tee -a "$out"
done
"$python" scripts/bench_table.py "$out"
