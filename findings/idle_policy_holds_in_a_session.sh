#!/usr/bin/env bash
# Linux 6.18 with CONFIG_SCHED_AUTOGROUP, as distributions set it; chrt and taskset of util-linux 2.38.1.
#
# Guessed: a program under SCHED_IDLE gets what all others leave of a core, whoever started them.
# Seen: it is idle only beside programs of its own session. Linux gives each session (a terminal, a service, `setsid nohup`) a group, and
# divides a core among the groups first: a loop under SCHED_IDLE in one session takes up to half of the core from a loop in another: 37 to
# 50 % in four runs. In one session it takes less than a fiftieth, and so it does where the group of its session is given the nice value 19.
set -euo pipefail
if [[ $(cat /proc/sys/kernel/sched_autogroup_enabled 2> /dev/null) != 1 ]]; then
  echo "not to be seen here: sessions have no groups of their own"
  exit 0
fi
core=$(taskset -pc $$ | sed 's/.*: //; s/[,-].*//')
pids=()
trap 'kill "${pids[@]}"' EXIT
spin() { "$@" taskset -c "$core" bash -c 'while :; do :; done' & pids+=($!); }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
# Percent of the core's time of both that the second program had in five seconds.
share() {
  sleep 0.5
  local one other
  one=$(ticks "$1") other=$(ticks "$2")
  sleep 5
  one=$(($(ticks "$1") - one)) other=$(($(ticks "$2") - other))
  echo $((100 * other / (one + other)))
}

spin setsid
spin setsid chrt --idle 0
apart=$(share "${pids[@]}")
echo 19 > "/proc/${pids[1]}/autogroup"
nice=$(share "${pids[@]}")
kill "${pids[@]}"
pids=()
spin env
spin chrt --idle 0
together=$(share "${pids[@]}")
echo "percent of an idle program beside a busy one: in a session of its own $apart, with nice 19 for that $nice, in the same session $together"
((apart >= 25 && nice <= 5 && together <= 5))
