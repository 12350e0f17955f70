"""Known answers for random views and the contrastive loss: crops that are resized (Pillow), changes of color (torchvision and
colorsys), Gaussian blur (torchvision), NT-Xent and its gradient (PyTorch, f64). Writes augment.json beside this file.

    python -m venv v && v/bin/pip install torch torchvision pillow
    v/bin/python scripts/oracles/augment.py

src/pretext/augment.rs and tests/operations/oracles.rs read the file.
"""

import colorsys
import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as T
from PIL import Image

random.seed(3)
torch.manual_seed(3)


def rounded(numbers, digits=7):
    return [float(f"{number:.{digits}g}") for number in numbers]


def crops():
    """Boxes (top, left, height, width) of a picture of one channel, resized to squares."""
    width, height = 23, 17
    pixels = [random.randrange(256) for _ in range(width * height)]
    picture = Image.new("F", (width, height))
    picture.putdata([float(pixel) for pixel in pixels])
    cases = []
    for top, left, h, w, side in [(0, 0, 17, 23, 8), (3, 5, 12, 9, 8), (4, 2, 5, 6, 8), (1, 1, 16, 22, 5), (2, 10, 8, 8, 8)]:
        resized = picture.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
        cases.append({"at": [top, left], "size": [h, w], "side": side, "pixels": rounded(resized.get_flattened_data())})
    return {"size": [height, width], "pixels": pixels, "cases": cases}


def saturated(rgb, factor):
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb(h, min(s * factor, 1.0), v)


def colors():
    """Pixels in [0, 1] and what each change makes of them."""
    pixels = [[random.random() for _ in range(3)] for _ in range(40)] + [[0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [1.0, 0.25, 0.25]]
    tensor = torch.tensor(pixels, dtype=torch.float64).T.reshape(3, 1, -1)
    flat = lambda changed: rounded(changed.reshape(3, -1).T.flatten().tolist())
    turns = [0.08, -0.3, 0.5]
    factors = [0.0, 0.6, 1.7]
    means = tensor.mean((1, 2), keepdim=True)
    return {
        "pixels": rounded([value for pixel in pixels for value in pixel], 9),
        "hue": [{"amount": t, "pixels": flat(T.adjust_hue(tensor, t))} for t in turns],
        "saturation": [{"amount": f, "pixels": rounded([v for p in pixels for v in saturated(p, f)])} for f in factors],
        "brightness": [{"amount": f, "pixels": flat(T.adjust_brightness(tensor, f))} for f in factors],
        "contrast": [{"amount": f, "pixels": flat((means + f * (tensor - means)).clamp(0, 1))} for f in factors],
        "gray": flat(T.rgb_to_grayscale(tensor, num_output_channels=3)),
    }


def blurs():
    """The inside of a blurred picture, whose border is out of the kernel's reach."""
    picture = torch.rand(1, 30, 30, dtype=torch.float64)
    cases = []
    for deviation in [0.4, 1.3]:
        blurred = T.gaussian_blur(picture, [3, 3], [deviation, deviation])[0, 1:-1, 1:-1]
        cases.append({"deviation": deviation, "pixels": rounded(blurred.flatten().tolist())})
    return {"side": 30, "pixels": rounded(picture.flatten().tolist(), 9), "cases": cases}


def contrastive():
    z = torch.randn(10, 6, dtype=torch.float64, requires_grad=True)
    cases = []
    for temperature in [0.1, 0.5]:
        unit = F.normalize(z)
        cosines = unit @ unit.T / temperature
        cosines = cosines.masked_fill(torch.eye(10, dtype=torch.bool), float("-inf"))
        loss = F.cross_entropy(cosines, (torch.arange(10) + 5) % 10)
        (dz,) = torch.autograd.grad(loss, z)
        cases.append({"temperature": temperature, "loss": float(loss.detach()), "dz": rounded(dz.flatten().tolist(), 9)})
    return {"rows": 10, "z": rounded(z.flatten().tolist(), 12), "cases": cases}


answers = {"crops": crops(), "colors": colors(), "blurs": blurs(), "contrastive": contrastive()}
Path(__file__).with_suffix(".json").write_text(json.dumps(answers) + "\n")
