#!/usr/bin/env bash
# Everything a GPU machine can say about this program, run inside what scripts/gpu_pack.sh packed. Needs Python with PyTorch,
# numpy and Pillow; neither Rust nor network.
#
#   bash scripts/gpu_check.sh [--quick] [--device cuda|cpu] [--out DIR] [--only SECTION,SECTION]
#
# Sections: report, tests, bench, layers, sanitizer, ceiling, photographs, cifar, steps, resume. Each has a log in DIR; one that
# fails does not stop the others, and the exit code is then 1. Several calls with --only and the same DIR add up to one result:
# DIR/gpu_check.md (also printed) and DIR/gpu_check.json. --quick is what one short loan of an H200 has room for: report, the tests
# of gradients and oracles, both training steps beside PyTorch, the table of layers, and the written result, in eight minutes at
# most: later commands get what is left of them, and the written table names what is missing. The whole is laid out for 25, most of
# it in bench (torch.compile). --device cpu tries the script itself on tiny sizes. SANITIZE narrows the tests under
# compute-sanitizer to those whose names hold it.
set -uo pipefail
cd "$(dirname "$0")/.."

all=report,tests,bench,layers,sanitizer,ceiling,photographs,cifar,steps,resume
device=cuda; out=gpu_check_out; only=; quick=
usage() { echo "error: $*; bash scripts/gpu_check.sh [--quick] [--device cuda|cpu] [--out DIR] [--only $all]" >&2; exit 2; }
while (($#)); do
  case $1 in
    --quick) quick=1 ;;
    --device | --out | --only) (($# > 1)) || usage "$1 wants a value"; declare "${1#--}=$2"; shift ;;
    *) usage "no option $1" ;;
  esac
  shift
done
most=100000 # seconds of all commands together
[[ -z $quick || $device == cpu ]] || most=450 # and what is begun then ends
[[ -z $quick ]] || : "${only:=report,tests,bench,layers}"
: "${only:=$all}"
[[ $device == cuda || $device == cpu ]] || usage "--device $device is neither cuda nor cpu"
for section in ${only//,/ }; do [[ ,$all, == *,$section,* ]] || usage "no section $section"; done
[[ -x bin/hueristic ]] || { echo "error: no bin/hueristic here: pack with scripts/gpu_pack.sh and run this in the pack" >&2; exit 2; }
python=${PYTHON:-python3}
cores=$(nproc)
mkdir -p "$out/parts"; out=$(cd "$out" && pwd)
export HUERISTIC_DATA=$PWD/data PYTHONUNBUFFERED=1
gpu() { [[ $device == cuda ]]; }

table() { "$python" scripts/gpu_table.py "$@"; }
# within LIMIT COMMAND...: runs it with a limit in seconds, or with what is left of the time for all commands where that is less
within() {
  local left=$((most - SECONDS)) limit=$1; shift
  ((left > 0)) || { echo "error: no time is left for $*" >&2; return 124; }
  timeout --kill-after=5 $((left < limit ? left : limit)) "$@"
}
# Runs a command with a limit in seconds; it is in the log and in the JSON.
run() { local limit=$1; shift; echo "\$ $*"; within "$limit" "$@"; }
# As run; its output, JSON lines, goes to the section's data too, with KEY=VALUE,... added.
keep() {
  local keys=$1 limit=$2; shift 2
  echo "\$ $*"
  within "$limit" "$@" | table add "$keys" "$*" >> "$data"
}
skip() { echo "$*" > "$out/parts/$name.why"; return 77; }

section() {
  name=$1 data=$out/parts/$1.jsonl
  local began=$SECONDS code=0
  rm -f "$out/parts/$name".*
  : > "$data"
  "$name" > "$out/$name.log" 2>&1 || code=$?
  local status=failed
  case $code in 0) status=ok ;; 77) status=skipped ;; esac
  table status "$name" "$status" "$((SECONDS - began))" "$out" > "$out/parts/$name.status"
  echo "$name: $status, $((SECONDS - began)) s"
}

report() {
  gpu && run 30 nvidia-smi
  keep '' 120 "$python" scripts/gpu_table.py facts "$device" bin/hueristic
  run 120 bin/hueristic check experiments/gpu/steps.yaml --device "$device" --out "$out/runs/check"
}

