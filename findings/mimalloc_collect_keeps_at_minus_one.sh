#!/usr/bin/env bash
# crates mimalloc 0.1.52 and libmimalloc-sys 0.1.49, Rust 1.90 or later, a C compiler; Linux.
#
# Guessed: `mi_option_purge_delay` −1 ("never purge") only stops the allocator from giving memory back by itself, and
# `mi_collect(true)`, a forced collection, gives back what is free at any setting.
# Seen: at −1 the forced collection returns nothing to the system; with a delay too long to pass (a week) nothing is given back
# by itself either, and the forced collection returns nearly all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "collect"
version = "0.1.0"
edition = "2024"
[dependencies]
mimalloc = "=MIMALLOC"
libmimalloc-sys = { version = "=SYS", features = ["extended"] }
TOML
cat > src/main.rs <<'RUST'
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;
const PURGE_DELAY: i32 = 15;

/// MiB of this process in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096 >> 20
}

fn main() {
    let delay = std::env::args().nth(1).unwrap().parse().unwrap();
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, delay) };
    let blocks: Vec<Vec<u8>> = (0..2048).map(|i| vec![i as u8 | 1; 65536]).collect();
    let full = resident();
    drop(blocks);
    let freed = resident();
    unsafe { libmimalloc_sys::mi_collect(true) };
    println!("{full} {freed} {}", resident());
}
RUST
sed -i "s/MIMALLOC/${MIMALLOC:-0.1.52}/; s/SYS/${SYS:-0.1.49}/" Cargo.toml
cargo build --release --quiet

week=$((7 * 24 * 3600 * 1000))
read -r _ _ never < <(target/release/collect -1)
read -r full freed later < <(target/release/collect $week)
echo "MiB resident after a forced collection: $never at a delay of -1, $later at a week ($freed before it, $full in use)"
((freed > 100)) || { echo "CHANGED: a week's delay no longer keeps what is freed"; exit 1; }
((never > 100)) || { echo "CHANGED: at -1 a forced collection gives memory back"; exit 1; }
((later < 40)) || { echo "CHANGED: at a week a forced collection keeps the memory"; exit 1; }
