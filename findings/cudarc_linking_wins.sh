#!/usr/bin/env bash
# crate cudarc 0.19.10, Rust 1.90 or later, a C compiler; no CUDA, GPU or driver.
#
# Guessed: features of a crate add up, so whoever depends on a crate that asks for cudarc's `dynamic-linking` (as candle-core
# 0.11.1 does) can switch to loading by naming cudarc too, with `dynamic-loading`, or with `fallback-dynamic-loading`, which is
# among cudarc's defaults.
# Seen: `dynamic-loading` beside `dynamic-linking` panics in cudarc's build script; `fallback-dynamic-loading` only counts where
# no other feature decides, so the program is linked as before. Nobody but the crate that asks for linking can take it back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export CUDARC_CUDA_VERSION=13000 CARGO_TARGET_DIR=$folder/target

mkdir -p links/src user/src
cat > links/Cargo.toml <<'TOML'
[package]
name = "links"
version = "0.1.0"
edition = "2024"
[dependencies]
cudarc = { version = "=0.19.10", default-features = false, features = ["std", "driver", "dynamic-linking"] }
TOML
# Refers to the driver, and calls it only when asked to.
cat > links/src/lib.rs <<'RUST'
pub fn start() {
    if std::env::args().count() > 1 {
        unsafe { cudarc::driver::sys::cuInit(0) };
    }
}
RUST
echo 'fn main() { links::start(); println!("started"); }' > user/src/main.rs

# user FEATURE LINKS: the program, naming cudarc with a feature, on a crate that asks for LINKS
user() {
  sed -i "s/\"driver\".*\]/\"driver\"$2]/" links/Cargo.toml
  cat > user/Cargo.toml <<TOML
[package]
name = "user"
version = "0.1.0"
edition = "2024"
[dependencies]
links = { path = "../links" }
cudarc = { version = "=0.19.10", default-features = false, features = ["$1"] }
TOML
  cargo run --quiet --manifest-path user/Cargo.toml > said.txt 2>&1
}
said() { grep -q "$1" said.txt || { cat said.txt >&2; echo "not said: $1" >&2; exit 1; }; }

linking=', "dynamic-linking"'
! user dynamic-loading "$linking" || { echo "both features are taken together" >&2; exit 1; }
said 'Both `dynamic-loading` and `dynamic-linking` features are active'
! user fallback-dynamic-loading "$linking" || { echo "the fallback wins over linking" >&2; exit 1; }
said 'lcuda'
# The fallback does load where nothing asks for linking: the program starts without a driver.
user fallback-dynamic-loading ''
said '^started$'
echo "cudarc: dynamic-linking, once asked for, stands"
