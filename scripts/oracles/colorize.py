"""Known answers for colorize, from NumPy, PyTorch and scikit-image: writes colorize.json beside this file.

    python scripts/oracles/colorize.py

`npy`: the bytes that numpy.save writes. `grays`: L of the sRGB gray (R+G+B)/3. `pictures`: ab at labels enlarged by
torch's bilinear interpolate (`full`; `two_step` by way of the size that the network saw) and put over a picture's L by skimage's lab2rgb. tests/surface/colorize.rs reads the file.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch
from skimage.color import lab2rgb, rgb2lab


def saved(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue().hex()


def arrays():
    return [
        {"type": "f4", "shape": [3, 2, 2], "bytes": saved(np.arange(12, dtype="<f4").reshape(3, 2, 2) / 7)},
        {"type": "f8", "shape": [5], "bytes": saved(np.arange(5, dtype="<f8") / 7)},
        {"type": "f4", "shape": [1, 1, 313], "bytes": saved(np.arange(313, dtype="<f4").reshape(1, 1, 313) / 7)},
    ]


def grays(rng):
    rgb = rng.integers(0, 256, (40, 3))
    gray = np.repeat(rgb.mean(1, keepdims=True), 3, 1) / 255
    return {"rgb": rgb.tolist(), "l": rgb2lab(gray[:, None])[:, 0, 0].tolist()}


def picture(rng, height, width, h, w):
    """The network saw the picture at 4h × 4w."""
    rgb = rng.integers(40, 216, (height, width, 3))
    ab = rng.uniform(-25, 25, (h, w, 2)).astype("<f4")
    labels = torch.from_numpy(ab).permute(2, 0, 1)[None]
    enlarge = lambda x: torch.nn.functional.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
    full = enlarge(labels)[0].permute(1, 2, 0).numpy()
    # the authors' release: a layer of the network, then the picture's size
    steps = enlarge(torch.nn.Upsample(scale_factor=4, mode="bilinear")(labels))[0].permute(1, 2, 0).numpy()
    lab = np.concatenate([rgb2lab(rgb / 255.0)[:, :, :1], full], 2)
    result = np.rint(255 * np.clip(lab2rgb(lab), 0, 1)).astype(int)
    return {"size": [height, width], "labels": [h, w], "rgb": rgb.ravel().tolist(), "ab": ab.ravel().tolist(),
            "full": full.ravel().tolist(), "two_step": steps.ravel().tolist(), "result": result.ravel().tolist()}


def main():
    rng = np.random.default_rng(0)
    out = {
        "npy": arrays(),
        "grays": grays(rng),
        "pictures": [picture(rng, 12, 20, 3, 5), picture(rng, 17, 23, 2, 3), picture(rng, 5, 6, 4, 4)],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")


main()
