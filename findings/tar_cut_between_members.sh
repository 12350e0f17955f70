#!/usr/bin/env bash
# crate tar 0.4.46, Rust 1.90 or later; Python 3 with webdataset 1.0.2 (`PYTHON=… bash findings/tar_cut_between_members.sh`).
#
# Guessed: a tar file ends with two blocks of zeros, so readers of one that was cut while it was copied report an error, as
# they do where it was cut within a content.
# Seen: cut between two members, the file reads as a shorter archive, in silence, by the crate, by Python's tarfile and by
# webdataset; cut within the header of a member, also by tarfile and by webdataset. Training goes on with fewer pictures. Only
# who looks for the zeros notices.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

"${PYTHON:-python3}" - <<'PYTHON' | tee python.txt
import io, tarfile
import webdataset
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as archive:
    for number in range(3):
        member = tarfile.TarInfo(f"{number}.cls")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"7"))
# each member is a header and a block of content, 1024 bytes
for name, length in [("whole", len(out.getvalue())), ("between", 2048), ("header", 2048 + 100), ("content", 2048 + 512)]:
    with open(f"{name}.tar", "wb") as file:
        file.write(out.getvalue()[:length])
    def count(read):
        try:
            return len(read())
        except Exception as error:
            return type(error).__name__
    members = count(lambda: tarfile.open(f"{name}.tar").getmembers())
    samples = count(lambda: list(webdataset.WebDataset(f"{name}.tar", shardshuffle=False)))
    print(name, members, samples)
PYTHON

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "cut"
version = "0.1.0"
edition = "2024"
[dependencies]
tar = { version = "=0.4.46", default-features = false }
TOML
cat > src/main.rs <<'RUST'
use std::fs::File;
fn main() {
    for name in ["whole", "between", "header", "content"] {
        let mut archive = tar::Archive::new(File::open(format!("{name}.tar")).unwrap());
        let members: Result<Vec<_>, _> = archive.entries().unwrap().collect();
        println!("{name} {}", members.map_or("error".into(), |members| members.len().to_string()));
    }
}
RUST
cargo run --quiet | tee rust.txt
[ "$(cat python.txt)" = $'whole 3 3\nbetween 2 2\nheader 2 2\ncontent ReadError ReadError' ]
[ "$(cat rust.txt)" = $'whole 3\nbetween 2\nheader error\ncontent error' ]
