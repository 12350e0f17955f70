"""Known answers for tests/networks/conventions.rs: tests/fixtures/weights/conventions/.

A narrow AlexNet of each convention in which released ones differ, with random weights, in the format and under the
names in which such networks are found:

    caffenet.caffemodel      form of 2013; BGR less its mean, groups, pool then response normalization; heads of a task
    krizhevsky.caffemodel    today's form, with layers that hold no numbers; normalization then pool
    noroozi.caffemodel       stride 2 in conv1; columns that share their weights, `conv1_s1` … `conv1_s3`
    split_brain.pth          Lab; batch normalization kept, no biases, names under `net.`
    torchvision.pth          RGB in units of its deviation; one tower, conv1 padded, pools that round down
    donahue.safetensors      BGR from -1 to 1; leaky ReLUs, flat fully connected weights
    answers.safetensors      `NAME.input` (a corner) and `NAME.TAP` for the picture of `picture`, (1, C, H, W)

The nets are PyTorch's, response normalization included; Caffe's messages are those of weights_formats.py. CaffeNet is
also run on 227 pixels, where its fully connected layers fit.

    python scripts/oracles/alexnet_conventions.py
"""

import json
import pathlib

import numpy as np
import torch
from skimage.color import rgb2lab
from torch import nn

from weights_formats import V1, field, layer, v1_layer

OUT = pathlib.Path(__file__).parents[2] / "tests" / "fixtures" / "weights" / "conventions"
FC = 2


def save_file(tensors, path):
    """safetensors: the length of a JSON header, the header, the numbers."""
    header, data = {}, b""
    for name in sorted(tensors):
        raw = tensors[name].detach().contiguous().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def picture(side):
    """Integer arithmetic, so that the test makes the same one: (H, W, 3) bytes, RGB."""
    y, x, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    return ((37 * y + 91 * x + 53 * c + y * x) % 256).astype(np.uint8)


def read(rgb, convention):
    x = rgb.astype("f8")
    if convention == "bgr_mean":
        x = x[..., ::-1] - np.array([103.939, 116.779, 123.68])
    if convention == "bgr_signed":
        x = x[..., ::-1] / 127.5 - 1
    if convention == "rgb_unit":
        x = (x / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    if convention == "lab":
        x = rgb2lab(rgb) - np.array([50.0, 0, 0])
    return torch.tensor(np.ascontiguousarray(x.transpose(2, 0, 1))[None], dtype=torch.float32)


class Net(nn.Module):
    """Rows by name in the order of computation; a tap is what leaves a row, after its ReLU."""

    def __init__(self, channels=(8,) * 5, groups=2, stride=4, pad=0, lrn=None, leak=0.0, norm=False, ceil=True):
        super().__init__()
        c, bias = channels, not norm
        self.conv1 = nn.Conv2d(3, c[0], 11, stride, pad, bias=bias)
        self.conv2 = nn.Conv2d(c[0], c[1], 5, 1, 2, groups=groups, bias=bias)
        self.conv3 = nn.Conv2d(c[1], c[2], 3, 1, 1, bias=bias)
        self.conv4 = nn.Conv2d(c[2], c[3], 3, 1, 1, groups=groups, bias=bias)
        self.conv5 = nn.Conv2d(c[3], c[4], 3, 1, 1, groups=groups, bias=bias)
        self.fc6, self.fc7, self.fc8 = nn.Linear(c[4] * 36, FC), nn.Linear(FC, FC), nn.Linear(FC, 3)
        if norm:
            for n in range(1, 6):
                self.add_module(f"bn{n}", nn.BatchNorm2d(c[n - 1], affine=False))
        self.leak, self.pool = leak, nn.MaxPool2d(3, 2, ceil_mode=ceil)
        self.rows = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
        if lrn:
            for n in (1, 2):
                at = self.rows.index(f"pool{n}") + (lrn == "pool_norm")
                self.rows.insert(at, f"norm{n}")
        self.lrn = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)

    def taps(self, x, fully=False):
        out = {}
        for row in self.rows + (["fc6", "fc7", "fc8"] if fully else []):
            if row.startswith("pool"):
                x = self.pool(x)
            elif row.startswith("norm"):
                x = self.lrn(x)
            else:
                x = getattr(self, row)(x.flatten(1) if row == "fc6" else x)
                if hasattr(self, norm := row.replace("conv", "bn")) and norm != row:
                    x = getattr(self, norm)(x)
                x = x if row == "fc8" else nn.functional.leaky_relu(x, self.leak)
            out[row] = x[..., None, None] if row.startswith("fc") else x
        return out


