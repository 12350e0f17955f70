#!/bin/bash
# Pillow 12.2.0 and 13.0.0, NumPy 2.3.5, Python 3.11.
#
# Guessed: Image.resize filters along the rows first and rounds to bytes between its two passes, always (the order of
# ImagingResampleInner since Pillow 2.7), so that resize((W, H)) equals resize((W, h)).resize((W, H)) in every pixel.
#
# Seen: so it is up to 12.2.0. 13.0.0 filters along the columns first where that is less work: when the width grows and the
# height shrinks, and for some that shrink both ways. The two orders round differently between the passes, so the same call
# on the same pixels gives other levels (by 1) in about a fifth of them than the version before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/order.py" <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image

rng = np.random.default_rng(0)


def first(width, height, to):
    """Along which axis `resize` goes first."""
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    bilinear = Image.Resampling.BILINEAR
    whole = np.asarray(picture.resize(to, bilinear))
    rows = np.asarray(picture.resize((to[0], height), bilinear).resize(to, bilinear))
    columns = np.asarray(picture.resize((width, to[1]), bilinear).resize(to, bilinear))
    assert (rows != columns).any()
    assert np.abs(rows.astype(int) - columns).max() == 1
    return {(True, False): "rows", (False, True): "columns"}[(whole == rows).all(), (whole == columns).all()]


sizes = {"wider and lower": (50, 37, (100, 20)), "narrower and higher": (50, 37, (30, 80)), "larger": (50, 37, (100, 80)),
         "smaller": (500, 375, (341, 256)), "much lower, a little narrower": (46, 34, (36, 9))}
orders = {name: first(*size) for name, size in sizes.items()}
print(PIL.__version__, orders)
always = dict.fromkeys(sizes, "rows")
expected = always if sys.argv[1] == "12.2.0" else always | {"wider and lower": "columns", "much lower, a little narrower": "columns"}
assert (PIL.__version__, orders) == (sys.argv[1], expected), expected
PY
for version in 12.2.0 13.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" -q install "pillow==$version" numpy==2.3.5
    "$folder/$version/bin/python" "$folder/order.py" "$version"
done
echo "as found"
