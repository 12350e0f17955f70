#!/usr/bin/env bash
# crate candle-core 0.11.1 on the CPU, Linux, Rust 1.90 or later.
#
# Guessed: elementwise operations on more threads than there are free cores cost a little more than on one thread, as a thread pool
# that sleeps while it waits does: sums of 2^20 numbers by two threads on one core take at most twice the time of one thread.
# Seen: fifteen times as long: 0.09 milliseconds by one thread, 1.4 by two. Sums of 65,536 numbers and more are split among
# threads of a pool of their own (CANDLE_NUM_THREADS, by default RAYON_NUM_THREADS or the number of physical cores), and the caller waits
# for them in a busy loop, without giving up its core. The pool is no part of rayon's: a limit that a program sets on rayon's threads does
# not reach it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "elementwise"
version = "0.1.0"
edition = "2024"
[dependencies]
candle-core = "=0.11.1"
TOML
cat > src/main.rs <<'RUST'
use candle_core::{DType, Device, Result, Tensor};
use std::time::Instant;

/// Prints the mean time of a sum in microseconds.
fn main() -> Result<()> {
    let x = Tensor::ones(1 << 20, DType::F32, &Device::Cpu)?;
    let mut times = Vec::new();
    let end = Instant::now() + std::time::Duration::from_secs(8);
    while times.len() < 5 || Instant::now() < end && times.len() < 400 {
        let start = Instant::now();
        let _sum = (&x + &x)?;
        times.push(start.elapsed().as_micros());
    }
    let mean = times.iter().sum::<u128>() / times.len() as u128;
    println!("{mean}");
    Ok(())
}
RUST
cargo build --release --quiet
core=$(taskset -pc $$ | sed 's/.*: //; s/[-,].*//')
on_one_core() { CANDLE_NUM_THREADS=$1 taskset -c "$core" target/release/elementwise; }
one=$(on_one_core 1) two=$(on_one_core 2)
echo "a sum of 2^20 numbers on one core, in microseconds: one thread $one, two threads $two"
((two > 4 * one))
