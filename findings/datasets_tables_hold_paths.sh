#!/usr/bin/env bash
# Versions: datasets 5.2.0, pillow 13.0.0, pyarrow 26.0.1, Python 3.11.
# Guessed: `load_dataset("imagefolder").to_parquet(...)` writes the pictures into the table, as `push_to_hub` does, so that the
#   file can be moved; and a palette picture that is given as a PIL image is written as PNG, like every other one.
# Seen: the table holds null for the bytes of every picture and the absolute path of its file on the machine that wrote it:
#   moved elsewhere, it holds no pictures. A palette picture (mode P) that never was a file is written as TIFF; RGB as PNG.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 pyarrow==26.0.1
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1

venv/bin/python - <<'PY'
import os
import datasets, pyarrow.parquet as pq
from PIL import Image

for name, value in (("cat", 40), ("dog", 200)):
    os.makedirs(f"pictures/{name}")
    Image.new("RGB", (5, 4), (value, 2, 3)).save(f"pictures/{name}/0.png")
datasets.load_dataset("imagefolder", data_dir="pictures", split="train").to_parquet("folder.parquet")
rows = pq.read_table("folder.parquet").column("image").to_pylist()
print(rows)
assert [row["bytes"] for row in rows] == [None, None]
assert all(os.path.isabs(row["path"]) and os.path.isfile(row["path"]) for row in rows)

features = datasets.Features({"image": datasets.Image()})
given = [Image.new("P", (5, 4), 3), Image.new("RGB", (5, 4), (9, 9, 9))]
datasets.Dataset.from_dict({"image": given}, features=features).to_parquet("given.parquet")
rows = pq.read_table("given.parquet").column("image").to_pylist()
starts = [row["bytes"][:4] for row in rows]
print(starts)
assert starts == [b"II*\0", b"\x89PNG"]
PY
echo "as seen"
