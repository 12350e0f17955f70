"""Known answers for the JPEG decoder, from libjpeg-turbo by way of Pillow: writes jpeg.json beside this file.

    python -m venv v && v/bin/pip install pillow==13.0.0 imagecodecs numpy     (libjpeg-turbo 3.2.0)
    v/bin/python scripts/oracles/jpeg.py

`files`: pictures of 19 × 13 pixels in every chroma subsampling, baseline and progressive, with restart markers, gray, RGB
and CMYK, each with the pixels that libjpeg-turbo decodes. tests/data/decode.rs reads the file.
"""

import io
import json
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

y, x = np.mgrid[0:13, 0:19].astype(float)
waves = [127 + 120 * np.sin(x / 3 + y / 5), 127 + 120 * np.sin(x / 7 - y / 2 + 1), 127 + 120 * np.cos(x * y / 31)]
picture = Image.fromarray(np.clip(np.stack(waves, -1), 0, 255).astype(np.uint8))


def saved(image=picture, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 70, **options})
    return out.getvalue()


files = {
    "444": saved(subsampling="4:4:4"),
    "422": saved(subsampling="4:2:2"),
    "420": saved(subsampling="4:2:0"),
    "411": saved(subsampling="4:1:1"),
    "440": imagecodecs.jpeg8_encode(np.asarray(picture), level=70, subsampling="440"),
    "progressive 420": saved(subsampling="4:2:0", progressive=True),
    "restarts": saved(subsampling="4:2:0", restart_marker_blocks=1),
    "gray": saved(picture.convert("L")),
    "rgb": saved(keep_rgb=True, subsampling="4:4:4"),
    "cmyk": saved(picture.convert("CMYK")),
}


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).tobytes()


out = {name: {"file": data.hex(), "pixels": decoded(data).hex()} for name, data in files.items()}
Path(__file__).with_suffix(".json").write_text(json.dumps({"width": 19, "height": 13, "files": out}, indent=0) + "\n")
