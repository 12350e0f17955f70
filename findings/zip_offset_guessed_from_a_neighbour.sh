#!/usr/bin/env bash
# crate zip 9.8.1, Rust 1.90 or later, Python 3 (standard library).
#
# Guessed: a zip archive that begins at byte 0 of a file is read whatever its entries are called, since the end record says
# where the central directory lies, and Python's zipfile, unzip and libzip read it.
# Seen: PyTorch's writer puts the two end records for large archives (76 bytes) between the directory and the usual end
# record, also in small archives, whose usual end record is complete and needs neither. `ZipArchive::new` then takes the
# directory to begin (size of the directory) bytes before the usual end record, 76 bytes late. Where no header lies there, it
# falls back to what the record says; where the first header is itself 76 bytes long (46 + a name of 30 letters, as for
# `data.pkl` in a file saved under a stem of 21), the second header does lie there, and the archive, shifted by 76 bytes, cannot
# be opened. With `ArchiveOffset::Known(0)` it is read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 - <<'PYTHON'
import io, struct, zipfile
for letters in (20, 21, 22):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("data.pkl", "data/0", "version"):
            archive.writestr(zipfile.ZipInfo("s" * letters + "/" + name), b"abc")
    data = out.getvalue()
    end = data.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack("<HII", data[end + 10 : end + 20])
    large = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 798, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    whole = data[:end] + large + locator + data[end:]
    open(f"{letters}.zip", "wb").write(whole)
    assert zipfile.ZipFile(f"{letters}.zip").testzip() is None
PYTHON

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "offset"
version = "0.1.0"
edition = "2024"
[dependencies]
zip = { version = "=9.8.1", default-features = false }
TOML
cat > src/main.rs <<'RUST'
use std::fs::File;
use zip::{ZipArchive, read::{ArchiveOffset, Config}};
fn main() {
    for letters in [20, 21, 22] {
        let file = || File::open(format!("{letters}.zip")).unwrap();
        let guessed = ZipArchive::new(file()).is_ok_and(|archive| archive.len() == 3);
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let known = ZipArchive::with_config(config, file()).is_ok_and(|archive| archive.len() == 3);
        println!("{letters} {guessed} {known}");
    }
}
RUST
seen=$(cargo run --quiet)
echo "$seen"
[ "$seen" = $'20 true true\n21 false true\n22 true true' ]
