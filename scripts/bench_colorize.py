"""What `hueristic colorize` is compared with: the same photographs through the same network in PyTorch eager.

    python scripts/bench_colorize.py make DIR [--pictures 16]     # 256x256 PNGs in DIR/pictures, DIR/eccv16.pth
    python scripts/bench_colorize.py torch DIR [--limit N] [--threads 2]

`make` writes the full-width network in the released layout with random weights: time does not depend on their values. `torch` colors the
first N pictures (PNG in, PNG out) and prints one JSON line: seconds from loaded to written for each, and for the whole process but
the interpreter's own start. scripts/bench_colorize.sh runs both sides.
"""
import argparse
import json
import pathlib
import time

START = time.perf_counter()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from skimage import color, io  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def block(i, o, convs, stride=1, dilation=1):
    layers = []
    for n in range(convs):
        layers += [nn.Conv2d(o if n else i, o, 3, stride if n == convs - 1 else 1, dilation, dilation), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.BatchNorm2d(o))


class Eccv16(nn.Module):
    """The released layout: its names, its scale of the input, its decoding layer."""

    def __init__(self):
        super().__init__()
        self.model1, self.model2, self.model3 = block(1, 64, 2, 2), block(64, 128, 2, 2), block(128, 256, 3, 2)
        self.model4, self.model5 = block(256, 512, 3), block(512, 512, 3, dilation=2)
        self.model6, self.model7 = block(512, 512, 3, dilation=2), block(512, 512, 3)
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(512, 256, 4, 2, 1), nn.ReLU(True), nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(True),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(True), nn.Conv2d(256, 313, 1),
        )
        self.model_out = nn.Conv2d(313, 2, 1, bias=False)

    def forward(self, light):
        x = (light - 50) / 100
        for n in range(1, 9):
            x = getattr(self, f"model{n}")(x)
        return 110 * F.interpolate(self.model_out(x.softmax(1)), scale_factor=4, mode="bilinear", align_corners=False)


def bins():
    """The 313 centers, as the oracle of the color tests holds them."""
    oracle = json.loads((pathlib.Path(__file__).parent / "oracles" / "color.json").read_text())
    return np.array(oracle["bins"], dtype=np.float32)


def make(folder, pictures):
    torch.manual_seed(0)
    net = Eccv16()
    with torch.no_grad():
        net.model_out.weight.copy_(torch.from_numpy(bins().T.copy()).reshape(2, 313, 1, 1) / 110)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), folder / "eccv16.pth")
    y, x = np.mgrid[0:256, 0:256]
    for i in range(pictures):
        wave = np.stack([127 + 120 * np.sin(x / (7 + i) + c) * np.cos(y / (11 + i) - c) for c in range(3)], -1)
        io.imsave(folder / "pictures" / f"{i:02}.png", wave.astype(np.uint8), check_contrast=False)


def run(folder, limit):
    net = Eccv16().eval()
    net.load_state_dict(torch.load(folder / "eccv16.pth", weights_only=True))
    (folder / "torch").mkdir(exist_ok=True)
    each = []
    with torch.inference_mode():
        for path in sorted((folder / "pictures").glob("*.png"))[:limit]:
            begun = time.perf_counter()
            lab = color.rgb2lab(io.imread(path)).astype(np.float32)
            ab = net(torch.from_numpy(lab[None, None, :, :, 0]))[0].permute(1, 2, 0).numpy()
            rgb = color.lab2rgb(np.concatenate([lab[:, :, :1], ab], 2))
            io.imsave(folder / "torch" / path.name, (255 * rgb).round().astype(np.uint8), check_contrast=False)
            each.append(time.perf_counter() - begun)
    print(json.dumps({"who": "torch", "seconds_each": each, "seconds_process": time.perf_counter() - START}))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["make", "torch"])
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--pictures", type=int, default=16)
    p.add_argument("--limit", type=int, default=None)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == "make":
        make(args.folder, args.pictures)
    else:
        run(args.folder, args.limit)


if __name__ == "__main__":
    main()
