#!/usr/bin/env bash
# crate candle-core 0.11.1 on the CPU, Rust 1.90 or later.
#
# Guessed: reductions of half-precision tensors accumulate in f32, as candle's matrix products of them, PyTorch's and every GPU kernel
# do: the sum of 1,000 ones in bf16 is 1000, their mean 1.
# Seen: sums and means add in the dtype itself. In bf16 the sum of 1,000 ones is 256, since 257 has no bf16, and the mean is 0.2559;
# 5,000 ones in f16 make 2048. It is the same along the first axis, where values are far apart, as along the last. The matrix product
# of the same ones is 1000, and so is the last element of cumsum, which is such a product.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "sums"
version = "0.1.0"
edition = "2024"
[dependencies]
candle-core = "=0.11.1"
TOML
cat > src/main.rs <<'RUST'
use candle_core::{DType, Device, Result, Tensor};

fn number(x: Tensor) -> Result<f32> {
    x.to_dtype(DType::F32)?.flatten_all()?.get(0)?.to_scalar()
}

fn main() -> Result<()> {
    let ones = |shape: (usize, usize), dtype| Tensor::ones(shape, dtype, &Device::Cpu);
    let (row, column) = (ones((1, 1000), DType::BF16)?, ones((1000, 1), DType::BF16)?);
    let sums = [number(row.sum(1)?)?, number(column.sum(0)?)?, number(row.sum_all()?)?, number(row.mean_all()?)?];
    let half = number(ones((1, 5000), DType::F16)?.sum_all()?)?;
    let (product, last) = (number(row.matmul(&column)?)?, number(row.cumsum(1)?.narrow(1, 999, 1)?)?);
    println!("{} {} {} {} {half} {product} {last}", sums[0], sums[1], sums[2], sums[3]);
    Ok(())
}
RUST
cargo build --release --quiet
seen=$(target/release/sums)
echo "sums of 1000 ones in bf16 (two axes, all), mean, 5000 ones in f16, product, cumsum: $seen"
[[ $seen == "256 256 256 0.25585938 2048 1000 1000" ]]
