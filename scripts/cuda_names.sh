#!/usr/bin/env bash
# Writes src/device/cuda/lazy/names.rs: every function of NVIDIA's libraries that the compiled dependencies refer to.
# To be run again when candle or cudarc change.
#
#   bash scripts/cuda_names.sh            after `cargo build --release --features nccl`
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/release

undefined() {
  nm -u "$target"/deps/libcudarc-*.rlib "$target"/deps/libcandle_core-*.rlib "$target"/build/candle-kernels-*/out/libmoe.a \
    2>/dev/null | awk '{print $2}' | sort -u
}

# library LIBRARY PATTERN NOT: a line for each function whose name has the pattern and not the other
library() {
  echo "    $1:"
  undefined | grep -E "$2" | grep -vE "$3" | sed 's/^/        /' || true
  echo "        ;"
}

{
  echo "// Made by scripts/cuda_names.sh from what cudarc and candle refer to."
  echo "lazy! {"
  library Driver '^cu[A-Z]' '^$'
  library Runtime '^(cuda[A-Z]|__cuda)' '^$'
  library Blas '^cublas' '^cublasLt'
  library BlasLt '^cublasLt' '^$'
  library Random '^curand' '^$'
  library Compiler '^nvrtc' '^$'
  library Dnn '^cudnn' '^$'
  library Collective '^nccl' '^$'
  echo "}"
} > src/device/cuda/lazy/names.rs
