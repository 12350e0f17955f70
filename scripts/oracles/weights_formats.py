"""Weight files as PyTorch and Caffe write them, and what the networks in them compute: tests/fixtures/weights/.

Narrow relatives of the released networks, with random weights, statistics and scales:

    eccv16.pth               the VGG colorizer in the names and units of the PyTorch release, zip archive
    vgg_colorizer.caffemodel the VGG colorizer in Caffe's form of today, with the helper layers of the deploy graph
    alexnet_colorizer.caffemodel   the AlexNet colorizer, form of today
    caffenet.caffemodel      a classifier in the form of 2013 (`layers`, four numbers for a shape)
    vgg16.caffemodel         the same for VGG-16
    vgg16_legacy.pth         torchvision's VGG-16 under `state_dict` and `module.`, in PyTorch's older form
    alexnet.pth              torchvision's AlexNet, pickle protocol 4
    mixed.pth                element types, views that share a storage, transposed and strided views
    expected.json            shapes and checksums of every tensor, and logits for the input of `picture`

A checksum is the sum over the tensor in memory order (convolutions (O, KH, KW, I)) of value · (index mod 97 + 1).
Caffe is not needed: its messages are written byte by byte.

    python scripts/oracles/weights_formats.py            # write the fixtures
    python scripts/oracles/weights_formats.py check A.pth B.pth   # load with weights_only and compare, bit by bit
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
from scipy.spatial import ConvexHull
from torch import nn

OUT = pathlib.Path(__file__).parents[2] / "tests" / "fixtures" / "weights"
COLORS = 313
SHARPNESS = 2.606


# --- networks ------------------------------------------------------------------------------------------------------


def randomize(net):
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=(2 / fan_in) ** 0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.3, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(17)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
    return net.eval()


BLOCKS = [(2, 2, 1), (2, 2, 1), (3, 2, 1), (3, 1, 1), (3, 1, 2), (3, 1, 2), (3, 1, 1)]


class VggColorizer(nn.Module):
    """Sequences called model1 … model8, as in the release; `width` channels everywhere."""

    def __init__(self, width, affine):
        super().__init__()
        inputs = 1
        for number, (convs, stride, dilation) in enumerate(BLOCKS, 1):
            block = []
            for conv in range(convs):
                step = stride if conv == convs - 1 else 1
                block += [nn.Conv2d(inputs, width, 3, step, dilation, dilation), nn.ReLU()]
                inputs = width
            self.add_module(f"model{number}", nn.Sequential(*block, nn.BatchNorm2d(width, affine=affine)))
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(width, COLORS, 1),
        )
        self.model_out = nn.Conv2d(COLORS, 2, 1, bias=False)

    def forward(self, x):
        for number in range(1, 9):
            x = getattr(self, f"model{number}")(x)
        return x


def vgg_names():
    """Caffe's name of each layer of VggColorizer."""
    names = {}
    for number, (convs, _, _) in enumerate(BLOCKS, 1):
        names |= {f"model{number}.{2 * i}": f"conv{number}_{i + 1}" for i in range(convs)}
        names[f"model{number}.{2 * convs}"] = f"conv{number}_{convs}norm"
    return names | {f"model8.{2 * i}": n for i, n in enumerate(["conv8_1", "conv8_2", "conv8_3", "conv8_313"])}


class AlexnetColorizer(nn.Module):
    """Convolution, batch normalization, ReLU; pools that round up."""

    def __init__(self, width, fc):
        super().__init__()
        rows = [
            ("conv1", nn.Conv2d(1, width, 11, 4, 5)),
            ("conv2", nn.Conv2d(width, width, 5, 1, 2, groups=2)),
            ("conv3", nn.Conv2d(width, width, 3, 1, 1)),
            ("conv4", nn.Conv2d(width, width, 3, 1, 1, groups=2)),
            ("conv5", nn.Conv2d(width, width, 3, 1, 1, groups=2)),
            ("fc6", nn.Conv2d(width, fc, 6, 1, 5, 2)),
            ("fc7", nn.Conv2d(fc, fc, 1)),
        ]
        for name, conv in rows:
            self.add_module(name, conv)
            self.add_module(name + "norm", nn.BatchNorm2d(conv.out_channels, affine=False))
        self.fc8 = nn.Conv2d(fc, COLORS, 1)
        self.pools = {"conv1": 2, "conv2": 2, "conv5": 1}

    def forward(self, x):
        for name in ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]:
            x = torch.relu(getattr(self, name + "norm")(getattr(self, name)(x)))
            if name in self.pools:
                x = nn.functional.max_pool2d(x, 3, self.pools[name], 1, ceil_mode=True)
        return self.fc8(x)


