#!/usr/bin/env bash
# Runs the GPU side on this machine without a GPU: the tests of devices and operations, built with the feature `nccl`, and `mpi`
# where it is installed, on libraries that execute every kernel and every product on the processor (scripts/stand_in): four devices.
#
#   source TREE/env.sh                       (scripts/cuda_tree.sh; not where CUDA is installed)
#   bash scripts/gpu_stand_in.sh DIR [--all]
#
# DIR is a folder for the libraries. --all adds the queues that run as late as they may, cuDNN without any algorithm or without fusion, blocks
# from last to first, and the long gradient tests: half an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 1 ]] || { sed -n '2,10p' "$0" >&2; exit 2; }
mkdir -p "$1"
libraries=$(cd "$1" && pwd)
all=${2:-}

bash scripts/stand_in/make.sh "$libraries" src/device/cuda/kernels
features=nccl
command -v mpicc > /dev/null && features=nccl,mpi
export STAND_IN_DEVICES=${STAND_IN_DEVICES:-4}
tests=(--test devices --test operations)
long=(--skip gradients_conv::)
[[ -n $all ]] && long=()
# Optimized lightly: what is slow here is the stand-in.
light=(--config 'profile.release.package.hueristic.opt-level=1')
run() { env LD_LIBRARY_PATH="$libraries" "$@" cargo "${light[@]}" test --release --features "$features" "${tests[@]}" -- "${long[@]}"; }

run env
counts() { env LD_LIBRARY_PATH="$libraries" "$1" cargo "${light[@]}" test --release --features "$features" --test devices -- --ignored "${@:2}"; }
counts env
counts STAND_IN_CUDNN=unfused bias_and_relu
if [[ -n $all ]]; then
  for way in STAND_IN_LAZY=1 STAND_IN_LAZY=2 STAND_IN_CUDNN=none STAND_IN_CUDNN=unfused STAND_IN_REVERSE=1; do
    echo "on the stand-in, $way"
    run env "$way"
  done
fi
