#!/usr/bin/env bash
# crate candle-core 0.11.1, Rust 1.90 or later.
#
# Guessed: a tensor on whose values no variable depends gets no gradient: `backward` knows which nodes lead to a variable, walks those
# alone, and spends neither time nor memory on constants.
# Seen: the walk takes the nodes that lead to a variable, but each of them writes a gradient for every one of its arguments. After
# the backward pass of sum(variable * constant), the store has two gradients, and that of the 64 MB constant is 64 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "constants"
version = "0.1.0"
edition = "2024"
[dependencies]
candle-core = "=0.11.1"
TOML
cat > src/main.rs <<'RUST'
use candle_core::{DType, Device, Result, Tensor, Var};

fn main() -> Result<()> {
    let n = 16 << 20;
    let weight = Var::ones(n, DType::F32, &Device::Cpu)?;
    let constant = Tensor::ones(n, DType::F32, &Device::Cpu)?;
    let store = (weight.as_tensor() * &constant)?.sum_all()?.backward()?;
    let gradient = store.get(&constant).map_or(0, |g| g.elem_count() * 4 >> 20);
    println!("{} {} {}", constant.track_op(), gradient, store.get_ids().count());
    Ok(())
}
RUST
cargo build --release --quiet
read -r tracked mebibytes kept < <(target/release/constants)
echo "the constant is tracked: $tracked; MiB of its gradient: $mebibytes; gradients in the store: $kept"
[[ $tracked == false && $mebibytes == 64 && $kept == 2 ]]
