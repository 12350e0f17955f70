#!/usr/bin/env bash
# run.sh TARGET [SECONDS]: builds what has changed, writes the target's seeds into its corpus, and fuzzes. See README.md.
set -euo pipefail
cd "$(dirname "$0")"
target=${1:?"which target? $(ls fuzz_targets | sed 's/\.rs$//' | tr '\n' ' ')"}
seconds=${2:-3600}

# the versions of the package, so that a finding here is one there
[ Cargo.lock -nt ../Cargo.lock ] || cp ../Cargo.lock Cargo.lock
cargo fuzz build -s none -O --codegen-units 16 --fuzz-dir . "$target"

triple=$(rustc -vV | sed -n 's/^host: //p')
program=target/$triple/release/$target
mkdir -p "corpus/$target" "artifacts/$target"
SEEDS=corpus/$target "$program"

options=(-rss_limit_mb=2048 -timeout=10 -max_total_time="$seconds" -print_final_stats=1 -close_fd_mask=1)
[ -f "dictionaries/$target.dict" ] && options+=(-dict="dictionaries/$target.dict")
exec "$program" "corpus/$target" "${options[@]}" -artifact_prefix="artifacts/$target/"
