#!/usr/bin/env bash
# run.sh [TARGET…]: fuzzes every target, or those named, until each has had an hour of one core. It takes only what other programs leave
# of the processor. Stopped and begun again it goes on: hours.tsv counts what each has had. A finding ends a target's turn. See README.md.
#
#   SECONDS_EACH   seconds of one core for each target in all, 3600 unless told
#   AT_ONCE        targets at a time, 2 unless told
set -euo pipefail
cd "$(dirname "$0")"
export each=${SECONDS_EACH:-3600} slice=300
export target=../target/fuzz programs=../target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/release

cargo fuzz build -s none -O --codegen-units 16 --fuzz-dir . --target-dir "$target"

had() { awk -v target="$1" '$1 == target { seconds = $2 } END { print seconds + 0 }' hours.tsv; }

# Adds seconds and inputs to a target's row.
note() {
  (
    flock 9
    awk -v OFS='\t' -v target="$1" -v seconds="$2" -v inputs="$3" \
      '$1 == target { $2 += seconds; $3 += inputs; found = 1 } { print } END { if (!found) print target, seconds + 0, inputs + 0 }' \
      hours.tsv > hours.tsv.new
    mv hours.tsv.new hours.tsv
  ) 9> "$target/hours.lock"
}

spent() { ps -o cputimes= -p "$1"; }

# Runs a program in the background on what others leave of the processor. Linux may divide that among sessions first, and the idle
# policy holds within one: so it gets a session of its own, which counts least.
yielding() {
  setsid chrt --idle 0 "$@" &
  fuzzer=$!
  echo 19 2> /dev/null > "/proc/$fuzzer/autogroup" || true
}

# One slice: the fuzzer is asked to stop when it has had its seconds of processor time, however long that takes.
turn() {
  local left=$((each - $(had "$1"))) name=$1 log=$target/$1.log code=0 seconds=0 now
  local most=$((left < slice ? left : slice)) options=(-rss_limit_mb=2048 -timeout=300 -report_slow_units=10 -print_final_stats=1 -close_fd_mask=1)
  [ -f "dictionaries/$name.dict" ] && options+=(-dict="dictionaries/$name.dict")
  yielding "$programs/$name" "corpus/$name" "${options[@]}" -artifact_prefix="artifacts/$name/" > "$log" 2>&1
  while now=$(spent $fuzzer) && kill -0 $fuzzer 2> /dev/null; do
    seconds=$now
    ((seconds < most)) || kill -INT $fuzzer 2> /dev/null || true
    sleep 2
  done
  wait $fuzzer || code=$?
  note "$name" "$seconds" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  # 72 and 130: it was asked to stop; 70: an input took long by the clock, which is judged alone
  [[ $code == @(0|70|72|130) ]] || { echo "FOUND: $name ended with $code, see $log"; return 1; }
  patient "$name"
}

# Inputs that took long may only have waited for the processor: those that end within ten seconds by themselves are no finding.
patient() {
  local slow
  for slow in $(find "artifacts/$1" -name 'slow-unit-*' -o -name 'timeout-*'); do
    timeout 10 "$programs/$1" "$slow" > /dev/null 2>&1 || { echo "FOUND: $1 takes long for fuzz/$slow"; return 1; }
    rm "$slow"
  done
}

hour() {
  trap 'kill $fuzzer 2> /dev/null; exit 1' INT TERM
  mkdir -p "corpus/$1" "artifacts/$1"
  SEEDS=corpus/$1 "$programs/$1"
  while (($(had "$1") < each)); do turn "$1" || return 0; done
  echo "$1: $(had "$1") s"
}

touch hours.tsv
export -f had note spent yielding turn patient hour
trap 'trap - INT TERM; kill 0' INT TERM
(($#)) || set -- $(ls fuzz_targets | sed 's/\.rs$//')
printf '%s\n' "$@" | xargs -P "${AT_ONCE:-2}" -I{} bash -O extglob -c 'hour {}'
