#!/usr/bin/env bash
# Prints one hash over all that decides whether the GPU side works: operations, kernels, every file with code for GPUs, their tests,
# the stand-in, and the versions of candle and of its bindings to CUDA. scripts/gpu_sources.sha256 holds that of the sources which
# last passed lints and stand-in; .ci/run passes over both while it is the same.
set -euo pipefail
cd "$(dirname "$0")/.."

sources() {
  git ls-files --cached --others --exclude-standard -- build.rs src/ops src/device src/train/collective src/experiment/ranks.rs tests/devices tests/operations \
    scripts/stand_in scripts/gpu_stand_in.sh scripts/gpu_sources.sh scripts/cuda_tree.sh scripts/cuda_names.sh
  grep -rlE '#\[cfg\(.*feature = "(cuda|nccl)"' src
}
# --cached names files that are gone as well.
sources | LC_ALL=C sort -u | while read -r file; do if [[ -f $file ]]; then sha256sum "$file"; fi; done |
  cat - <(grep -A 3 -E '^name = "(candle-(core|kernels)|cudarc|cudaforge)"' Cargo.lock) | sha256sum | cut -d ' ' -f 1
