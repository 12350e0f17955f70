#!/usr/bin/env bash
# bench_ranks.sh PROGRAM [ROUNDS [NETWORK [BATCH [STEPS]]]]: training steps of a colorizer by one process of two threads, and by two
# processes of one thread each, in turn. PROGRAM is built with the feature mpi; NETWORK is alexnet or vgg; BATCH is that of a step of all
# processes. Prints pictures per second of every round, and the median of their ratios.
set -euo pipefail
program=$(realpath "${1:?which program?}")
rounds=${2:-5} network=${3:-alexnet} batch=${4:-16} steps=${5:-40}
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cd "$home"
cat > spec.yaml <<SPEC
name: ranks
data: { source: { scenes: { train: 256, val: 8, size: 180 } }, crop: 176 }
backbone: { $network: {} }
stages:
  color:
    pretext:
      task: { colorization: {} }
      train: { steps: $steps, log_every: $((steps > 10 ? steps / 4 : 2)), batch: $batch, evaluate_every: 1000000, optimizer: { adam: { lr: 1.0e-4 } } }
SPEC
# Median of the lines after the first, which fills queues and touches memory.
rate() {
  sed 1d "$1"/ranks/color-*/metrics.jsonl | grep -o '"images_per_second":[0-9.]*' | cut -d: -f2 | sort -n | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'
}
for round in $(seq "$rounds"); do
  "$program" run -q spec.yaml --out "one$round" --threads 2 > /dev/null
  mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$program" run -q spec.yaml --out "two$round" --threads 1 > /dev/null
  echo "$(rate "one$round") $(rate "two$round")"
  rm -r "one$round" "two$round"
done | tee rates
awk '{print $2 / $1}' rates | sort -n | awk '{v[NR]=$1} END {printf "two processes against one of two threads: %.3f\n", v[int((NR+1)/2)]}'
