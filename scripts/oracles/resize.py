"""Known answers for the resizing of pictures, from Pillow's BILINEAR: writes resize.json beside this file.

    python -m venv v && v/bin/pip install pillow==12.2.0
    v/bin/python scripts/oracles/resize.py

Pillow up to 12 goes along the rows first, always. Pillow 13.0.0 goes along the columns first where that is less work, and
differs by a level here and there; protocols were run with the former. src/data/pillow.rs reads the file.
"""

import json
import random
from pathlib import Path

from PIL import Image, __version__

assert int(__version__.split(".")[0]) <= 12, "along the rows first"
random.seed(0)
cases = []
for width, height, to in [(13, 9, (8, 5)), (13, 9, (20, 17)), (13, 9, (20, 5)), (13, 9, (8, 17)), (13, 9, (13, 4)),
                          (13, 9, (5, 9)), (1, 7, (3, 3)), (40, 3, (2, 2)), (13, 9, (12, 8))]:
    pixels = random.randbytes(3 * width * height)
    resized = Image.frombytes("RGB", (width, height), pixels).resize(to, Image.Resampling.BILINEAR)
    cases.append({"size": [width, height], "to": to, "pixels": pixels.hex(), "resized": resized.tobytes().hex()})
Path(__file__).with_suffix(".json").write_text(json.dumps({"pillow": __version__, "cases": cases}, indent=0) + "\n")