class Caffenet(nn.Module):
    """CaffeNet's layers without its response normalization, which the transfer graph leaves out too."""

    def __init__(self, width, fc, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 11, 4)
        self.conv2 = nn.Conv2d(width, width, 5, 1, 2, groups=2)
        self.conv3 = nn.Conv2d(width, width, 3, 1, 1)
        self.conv4 = nn.Conv2d(width, width, 3, 1, 1, groups=2)
        self.conv5 = nn.Conv2d(width, width, 3, 1, 1, groups=2)
        self.fc6 = nn.Linear(width * 36, fc)
        self.fc7 = nn.Linear(fc, fc)
        self.fc8 = nn.Linear(fc, classes)

    def forward(self, x):
        for name in ["conv1", "conv2", "conv3", "conv4", "conv5"]:
            x = torch.relu(getattr(self, name)(x))
            if name in ["conv1", "conv2", "conv5"]:
                x = nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
        x = torch.relu(self.fc6(x.flatten(1)))
        return self.fc8(torch.relu(self.fc7(x)))


VGG16 = [2, 2, 3, 3, 3]


class Vgg16(nn.Module):
    """torchvision's numbering: a ReLU after every layer, a pool after every block."""

    def __init__(self, width, fc, classes):
        super().__init__()
        features, inputs = [], 3
        for convs in VGG16:
            for _ in range(convs):
                features += [nn.Conv2d(inputs, width, 3, 1, 1), nn.ReLU()]
                inputs = width
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features)
        head = [nn.Linear(width * 49, fc), nn.ReLU(), nn.Dropout(), nn.Linear(fc, fc), nn.ReLU(), nn.Dropout()]
        self.classifier = nn.Sequential(*head, nn.Linear(fc, classes))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def vgg16_names():
    names, place = {}, 0
    for block, convs in enumerate(VGG16, 1):
        names |= {f"features.{place + 2 * i}": f"conv{block}_{i + 1}" for i in range(convs)}
        place += 2 * convs + 1
    return names | {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}


class TorchvisionAlexnet(nn.Module):
    """Names and ranks of torchvision's alexnet; no groups."""

    def __init__(self, width, fc, classes):
        super().__init__()
        convs = {0: (3, 11), 3: (width, 5), 6: (width, 3), 8: (width, 3), 10: (width, 3)}
        self.features = nn.ModuleDict({str(n): nn.Conv2d(i, width, k) for n, (i, k) in convs.items()})
        fcs = {1: (width * 36, fc), 4: (fc, fc), 6: (fc, classes)}
        self.classifier = nn.ModuleDict({str(n): nn.Linear(i, o) for n, (i, o) in fcs.items()})


ALEXNET_NAMES = dict(zip([f"features.{n}" for n in (0, 3, 6, 8, 10)], [f"conv{n}" for n in range(1, 6)]))
ALEXNET_NAMES |= {"classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8"}


# --- Caffe's messages ----------------------------------------------------------------------------------------------


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(tag, value):
    """A field of bytes, text or a whole number."""
    if isinstance(value, int):
        return varint(tag << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(value)) + value


def blob(array, old, double=False):
    if old:
        dims = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(field(tag, int(size)) for tag, size in enumerate(dims, 1))
    else:
        shape = field(7, field(1, b"".join(varint(int(size)) for size in array.shape)))
    if double:
        return shape + field(8, array.astype("<f8").tobytes())
    return shape + field(5, array.astype("<f4").tobytes()) + field(6, b"")


def layer(name, kind, arrays, double=False):
    bottom_and_top = field(3, "below") + field(4, name)
    blobs = b"".join(field(7, blob(array, False, double)) for array in arrays)
    return field(100, field(1, name) + field(2, kind) + bottom_and_top + blobs)


V1 = {"Convolution": 4, "InnerProduct": 14, "ReLU": 18, "Data": 5}


def v1_layer(name, kind, arrays):
    blobs = b"".join(field(6, blob(array, True)) for array in arrays)
    return field(2, field(2, "below") + field(3, name) + field(4, name) + field(5, V1[kind]) + blobs)


