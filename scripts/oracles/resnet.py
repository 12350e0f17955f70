"""Known answers for tests/networks/resnet.rs.

resnet_answers.safetensors: pictures, and the logits of torchvision's resnet18 and resnet50 for them. Their weights are a function of
each tensor's name and index (`hashed` below, written again in the test), so that no large file is needed.
resnet_torch.safetensors: the state dict of a narrow resnet18 made of torchvision's blocks, and resnet_narrow.safetensors its
logits, for the reader of weight files.

    python scripts/oracles/resnet.py
"""

import pathlib

import numpy
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock

HERE = pathlib.Path(__file__).resolve().parents[2] / "tests/oracles"
SIDE = 75
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def hashed(name, count):
    """Numbers from -1 to 1: a 32-bit integer hash of the index and of the name."""
    seed = 0
    for byte in name.encode():
        seed = (31 * seed + byte) % 2**32
    v = (numpy.arange(count, dtype=numpy.uint64) + seed).astype(numpy.uint32)
    with numpy.errstate(over="ignore"):
        v ^= v >> numpy.uint32(16)
        v *= numpy.uint32(0x7FEB352D)
        v ^= v >> numpy.uint32(15)
        v *= numpy.uint32(0x846CA68B)
        v ^= v >> numpy.uint32(16)
    return v.astype(numpy.float64) / 2.0**31 - 1.0


def value(name, shape):
    """Weights with the variance of He et al., scales around 1/2, variances around 1, shifts and means around 0."""
    u = hashed(name, int(numpy.prod(shape)))
    if len(shape) > 1:
        u = u * (6.0 / numpy.prod(shape[1:])) ** 0.5
    elif name.endswith("running_var"):
        u = 1.0 + u / 2.0
    elif name.endswith(".weight"):
        u = 0.5 + u / 4.0
    else:
        u = u / 10.0
    return torch.from_numpy(u.reshape(shape).astype(numpy.float32))


def fill(net):
    state = net.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(value(name, tuple(tensor.shape)))
    return net.eval()


def pictures():
    """Two pictures: smooth waves."""
    y, x = numpy.meshgrid(numpy.arange(SIDE), numpy.arange(SIDE), indexing="ij")
    waves = [numpy.sin(x / (5 + c) + b) * numpy.cos(y / (9 - 2 * c) - b) for b in range(2) for c in range(3)]
    waves = numpy.stack(waves).reshape(2, 3, SIDE, SIDE)
    return torch.from_numpy(numpy.round((waves + 1) * 127).astype(numpy.uint8))


class Narrow(nn.Module):
    """resnet18 with the channels that hueristic has at width 0.03."""

    def __init__(self, channels=(8, 8, 8, 16), classes=7):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = channels[0]
        for stage, outputs in enumerate(channels, 1):
            stride = 1 if stage == 1 else 2
            shortcut = None
            if stride != 1 or inputs != outputs:
                shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            blocks = [BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    rgb = pictures()
    x = torchvision.transforms.functional.normalize(rgb.float() / 255, MEAN, DEVIATION)
    answers = {"pictures": rgb}
    for name in ["resnet18", "resnet50"]:
        answers[name] = fill(getattr(torchvision.models, name)())(x)
        print(name, answers[name].abs().max())
    save_file(answers, HERE / "resnet_answers.safetensors")
    narrow = fill(Narrow())
    save_file({name: tensor.contiguous() for name, tensor in narrow.state_dict().items()}, HERE / "resnet_torch.safetensors")
    save_file({"logits": narrow(x)}, HERE / "resnet_narrow.safetensors")


if __name__ == "__main__":
    main()
