#!/usr/bin/env bash
# Packs what a GPU machine without Rust, network or these sources needs to run scripts/gpu_check.sh.
#
#   source DIR/env.sh                        (scripts/cuda_tree.sh; not where CUDA is installed)
#   bash scripts/gpu_pack.sh OUT [--cpu]
#
# OUT is a folder to make, or a file that ends in .tar.xz. It holds the program, the tests of devices and operations, the benchmark,
# the scripts, the specs and CIFAR-10 (cifar10_parquet/ of $HUERISTIC_DATA, 21 MB). --cpu builds without GPUs, to try
# the check on this machine. FEATURES are cargo's options for features where others are wanted. Fails when OUT is larger than 60 MiB.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "error: $*" >&2; exit 1; }

out=
read -ra features <<< "${FEATURES:---features cuda}"
for argument in "$@"; do
  case $argument in
    --cpu) features=() ;;
    -*) fail "no option $argument: bash scripts/gpu_pack.sh OUT [--cpu]" ;;
    *) out=$argument ;;
  esac
done
[[ -n $out ]] || fail "where to? bash scripts/gpu_pack.sh OUT [--cpu]"
[[ ! -e $out ]] || fail "$out is there already: remove it, or name another"
cifar=${HUERISTIC_DATA:-../shared/data}/cifar10_parquet
[[ -f $cifar/train-00000-of-00001.parquet ]] || fail "no CIFAR-10 in $cifar: set HUERISTIC_DATA to a folder with cifar10_parquet/"

pack=$out
if [[ $out == *.tar.xz ]]; then
  temporary=$(mktemp -d)
  trap 'rm -rf "$temporary"' EXIT
  pack=$temporary/gpu_check
fi
mkdir -p "$pack"/{bin,tests,scripts,experiments/probe,experiments/gpu,data/cifar10_parquet}

# "KIND NAME PATH" of every program that was built
artifacts() {
  cargo build --release ${features[@]+"${features[@]}"} --bin hueristic --bench colorizer --test devices --test operations \
    --message-format=json-render-diagnostics | python3 -c '
import json, sys
for line in sys.stdin:
    a = json.loads(line)
    if a.get("executable") and a["target"]["name"] != "build-script-build":
        print(a["target"]["kind"][0], a["target"]["name"], a["executable"])'
}

built=$(artifacts) || fail "the build failed (above); for GPUs it needs nvcc: README, section GPUs"
while read -r kind name path; do
  case $kind in
    test) target=$pack/tests/$name ;;
    bench) target=$pack/bin/bench_$name ;;
    *) target=$pack/bin/$name ;;
  esac
  strip -o "$target" "$path"
done <<< "$built"
cp scripts/gpu_check.sh scripts/gpu_table.py scripts/gpu_photographs.py scripts/bench_torch.py "$pack/scripts/"
cp experiments/gpu/*.yaml "$pack/experiments/gpu/"
cp experiments/probe/cifar10_colorization.yaml "$pack/experiments/probe/"
cp "$cifar"/*.parquet "$pack/data/cifar10_parquet/"

(cd "$pack" && du -ah --apparent-size bin tests data scripts experiments | sort -rh | head -20)
if [[ $pack != "$out" ]]; then
  # The programs share most of their bytes: a dictionary larger than one of them finds that.
  XZ_OPT=--lzma2=preset=6,dict=192MiB tar -C "$temporary" -cJf "$out" gpu_check
fi
bytes=$(du -sb "$out" | cut -f1)
echo "$out: $((bytes >> 20)) MiB"
((bytes <= 60 << 20)) || fail "$out is larger than 60 MiB: pack into a .tar.xz"