def caffe_layers(net, names, gathered=999.98, renamed={}):
    """A layer of today's form for each module of `net` that `names` names."""
    out = []
    for path, name in names.items():
        module = net.get_submodule(path)
        name = renamed.get(name, name)
        if isinstance(module, nn.BatchNorm2d):
            mean, var = (t.numpy().astype("f8") * gathered for t in (module.running_mean, module.running_var))
            out.append(layer(name, "BatchNorm", [mean, var, np.array([gathered])]))
        else:
            kind = "Deconvolution" if isinstance(module, nn.ConvTranspose2d) else "Convolution"
            arrays = [module.weight.detach().numpy(), module.bias.detach().numpy()]
            out.append(layer(name, kind, arrays, double=name == "conv2_2"))
            out.append(layer("relu_" + name, "ReLU", []))
    return b"".join(out)


def v1_net(net, names):
    out = field(1, "classifier") + v1_layer("data", "Data", [])
    for path, name in names.items():
        module = net.get_submodule(path)
        kind = "InnerProduct" if isinstance(module, nn.Linear) else "Convolution"
        arrays = [module.weight.detach().numpy(), module.bias.detach().numpy()]
        out += v1_layer(name, kind, arrays) + v1_layer("relu_" + name, "ReLU", [])
    return out


# --- what is expected ----------------------------------------------------------------------------------------------


def memory_order(array):
    return np.transpose(array, (0, 2, 3, 1)) if array.ndim == 4 else array


def summary(array):
    array = np.ascontiguousarray(memory_order(np.asarray(array, dtype="f8")))
    weights = np.arange(array.size) % 97 + 1
    return {"shape": list(array.shape), "sum": float(array.reshape(-1) @ weights)}


