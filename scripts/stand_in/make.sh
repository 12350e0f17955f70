#!/usr/bin/env bash
# Build the stand-in for an NVIDIA GPU: shared libraries that compute on the processor.
#
#   scripts/stand_in/make.sh DIR [KERNELS] [--check]
#   LD_LIBRARY_PATH=DIR ./a_program_built_for_cuda
#
# DIR      a folder to make: libcuda.so.1, libcublas.so.13, libcudnn.so.9, ... and kernels/*.so
# KERNELS  a folder of *.cu files to compile beside those of candle-kernels
# --check  run the self-tests (check/*.cpp) afterwards
#
# It needs g++ (C++17), python3, cargo, the CUDA headers in $CUDA_HOME/include, and the sources of
# the crates candle-kernels and cudarc. Where cargo metadata of this project does not know them,
# CANDLE_KERNELS and CUDARC name their folders.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
CHECK=
ARGS=()
for a in "$@"; do if [ "$a" = --check ]; then CHECK=yes; else ARGS+=("$a"); fi; done
[ ${#ARGS[@]} -ge 1 ] || { sed -n '2,12p' "$0" >&2; exit 2; }
DIR=$(mkdir -p "${ARGS[0]}/kernels" "${ARGS[0]}/build/include/cuda/std" && cd "${ARGS[0]}" && pwd)
OURS=${ARGS[1]:-}
B=$DIR/build
: "${CUDA_HOME:?set CUDA_HOME to a CUDA toolkit (its include folder is needed)}"
[ -f "$CUDA_HOME/include/cuda.h" ] || { echo "no $CUDA_HOME/include/cuda.h" >&2; exit 2; }

crate() {  # the folder of a crate in the dependency tree of this project
  (cd "$HERE" && cargo metadata -q --format-version 1 --features cuda \
    --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" 2>/dev/null || echo '{"packages": []}') |
    python3 -c '
import json, os, sys
found = [os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == sys.argv[1]]
print(found[0] if found else "")' "$1"
}
: "${CANDLE_KERNELS:=$(crate candle-kernels)}" "${CUDARC:=$(crate cudarc)}"
[ -d "$CANDLE_KERNELS/src" ] || { echo "the crate candle-kernels is not there; set CANDLE_KERNELS to its folder" >&2; exit 2; }
[ -d "$CUDARC/src" ] || { echo "the crate cudarc is not there; set CUDARC to its folder" >&2; exit 2; }

CXX=${CXX:-g++}
FLAGS=(-std=c++17 -O2 -fno-strict-aliasing -fPIC -fvisibility=hidden -ffp-contract=off -I"$HERE")
JOBS=${JOBS:-2}
PIDS=()
background() {  # run a command beside others, at most $JOBS at once; the first failure ends the script
  if [ ${#PIDS[@]} -ge "$JOBS" ]; then wait "${PIDS[0]}"; PIDS=("${PIDS[@]:1}"); fi
  "$@" & PIDS+=($!)
}
finish() { for p in "${PIDS[@]}"; do wait "$p"; done; PIDS=(); }

# ---- libraries: what is written here, and a stub for every other name that cudarc declares -----
compile() {  # compile FILE, where its object is older than a source
  if [ -f "$B/$1.o" ] && [ -z "$(find "$HERE" -maxdepth 1 \( -name "$1.cpp" -o -name '*.h' \) -newer "$B/$1.o")" ]; then return; fi
  $CXX "${FLAGS[@]}" -Wall -Wextra -I"$CUDA_HOME/include" -c "$HERE/$1.cpp" -o "$B/$1.o"
}
stubs() {  # stubs MODULE ANSWER OBJECT...: OBJECT... define what needs no stub
  local module=$1 answer=$2; shift 2
  { [ $# -eq 0 ] || nm -g --defined-only "$@" | awk 'NF == 3 {print $3}'; } | sort -u > "$B/$module.have"
  { echo '#include <stdio.h>'
    echo '#define STUB(f) int f(void) { static int said; if (!said++) fprintf(stderr, "stand-in: %s is not supported\n", #f); return ANSWER; }'
    grep -ohE '\bfn (cu|nv|nccl)[A-Za-z0-9_]+' "$CUDARC/src/$module/sys/mod.rs" | awk '{print $2}' | sort -u |
      grep -vx culib | comm -23 - "$B/$module.have" | sed 's/.*/STUB(&)/'
  } > "$B/$module.stubs.c"
  gcc -O1 -fPIC -w -DANSWER="$answer" -c "$B/$module.stubs.c" -o "$B/$module.stubs.o"
}
library() {  # library SONAME MODULE ANSWER [-l...] OBJECT...
  local soname=$1 module=$2 answer=$3; shift 3
  local objects=("$@")
  stubs "$module" "$answer" "${objects[@]}"
  # the real libraries version their symbols by the SONAME, all but the driver
  $CXX -shared -Wl,-soname,"$soname" $([ "$soname" = libcuda.so.1 ] || echo -Wl,--default-symver) -Wl,-z,now -o "$DIR/$soname" "${objects[@]}" "$B/$module.stubs.o" \
       $([ "$soname" = libcuda.so.1 ] || echo "$DIR/libcuda.so.1") -Wl,-rpath,'$ORIGIN' -ldl
}
for f in memory fibers queue statistics driver cublas cudnn curand nccl; do background compile $f; done
finish
library libcuda.so.1 driver 801 "$B"/{memory,fibers,queue,statistics,driver}.o
library libcublas.so.13 cublas 15 "$B/cublas.o"
library libcublasLt.so.13 cublaslt 15
library libcudnn.so.9 cudnn 3000 "$B/cudnn.o"
library libcurand.so.10 curand 999 "$B/curand.o"
library libnvrtc.so.13 nvrtc 11
library libnccl.so.2 nccl 3 "$B/nccl.o"

# ---- kernels -----------------------------------------------------------------------------------
# The toolkit's device headers are the emulator.
for h in cuda_fp16.h cuda_bf16.h cuda_fp8.h cuda_runtime.h cuda.h math_constants.h cuda/std/limits; do
  echo '#include "emulator.h"' > "$B/include/$h"
done
kernels() {  # kernels NAME FOLDER FILE...: each FOLDER/FILE.cu becomes kernels/NAME_FILE.so
  local name=$1 folder=$2 h f; shift 2
  rm -rf "${B:?}/$name" && mkdir "$B/$name"  # no header of an earlier run stays
  for h in "$folder"/*.cuh "$folder"/*.h; do
    [ ! -f "$h" ] || python3 "$HERE/prepare_kernels.py" --header "$h" "$B/$name/$(basename "$h")"
  done
  for f in "$@"; do background kernel "$name" "$folder" "$f"; done
  finish
}
kernel() {  # kernel NAME FOLDER FILE; does nothing where the library is newer than what it is made of
  local text=$B/$1/$3.cpp so=$DIR/kernels/$1_$3.so
  if [ -f "$so" ] && [ -z "$(find "$2" "$HERE" -maxdepth 1 \( -name '*.cu*' -o -name '*.h' -o -name '*.py' \) -newer "$so")" ]; then return; fi
  local flags=("${FLAGS[@]}" -w -x c++ -I"$B/$1" -I"$B/include")
  [ "$1" != candle ] || flags+=(-O1)  # hundreds of instances; half the time to compile
  python3 "$HERE/prepare_kernels.py" "$2/$3.cu" "$text" $CXX "${flags[@]}"
  $CXX "${flags[@]}" -shared "$text" -x none "$DIR/libcuda.so.1" -Wl,-rpath,'$ORIGIN/..' -o "$so"
}
kernels candle "$CANDLE_KERNELS/src" unary reduce indexing cast binary fill ternary sort affine
kernels check "$HERE/check" kernels
if [ -n "$OURS" ]; then
  mapfile -t files < <(cd "$OURS" && ls -- *.cu | sed 's/\.cu$//')
  [ ${#files[@]} -gt 0 ] || { echo "$OURS holds no *.cu" >&2; exit 2; }
  kernels ours "$OURS" "${files[@]}"
fi
echo "made $DIR; now: LD_LIBRARY_PATH=$DIR PROGRAM"

if [ -n "$CHECK" ]; then
  $CXX -std=c++17 -O1 -Wall -I"$HERE" "$HERE/check/check.cpp" -o "$B/self_test" -ldl
  $CXX -std=c++17 -O1 -Wall "$HERE/check/several.cpp" -o "$B/several_test" -ldl -pthread
  for mode in "STAND_IN_LAZY=0" "STAND_IN_LAZY=1" "STAND_IN_LAZY=2" "STAND_IN_FAST=1" "STAND_IN_REVERSE=1"; do
    echo "self-test with $mode"
    env $mode LD_LIBRARY_PATH="$DIR" "$B/self_test"
    env $mode LD_LIBRARY_PATH="$DIR" "$B/several_test"
  done
fi