# one_test NAME LIMIT PROGRAM OPTIONS...
one_test() {
  local title=$1 limit=$2 failures=0; shift 2
  run "$limit" "$@" --nocapture > "$out/tests_$title.log" 2>&1 || failures=1
  keep "test=$title" 30 "$python" scripts/gpu_table.py tests "$out/tests_$title.log" || failures=1
  return $failures
}
tests() {
  local test failures=0 whole=(tests/devices*) limit=300
  [[ -n $quick ]] && limit=100
  gpu || limit=900 # few cores, perhaps shared
  for test in tests/*; do
    [[ -x $test ]] || continue
    one_test "$(basename "$test")" "$limit" "$test" || failures=$((failures + 1))
  done
  # what counts for a whole process wants one
  run 60 "${whole[0]}" --ignored --nocapture --test-threads 1 || failures=$((failures + 1))
  return $((failures > 0))
}

sanitizer() {
  gpu || { skip "no GPU: --device cpu"; return; }
  command -v compute-sanitizer > /dev/null || { skip "compute-sanitizer is not installed"; return; }
  local tool failures=0 limit=${quick:+40} program=(tests/devices*)
  [[ -x ${program[0]} ]] || { echo "no tests/devices in this pack"; return 1; }
  for tool in memcheck racecheck; do
    run "${limit:-240}" compute-sanitizer --tool "$tool" --error-exitcode 9 "${program[0]}" --test-threads 1 ${SANITIZE:-} \
      > "$out/sanitizer_$tool.log" 2>&1
    local code=$?
    tail -5 "$out/sanitizer_$tool.log"
    keep "tool=$tool,code=$code" 10 "$python" scripts/gpu_table.py sanitizer "$out/sanitizer_$tool.log"
    ((code == 0 || code == 124)) || failures=1 # 124: time was up, and no error until then
    grep -q '========= ERROR SUMMARY: [1-9]' "$out/sanitizer_$tool.log" && failures=1
  done
  return $failures
}

ceiling() { keep '' 120 "$python" scripts/bench_torch.py --device "$device" --ceiling --threads "$cores"; }

# case NAME BACKBONE BATCH STEPS: ours and PyTorch's, round by round; a failure of one does not stop the others
case_of() {
  local title=$1 backbone=$2 batch=$3 steps=$4 rounds=3 readings=1 round failures=0 common ours torch
  [[ -n $quick ]] && { rounds=1; readings=2; } # torch.compile takes most of a round
  common=(--device "$device" --backbone "$backbone" --rounds "$readings" --threads "$cores")
  gpu || common+=(--size 32 --whole)
  ours=("$PWD/bin/bench_colorizer" "${common[@]}"); torch=("$python" scripts/bench_torch.py "${common[@]}")
  declare -A size=([ours]=$batch [fastest]=$batch [compiled]=$batch [eager]=$batch)
  if [[ $batch == fill ]]; then
    local most=(--most 4); gpu && most=()
    size[ours]=$(largest "${ours[@]}" --batch fill --steps 3 ${most[@]+"${most[@]}"}); size[fastest]=${size[ours]}
    size[eager]=$(largest "${torch[@]}" --batch fill --start 64 --steps 3 ${most[@]+"${most[@]}"}); size[compiled]=${size[eager]}
    [[ -n ${size[ours]} && -n ${size[eager]} ]] || failures=1
  fi
  for round in $(seq "$rounds"); do
    local tag="case=$title,round=$round"
    one "$tag,variant=ours" "${size[ours]}" "${ours[@]}" --steps "$steps" || failures=1
    one "$tag,variant=ours fastest" "${size[fastest]}" "${ours[@]}" --fastest --steps "$steps" || failures=1
    one "$tag,variant=torch compiled" "${size[compiled]}" "${torch[@]}" --compile --steps "$steps" || failures=1
    one "$tag,variant=torch eager" "${size[eager]}" "${torch[@]}" --steps "$steps" || failures=1
  done
  return $failures
}
# Every step at the largest batch is long: a few suffice. Where memory is out at another variant's size, three quarters are tried.
one() {
  local tag=$1 batch=$2; shift 2
  [[ -n $batch ]] || return 1
  keep "$tag" 300 "$@" --batch "$batch" || { [[ $tag == *fill* ]] && keep "$tag" 300 "$@" --batch $((batch * 3 / 4)); }
}
largest() {
  echo "\$ $*" >&2
  within 300 "$@" | table largest
}

bench() {
  local failures=0
  if ! gpu; then
    case_of alexnet alexnet 2 1 || failures=1
    [[ -n $quick ]] && { case_of vgg vgg 2 1 || failures=1; }
    [[ -n $quick ]] || case_of 'vgg fill' vgg fill 1 || failures=1
    return $failures
  fi
  case_of alexnet alexnet 80 20 || failures=1
  case_of vgg vgg 40 10 || failures=1
  if [[ -z $quick ]]; then
    case_of 'alexnet fill' alexnet fill 4 || failures=1
    case_of 'vgg fill' vgg fill 4 || failures=1
  fi
  return $failures
}

# Each layer alone, ours beside eager PyTorch's.
layers_of() {
  local backbone=$1 batch=$2 steps=$3 failures=0 common
  gpu || { batch=2; steps=1; }
  common=(--device "$device" --backbone "$backbone" --batch "$batch" --steps "$steps" --threads "$cores" --layers)
  gpu || common+=(--size 32)
  keep "case=$backbone" 90 "$PWD/bin/bench_colorizer" "${common[@]}" || failures=1
  keep "case=$backbone" 90 "$python" scripts/bench_torch.py "${common[@]}" || failures=1
  return $failures
}
layers() {
  local failures=0
  layers_of alexnet 80 10 || failures=1
  layers_of vgg 40 5 || failures=1
  return $failures
}

photographs() {
  local count=6000 steps=600 small=()
  [[ -n $quick ]] && { count=3000; steps=300; }
  gpu || { count=60; small=(--set colorization.train.batch=2 --set data.crop=64 --set colorization.train.log_every=2); steps=6; }
  rm -rf "$out/runs/photographs"
  run 200 "$python" scripts/gpu_photographs.py "$out/jpegs/train" "$count" || return
  run 60 "$python" scripts/gpu_photographs.py "$out/jpegs/val" 80 || return
  run 300 bin/hueristic run experiments/gpu/photographs.yaml --device "$device" --out "$out/runs/photographs" \
    --set "data.source.folder={ train: $out/jpegs/train, val: $out/jpegs/val }" --set "colorization.train.steps=$steps" ${small[@]+"${small[@]}"} || return
  keep '' 30 "$python" scripts/gpu_table.py pace "$out/runs/photographs"
}

cifar() {
  local options=() seeds=0
  [[ -n $quick ]] && options=(--set colorization.train.steps=1000 --set supervised.train.steps=1000 --set probe.train.steps=1000
    --set 'probe.train.schedule.decay.multi_step.at=[600, 850]')
  gpu || options=(--set 'data.limit={ train: 200, val: 100 }' --set colorization.train.steps=4 --set supervised.train.steps=4
    --set probe.train.steps=4 --set 'probe.train.schedule.decay.multi_step.at=[2, 3]' --set backbone.alexnet.width=0.25
    --set colorization.train.schedule.warmup=1 --set supervised.train.schedule.warmup=1 --set probe.probe.dimensions=200
    --set backbone.alexnet.fc=32)
  rm -rf "$out/runs/cifar"
  run 540 bin/hueristic run experiments/probe/cifar10_colorization.yaml --device "$device" --seeds "$seeds" --out "$out/runs/cifar" \
    ${options[@]+"${options[@]}"} || return
  keep '' 30 "$python" scripts/gpu_table.py accuracy "$out/runs/cifar"
}

# five NAME DEVICE OPTIONS...
five() {
  local folder=$out/runs/steps_$1; shift
  rm -rf "$folder"
  run 120 bin/hueristic run experiments/gpu/steps.yaml --out "$folder" --device "$@"
}
steps() {
  local failures=0
  five cpu cpu --threads 2 || return
  if gpu; then
    five f32 cuda --precision f32 && five bf16 cuda --precision bf16 || return
    keep 'precision=f32' 30 "$python" scripts/gpu_table.py losses "$out/runs/steps_cpu" "$out/runs/steps_f32" 1e-4 || failures=1
    keep 'precision=bf16' 30 "$python" scripts/gpu_table.py losses "$out/runs/steps_cpu" "$out/runs/steps_bf16" 1e-2 || failures=1
  else
    five again cpu --threads 1 || return
    keep 'precision=f32' 30 "$python" scripts/gpu_table.py losses "$out/runs/steps_cpu" "$out/runs/steps_again" 1e-4 || failures=1
  fi
  return $failures
}

# killed FROM TO: begins on one device, is killed after step 10, goes on on the other to the end
killed() {
  local folder=$out/runs/resume_$1_$2 options=(--set colorization.train.steps=60)
  options+=(--out "$folder" --precision f32)
  rm -rf "$folder"
  echo "\$ bin/hueristic run experiments/gpu/steps.yaml --device $1 ${options[*]} (killed after step 10)"
  bin/hueristic run experiments/gpu/steps.yaml --device "$1" "${options[@]}" &
  local process=$! waited=0
  until table reached "$folder" 10 || ((waited++ > 300)) || ! kill -0 "$process"; do sleep 0.2; done
  kill -9 "$process"; wait "$process"
  run 120 bin/hueristic run experiments/gpu/steps.yaml --device "$2" "${options[@]}" || return
  keep "from=$1,to=$2" 30 "$python" scripts/gpu_table.py resumed "$folder" 60
}
resume() {
  local failures=0
  killed "$device" cpu || failures=1
  if gpu; then killed cpu cuda || failures=1; fi
  return $failures
}

for section in ${all//,/ }; do
  [[ ,$only, == *,$section,* ]] && section "$section"
done
table write "$out" "$device${quick:+ quick}"
