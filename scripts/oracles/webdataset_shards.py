"""What the package `webdataset` (1.0.2) reads in shards, for tests/data/shards/webdataset.rs, which runs this script.

  python webdataset_shards.py FOLDER

Writes theirs-000000.tar … with its ShardWriter, with keys in folders and extensions in capitals, reads these and ours-*.tar
as its users do, and prints for each the list of [key, class, first byte of the first pixel]. Ends with 3 without the package.
"""
import glob
import io
import json
import os
import sys

try:
    import numpy as np
    import webdataset
    from PIL import Image
except ImportError as missing:
    print(missing, file=sys.stderr)
    sys.exit(3)


def png(value):
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(out, "PNG")
    return out.getvalue()


def samples(pattern):
    paths = sorted(glob.glob(pattern))
    data = webdataset.WebDataset(paths, shardshuffle=False).decode("rgb8").to_tuple("__key__", "cls", "png;jpg")
    return [[key, int(label), int(image[0, 0, 0])] for key, label, image in data]


folder = sys.argv[1]
os.environ["GOPEN_VERBOSE"] = "0"
with webdataset.ShardWriter(os.path.join(folder, "theirs-%06d.tar"), maxcount=5, verbose=0) as writer:
    for number in range(13):
        key = f"part.{number % 2}/{number:04d}"
        writer.write({"__key__": key, "PNG": png(number), "cls": number % 3, "seg.png": png(0), "json": {"label": 9}})
print(json.dumps({who: samples(os.path.join(folder, f"{who}-*.tar")) for who in ("ours", "theirs")}))
