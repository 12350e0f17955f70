#!/usr/bin/env bash
# A training step of a colorizer, of linear probes or of a pretext task, here and in PyTorch, interleaved, two threads each, both with a retained heap.
#
#   bash scripts/bench_side_by_side.sh [alexnet|vgg|resnet18] [ROUNDS] [extra options for both, e.g. --forward --batch 1 --size 256]
#   bash scripts/bench_side_by_side.sh probe [ROUNDS] [extra options for both, e.g. --classes 20]
#   bash scripts/bench_side_by_side.sh pretext:TASK [ROUNDS] [extra options for both, e.g. --batch 4]
#
# PyTorch runs in the faster of its two memory layouts. TORCH_OPTIONS are for PyTorch alone, OUR_OPTIONS for this side alone, e.g.
# "--fastest". PYTHON names a Python with torch (default python3). RUNNER is put before both commands: `chrt -r 1` keeps other
# processes of a shared machine from them. Prints JSON lines, then the medians and their ratio as a table.
set -euo pipefail
cd "$(dirname "$0")/.."
backbone=${1:-alexnet}; shift || true
rounds=${1:-5}; shift || true
python=${PYTHON:-python3}
read -ra runner <<< "${RUNNER:-env}"
name=${backbone//[:-]/_}_step
[[ " $* " == *" --forward "* ]] && name=${backbone}_forward
folder=$(mktemp -d)
out=$folder/$name.jsonl
trap 'rm -rf "$folder"' EXIT
# glibc: keep what was freed instead of giving pages back after every step
export MALLOC_TOP_PAD_=1073741824 MALLOC_TRIM_THRESHOLD_=1099511627776 MALLOC_MMAP_MAX_=0
read -ra torch_options <<< "${TORCH_OPTIONS:-}"
read -ra our_options <<< "${OUR_OPTIONS:-}"
if [[ $backbone == probe ]]; then
  bench=probe ours=() theirs=(scripts/bench_torch_probe.py)
elif [[ $backbone == pretext:* ]]; then
  bench=pretext ours=(--task "${backbone#pretext:}") theirs=(scripts/bench_torch_pretext.py --task "${backbone#pretext:}")
  theirs+=(--layout "$("${runner[@]}" "$python" "${theirs[@]}" "$@" --faster-layout)")
else
  bench=colorizer ours=(--backbone "$backbone" "${our_options[@]}") theirs=(scripts/bench_torch.py --backbone "$backbone" "${torch_options[@]}")
  theirs+=(--layout "$("${runner[@]}" "$python" "${theirs[@]}" "$@" --faster-layout)")
fi
cargo bench --bench "$bench" --no-run
for _ in $(seq "$rounds"); do
  "${runner[@]}" cargo bench --quiet --bench "$bench" -- "${ours[@]}" --rounds 1 "$@" | tee -a "$out"
  "${runner[@]}" "$python" "${theirs[@]}" --rounds 1 "$@" | tee -a "$out"
done
"$python" scripts/bench_table.py "$out"
