#!/usr/bin/env bash
# Makes a folder that the feature `cuda` can be built with, on a machine without CUDA, GPU or driver.
#
#   bash scripts/cuda_tree.sh DIR
#   source DIR/env.sh
#   cargo build --release --features cuda
#
# NVIDIA's compiler, its headers and the run-time library come from PyPI (pip), 0.3 GB on disk. Of the other libraries
# nothing is needed to build: the program loads them when it first calls them (src/device/cuda/lazy), so the linker gets an
# empty library for each. Run again on a finished folder, it does nothing but write env.sh.
#
# PYTHON names a Python with pip (default python3), CC a C compiler (default cc). CUDA_COMPUTE_CAP is the GPU that candle's
# own kernels are compiled for: 90 (default) for H100 and H200, 80 for A100, 89 for L4 and RTX 40.
set -euo pipefail

# CUDA 13.0, for drivers from 580 on
wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85)
empty=(cuda cublas cublasLt curand nvrtc cudnn nccl)

fail() { echo "error: $*" >&2; exit 1; }

folder() {
  [[ $# -eq 1 && $1 != -* ]] || fail "one folder is wanted: bash scripts/cuda_tree.sh DIR"
  mkdir -p "$1" || fail "cannot make $1: name a folder that you may write to"
  dir=$(cd "$1" && pwd)
  root=$dir/site/nvidia/cu13
}

compiler() {
  [[ -f $dir/complete && $(<"$dir/complete") == "${wheels[*]}" ]] && return
  local python=${PYTHON:-python3}
  "$python" -m pip --version > /dev/null 2>&1 ||
    fail "$python has no pip: install it (python3-pip), or set PYTHON to a Python that has it"
  rm -rf "$dir/site" "$dir/complete"
  "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --no-compile \
    --only-binary=:all: --target "$dir/site" "${wheels[@]}" ||
    fail "pip could not fetch NVIDIA's compiler (above); a Linux on x86-64 or arm64 and about 0.3 GB in $dir are needed"
  chmod -R u+x "$root/bin" "$root/nvvm/bin"
  ln -sfn lib "$root/lib64" # where nvcc and build scripts look
  ln -sfn "$(basename "$(ls "$root"/lib/libcudart.so.*)")" "$root/lib/libcudart.so"
  echo "${wheels[*]}" > "$dir/complete"
}

stand_ins() {
  local cc=${CC:-cc} name
  mkdir -p "$root/lib/stubs"
  for name in "${empty[@]}"; do
    [[ -f $root/lib/stubs/lib$name.so ]] && continue
    command -v "$cc" > /dev/null || fail "no C compiler $cc: install gcc, or set CC; nvcc needs g++ too"
    "$cc" -shared -nostdlib -x c /dev/null -o "$root/lib/stubs/lib$name.so"
  done
}

environment() {
  cat > "$dir/env.sh" <<E
# made by scripts/cuda_tree.sh
export CUDA_PATH=$root CUDA_HOME=$root NVCC=$root/bin/nvcc
export PATH=$root/bin:\$PATH
export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90}
export CUDARC_CUDA_VERSION=13000
export CUDAFORGE_THREADS=\${CUDAFORGE_THREADS:-\$(nproc)}
E
}

# A compiler that cannot compile is found here, not after minutes of a build.
try() {
  command -v g++ > /dev/null || fail "nvcc needs g++: install it (package g++ or gcc-c++)"
  echo '__global__ void one(float *x) { x[threadIdx.x] = 1.0f; }' > "$dir/try.cu"
  "$root/bin/nvcc" --ptx -arch=compute_80 -o "$dir/try.ptx" "$dir/try.cu" ||
    fail "nvcc does not compile (above); if it names the version of g++, set NVCC_CCBIN to an older one"
  rm "$dir/try.cu" "$dir/try.ptx"
}

folder "$@"
compiler
stand_ins
environment
try
echo "$("$root/bin/nvcc" --version | sed -n 's/.*release/CUDA/p') in $dir; now: source $dir/env.sh"