def randomize(net, unit, seed):
    """`unit` brings the input to about 1, so that every layer works at its usual scale."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            # responses of about 100, where the normalization bites as in the trained network
            scale = {"conv1": 100 * unit, "fc6": 0.01}.get(name, 1.0)
            module.weight.data.normal_(generator=generator).mul_(scale * (2 / fan_in) ** 0.5)
            if module.bias is not None:
                module.bias.data.normal_(generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.running_var.mul_(1000.0 if name == "bn1" else 1.0)
    return net.eval()


CONVS, FULLY = [f"conv{n}" for n in range(1, 6)], ["fc6", "fc7", "fc8"]


def arrays(module):
    return [module.weight.detach().numpy(), module.bias.detach().numpy()]


def kind(name):
    return "InnerProduct" if name.startswith("fc") else "Convolution"


def caffe_2013(net):
    out = field(1, "CaffeNet") + v1_layer("data", "Data", [])
    for name in CONVS + FULLY:
        out += v1_layer(name, kind(name), arrays(getattr(net, name))) + v1_layer("relu_" + name, "ReLU", [])
        if name in ("conv1", "conv2"):
            out += v1_layer("norm" + name[-1], "LRN", [])
    return out + v1_layer("cls_score", "InnerProduct", [np.ones((4, FC)), np.zeros(4)])


def caffe_today(net):
    out = field(1, "AlexNet")
    for name in CONVS + FULLY:
        out += layer(name, kind(name), arrays(getattr(net, name))) + layer("relu_" + name, "ReLU", [])
        if name in ("conv1", "conv2"):
            out += layer("norm" + name[-1], "LRN", []) + layer("pool" + name[-1], "Pooling", [])
    return out


def caffe_columns(net):
    out = field(1, "jigsaw")
    for column in ("_s1", "_s2", "_s3"):
        for name in CONVS + ["fc6"]:
            # the others hold little here, to keep the file small
            blobs = arrays(getattr(net, name)) if column == "_s1" else [np.zeros((1, 1, 1, 1))]
            out += layer(name + column, kind(name) if column == "_s1" else "Convolution", blobs)
    return out + layer("fc7", "InnerProduct", arrays(net.fc7)) + layer("fc8", "InnerProduct", arrays(net.fc8))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    V1["LRN"] = 15
    nets = {
        "caffenet": (Net(lrn="pool_norm"), "bgr_mean", 55, 1 / 70),
        "krizhevsky": (Net(lrn="norm_pool"), "bgr_mean", 55, 1 / 70),
        "noroozi": (Net(lrn="pool_norm", stride=2), "bgr_mean", 33, 1 / 70),
        "split_brain": (Net(norm=True), "lab", 55, 1 / 40),
        "torchvision": (Net((8, 8, 16, 8, 8), groups=1, pad=2, ceil=False), "rgb_unit", 63, 1.0),
        "donahue": (Net(leak=0.2), "bgr_signed", 55, 1.0),
    }
    answers = {}
    with torch.no_grad():
        for seed, (name, (net, convention, side, unit)) in enumerate(nets.items()):
            randomize(net, unit, seed)
            x = read(picture(side), convention)
            answers[f"{name}.input"] = x[:, :, :4, :4]
            # conv1 shows in pool1; its maps are the largest
            taps = {tap: y for tap, y in net.taps(x).items() if tap != "conv1" or name == "caffenet"}
            answers |= {f"{name}.{tap}": y for tap, y in taps.items()}
        whole = nets["caffenet"][0].taps(read(picture(227), "bgr_mean"), fully=True)
        answers |= {f"caffenet.{name}": whole[name] for name in FULLY}
    save_file(answers, OUT / "answers.safetensors")
    (OUT / "caffenet.caffemodel").write_bytes(caffe_2013(nets["caffenet"][0]))
    (OUT / "krizhevsky.caffemodel").write_bytes(caffe_today(nets["krizhevsky"][0]))
    (OUT / "noroozi.caffemodel").write_bytes(caffe_columns(nets["noroozi"][0]))
    state = {f"net.{name}": t for name, t in nets["split_brain"][0].state_dict().items()}
    torch.save(state | {"head.weight": torch.ones(2, 2)}, OUT / "split_brain.pth")
    numbers = dict(zip(CONVS, (0, 3, 6, 8, 10))), dict(zip(FULLY, (1, 4, 6)))
    theirs = {o: f"features.{n}" for o, n in numbers[0].items()} | {o: f"classifier.{n}" for o, n in numbers[1].items()}
    state = nets["torchvision"][0].state_dict()
    torch.save({f"{theirs[n.split('.')[0]]}.{n.split('.')[1]}": t for n, t in state.items()}, OUT / "torchvision.pth")
    save_file(nets["donahue"][0].state_dict(), OUT / "donahue.safetensors")
    print({name: y.abs().max().item() for name, y in answers.items() if "norm" in name or "5" in name or "fc" in name})


main()