def summaries(net, names, changes={}):
    """By our names; `changes` scales some."""
    out = {}
    for path, name in names.items():
        for part, tensor in net.get_submodule(path).state_dict().items():
            if part == "num_batches_tracked":
                continue
            array = tensor.numpy()
            if part == "weight" and array.ndim == 2:
                side = math.isqrt(array.shape[1] // 8) if name == "fc6" else 1  # 8 channels before fc6
                array = array.reshape(array.shape[0], -1, side, side)
            full = f"{name}.{part}"
            out[full] = summary(array * changes.get(full, 1.0))
    return out


def picture(channels, height, width, scale):
    """((7 y + 13 x + 5 c) mod 17 − 8) / 8 · scale, exact in 32 bits; (1, C, H, W)."""
    c, y, x = np.meshgrid(np.arange(channels), np.arange(height), np.arange(width), indexing="ij")
    return torch.tensor(((7 * y + 13 * x + 5 * c) % 17 - 8) / 8 * scale, dtype=torch.float32)[None]


def logits(net, x, unit=1.0):
    with torch.no_grad():
        y = net(x / unit)
    y = y.permute(0, 2, 3, 1) if y.ndim == 4 else y
    size = list(x.shape[1:])
    return {"input": size, "shape": list(y.shape), "logits": [float(f"{v:.7g}") for v in y.flatten().tolist()]}


def paper_bins():
    """The paper's 313 bins: lattice points nearer than 10 (Chebyshev) to the hull of the sRGB cube in ab."""
    steps = np.linspace(0, 1, 256)
    zeros, ones = np.zeros(256), np.ones(256)
    edges = []
    for axis in range(3):
        for first in (zeros, ones):
            for second in (zeros, ones):
                columns = [first, second]
                columns.insert(axis, steps)
                edges.append(np.stack(columns, 1))
    rgb = np.concatenate(edges)
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = np.array(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    ab = np.stack([500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
    square = np.array([[-10, -10], [-10, 10], [10, -10], [10, 10]])
    wide = ConvexHull((ab[:, None] + square[None]).reshape(-1, 2))
    lattice = np.array([(a, b) for a in range(-120, 121, 10) for b in range(-120, 121, 10)], dtype=float)
    inside = (lattice @ wide.equations[:, :2].T + wide.equations[:, 2] < -1e-9).all(1)
    return lattice[inside]


# --- files ---------------------------------------------------------------------------------------------------------


def colorizers(expected, bins):
    width = 8
    net = randomize(VggColorizer(width, affine=True))
    net.model_out.weight.data = torch.tensor(bins.T / 110, dtype=torch.float32).reshape(2, COLORS, 1, 1)
    torch.save(net.state_dict(), OUT / "eccv16.pth")
    x = picture(1, 16, 8, 50)
    changes = {"conv1_1.weight": 0.01}
    expected["eccv16.pth"] = {"tensors": summaries(net, vgg_names(), changes)} | logits(net, x, 100)

    net = randomize(VggColorizer(width, affine=False))
    helpers = [
        layer("data_l", "Convolution", [np.ones((1, 1, 1, 1)), np.array([-50.0])]),
        layer("conv8_313_rh", "Scale", [np.full(COLORS, SHARPNESS)]),
        layer("class8_ab", "Convolution", [bins.T.reshape(2, COLORS, 1, 1), np.zeros(2)]),
    ]
    body = caffe_layers(net, vgg_names(), renamed={"conv1_1": "bw_conv1_1"})
    (OUT / "vgg_colorizer.caffemodel").write_bytes(field(1, "LtoAB") + helpers[0] + body + helpers[1] + helpers[2])
    tensors = summaries(net, vgg_names())
    expected["vgg_colorizer.caffemodel"] = {"tensors": tensors} | logits(net, x)

    net = randomize(AlexnetColorizer(width, 16))
    rows = [f"conv{n}" for n in range(1, 6)] + ["fc6", "fc7"]
    names = {row + part: row + part for row in rows for part in ("", "norm")} | {"fc8": "fc8"}
    (OUT / "alexnet_colorizer.caffemodel").write_bytes(field(1, "CaffeNet") + caffe_layers(net, names))
    ours = {row: row for row in rows} | {row + "norm": "bn" + row[-1] for row in rows} | {"fc8": "fc8"}
    found = {"tensors": summaries(net, ours)} | logits(net, picture(1, 33, 45, 50))
    expected["alexnet_colorizer.caffemodel"] = found


def classifiers(expected):
    net = randomize(Caffenet(8, 16, 10))
    names = {name: name for name, _ in net.named_children()}
    (OUT / "caffenet.caffemodel").write_bytes(v1_net(net, names))
    found = {"tensors": summaries(net, names)} | logits(net, picture(3, 227, 227, 100))
    expected["caffenet.caffemodel"] = found

    net = randomize(Vgg16(8, 16, 10))
    found = {"tensors": summaries(net, vgg16_names())} | logits(net, picture(3, 224, 224, 100))
    (OUT / "vgg16.caffemodel").write_bytes(v1_net(net, vgg16_names()))
    wrapped = {"epoch": 3, "best": 0.5, "state_dict": nn.DataParallel(net).state_dict()}
    torch.save(wrapped, OUT / "vgg16_legacy.pth", _use_new_zipfile_serialization=False)
    expected["vgg16.caffemodel"] = expected["vgg16_legacy.pth"] = found

    net = randomize(TorchvisionAlexnet(8, 16, 10))
    torch.save(net.state_dict(), OUT / "alexnet.pth", pickle_protocol=4)
    expected["alexnet.pth"] = {"tensors": summaries(net, ALEXNET_NAMES)}


def mixed(expected):
    base = torch.randn(400)
    tensors = {
        "half": torch.randn(3, 4).half(),
        "bfloat16": torch.randn(5).bfloat16(),
        "double": torch.randn(2, 3, 4, 5).double(),
        "long": torch.tensor(-7),
        "whole": base,
        "view": base[10:34].view(2, 3, 4),
        "transposed": base[:12].view(3, 4).t(),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "strided": base[::7],
        "empty": torch.empty(0, 3),
        "parameter": nn.Parameter(torch.randn(6)),
    }
    torch.save(tensors, OUT / "mixed.pth")
    values = {name: summary(t.detach().double().numpy()) for name, t in tensors.items()}
    expected["mixed.pth"] = {"tensors": values}


def check(paths):
    a, b = (torch.load(path, weights_only=True) for path in paths)
    if a.keys() != b.keys():
        raise SystemExit(f"names differ: {sorted(a.keys() ^ b.keys())}")
    counters = {name for name in a if name.endswith("num_batches_tracked")}
    for name in a.keys() - counters:
        if a[name].shape != b[name].shape or not torch.allclose(a[name].float(), b[name].float(), rtol=3e-7, atol=0):
            raise SystemExit(f"{name} differs")
    print(f"{len(a)} tensors, equal but for the rounding of one multiplication")


def main():
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    bins = paper_bins()
    assert len(bins) == COLORS, len(bins)
    expected = {}
    colorizers(expected, bins)
    classifiers(expected)
    mixed(expected)
    (OUT / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    check(sys.argv[2:]) if sys.argv[1:2] == ["check"] else main()
