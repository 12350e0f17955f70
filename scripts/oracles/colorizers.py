"""Known answers for tests/networks/colorizers.rs: outputs of the colorizers, defined here in PyTorch at an eighth of their width.
Their weights are a function of each tensor's name and index (`resnet.hashed`, written again in the test).

    python scripts/oracles/colorizers.py
"""

import pathlib

import numpy
import torch
from resnet import fill
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).resolve().parents[2] / "tests/oracles"


def waves(channels, height, width, low, high):
    """A picture of smooth waves from `low` to `high`, `(1, channels, height, width)`."""
    y, x = numpy.meshgrid(numpy.arange(height), numpy.arange(width), indexing="ij")
    maps = [numpy.sin(x / (3 + c) + c) * numpy.cos(y / (5 - c) - c) for c in range(channels)]
    values = low + (numpy.stack(maps) + 1) / 2 * (high - low)
    return torch.from_numpy(values.astype(numpy.float32))[None]


def conv(inputs, outputs, dilation=1):
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)


def block(inputs, outputs, convs, dilation=1, relu_first=False, norm=True):
    """(convolution, ReLU) × n, batch normalization, numbered as in the release."""
    layers = [nn.ReLU()] if relu_first else []
    for i in range(convs):
        layers += [conv(inputs if i == 0 else outputs, outputs, dilation), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(outputs)] if norm else []))


class Siggraph17(nn.Module):
    """The released network with a unit of 8 channels instead of 64."""

    def __init__(self, c=8):
        super().__init__()
        self.model1 = block(4, c, 2)
        self.model2 = block(c, 2 * c, 2)
        self.model3 = block(2 * c, 4 * c, 3)
        self.model4 = block(4 * c, 8 * c, 3)
        self.model5 = block(8 * c, 8 * c, 3, dilation=2)
        self.model6 = block(8 * c, 8 * c, 3, dilation=2)
        self.model7 = block(8 * c, 8 * c, 3)
        self.model8up = nn.Sequential(nn.ConvTranspose2d(8 * c, 4 * c, 4, 2, 1))
        self.model3short8 = nn.Sequential(conv(4 * c, 4 * c))
        self.model8 = block(4 * c, 4 * c, 2, relu_first=True)
        self.model9up = nn.Sequential(nn.ConvTranspose2d(4 * c, 2 * c, 4, 2, 1))
        self.model2short9 = nn.Sequential(conv(2 * c, 2 * c))
        self.model9 = block(2 * c, 2 * c, 1, relu_first=True)
        self.model10up = nn.Sequential(nn.ConvTranspose2d(2 * c, 2 * c, 4, 2, 1))
        self.model1short10 = nn.Sequential(conv(c, 2 * c))
        self.model10 = nn.Sequential(nn.ReLU(), conv(2 * c, 2 * c), nn.LeakyReLU(0.2))
        self.model_class = nn.Sequential(nn.Conv2d(4 * c, 529, 1))
        self.model_out = nn.Sequential(nn.Conv2d(2 * c, 2, 1), nn.Tanh())

    def forward(self, light, ab, mask):
        one = self.model1(torch.cat([(light - 50) / 100, ab / 110, mask], 1))
        two = self.model2(one[:, :, ::2, ::2])
        three = self.model3(two[:, :, ::2, ::2])
        seven = self.model7(self.model6(self.model5(self.model4(three[:, :, ::2, ::2]))))
        eight = self.model8(self.model8up(seven) + self.model3short8(three))
        nine = self.model9(self.model9up(eight) + self.model2short9(two))
        ten = self.model10(self.model10up(nine) + self.model1short10(one))
        return 110 * self.model_out(ten), self.model_class(eight)


class Siggraph17Caffe(nn.Module):
    """The Caffe release, with its names: two first convolutions, no affine normalization, 100 times the tanh."""

    def __init__(self, c=8):
        super().__init__()
        self.bw_conv1_1, self.ab_conv1_1 = conv(1, c), conv(3, c)
        inputs = c
        for number, (outputs, convs, dilation) in enumerate(
            [(c, 2, 1), (2 * c, 2, 1), (4 * c, 3, 1), (8 * c, 3, 1), (8 * c, 3, 2), (8 * c, 3, 2), (8 * c, 3, 1)], 1
        ):
            for i in range(2 if number == 1 else 1, convs + 1):
                setattr(self, f"conv{number}_{i}", conv(inputs, outputs, dilation))
                inputs = outputs
            setattr(self, f"conv{number}_{convs}norm", nn.BatchNorm2d(outputs, affine=False))
        self.conv8_1, self.conv3_3_short = nn.ConvTranspose2d(8 * c, 4 * c, 4, 2, 1), conv(4 * c, 4 * c)
        self.conv8_2, self.conv8_3 = conv(4 * c, 4 * c), conv(4 * c, 4 * c)
        self.conv8_3norm = nn.BatchNorm2d(4 * c, affine=False)
        self.conv9_1, self.conv2_2_short = nn.ConvTranspose2d(4 * c, 2 * c, 4, 2, 1), conv(2 * c, 2 * c)
        self.conv9_2, self.conv9_2norm = conv(2 * c, 2 * c), nn.BatchNorm2d(2 * c, affine=False)
        self.conv10_1, self.conv1_2_short = nn.ConvTranspose2d(2 * c, 2 * c, 4, 2, 1), conv(c, 2 * c)
        self.conv10_2, self.conv10_ab = conv(2 * c, 2 * c), nn.Conv2d(2 * c, 2, 1)

    def block(self, number, convs, x):
        for i in convs:
            x = getattr(self, f"conv{number}_{i}")(x).relu()
        return getattr(self, f"conv{number}_{i}norm")(x)

    def forward(self, light, ab, mask):
        x = self.bw_conv1_1(light - 50) + self.ab_conv1_1(torch.cat([ab, 110 * mask], 1))
        one = self.block(1, [2], x.relu())
        two = self.block(2, [1, 2], one[:, :, ::2, ::2])
        three = self.block(3, [1, 2, 3], two[:, :, ::2, ::2])
        x = three[:, :, ::2, ::2]
        for number in [4, 5, 6, 7]:
            x = self.block(number, [1, 2, 3], x)
        eight = self.block(8, [2, 3], (self.conv8_1(x) + self.conv3_3_short(three)).relu())
        nine = self.block(9, [2], (self.conv9_1(eight) + self.conv2_2_short(two)).relu())
        ten = (self.conv10_1(nine) + self.conv1_2_short(one)).relu()
        return 100 * self.conv10_ab(nn.functional.leaky_relu(self.conv10_2(ten), 0.2)).tanh()


def siggraph17(answers):
    net = fill(Siggraph17())
    light = waves(1, 24, 32, 5, 95)
    ab, mask = torch.zeros(1, 2, 24, 32), torch.zeros(1, 1, 24, 32)
    answers["siggraph17.light"] = light
    answers["siggraph17.plain"], _ = net(light, ab, mask)
    caffe = fill(Siggraph17Caffe())
    for first in [caffe.bw_conv1_1, caffe.ab_conv1_1]:
        first.weight /= 100  # the hashed weights are for inputs of about 1
    answers["siggraph17_caffe.plain"] = caffe(light, ab, mask)
    ab[:, 0, 4:9, 10:15], ab[:, 1, 4:9, 10:15], mask[:, :, 4:9, 10:15] = 60, -40, 1
    answers["siggraph17.hinted"], classes = net(light, ab, mask)
    answers["siggraph17.classes"] = classes[:, ::23]
    answers["siggraph17_caffe.hinted"] = caffe(light, ab, mask)


def upsampled(x, factor):
    return nn.functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def bn(channels, eps=1e-5, affine=True):
    return nn.BatchNorm2d(channels, eps=eps, affine=affine)


class Dahl(nn.Module):
    """With the names of our rows."""

    def __init__(self, c=8):
        super().__init__()
        inputs = 3
        for number, (outputs, convs) in enumerate([(c, 2), (2 * c, 2), (4 * c, 3), (8 * c, 3)], 1):
            for i in range(1, convs + 1):
                setattr(self, f"conv{number}_{i}", conv(inputs, outputs))
                inputs = outputs
            setattr(self, f"bn{number}", bn(outputs, 1e-3))
        self.bn0 = bn(3, 1e-3)
        self.decoder4 = nn.Conv2d(8 * c, 4 * c, 1, bias=False)
        for level, (inputs, outputs) in {3: (4 * c, 2 * c), 2: (2 * c, c), 1: (c, 3), 0: (3, 3)}.items():
            setattr(self, f"decoder{level}", nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
            setattr(self, f"decoder{level}_bn", bn(outputs, 1e-3))
        self.uv_conv, self.uv = nn.Conv2d(3, 2, 3, padding=1, bias=False), bn(2, 1e-3)

    def forward(self, gray):
        x = torch.cat([255 * gray] * 3, 1) - torch.tensor([103.939, 116.779, 123.68])[None, :, None, None]
        ends = [x]
        for number, convs in [(1, 2), (2, 2), (3, 3), (4, 3)]:
            x = nn.functional.max_pool2d(x, 2) if number > 1 else x
            for i in range(1, convs + 1):
                x = getattr(self, f"conv{number}_{i}")(x).relu()
            ends.append(x)
        y = self.decoder4(self.bn4(ends[4])).relu()
        for level in [3, 2, 1, 0]:
            y = upsampled(y, 2) if level else y
            y = y + getattr(self, f"bn{level}")(ends[level])
            y = getattr(self, f"decoder{level}_bn")(getattr(self, f"decoder{level}")(y)).relu()
        return self.uv(self.uv_conv(y))


class Iizuka(nn.Module):
    """With the names of our rows; `side` is that of the picture that the global stream sees."""

    LOW = [(8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (64, 1)]
    STRIDES = [2, 1, 2, 1]

    def __init__(self, side):
        super().__init__()
        self.side, inputs = side, 1
        for number, (outputs, stride) in enumerate(self.LOW, 1):
            self.add(f"low{number}", inputs, outputs, 3, stride)
            inputs = outputs
        for number, stride in enumerate(self.STRIDES, 1):
            self.add(f"global{number}", 64, 64, 3, stride)
        self.add("global5", 64, 128, side // 32, pad=0)
        self.add("global6", 128, 64, 1)
        self.add("global7", 64, 32, 1)
        self.add("mid1", 64, 64)
        self.add("mid2", 64, 32)
        self.add("fusion", 64, 32, 1)
        for name, inputs, outputs in [("color1", 32, 16), ("color2", 16, 8), ("color3", 8, 8), ("color4", 8, 8)]:
            self.add(name, inputs, outputs)
        self.ab_conv = conv(8, 2)

    def add(self, name, inputs, outputs, kernel=3, stride=1, pad=None):
        pad = kernel // 2 if pad is None else pad
        setattr(self, name, nn.Conv2d(inputs, outputs, kernel, stride, pad))
        setattr(self, f"{name}_bn", bn(outputs))

    def run(self, x, *names):
        for name in names:
            x = getattr(self, f"{name}_bn")(getattr(self, name)(x)).relu()
        return x

    def forward(self, gray):
        x = gray - 0.4488
        whole = nn.functional.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False)
        low = [f"low{i}" for i in range(1, 7)]
        vector = self.run(whole, *low, *[f"global{i}" for i in range(1, 8)])
        local = self.run(x, *low, "mid1", "mid2")
        y = self.run(torch.cat([local, vector.expand(-1, -1, *local.shape[2:])], 1), "fusion", "color1")
        y = self.run(nn.functional.interpolate(y, scale_factor=2), "color2", "color3")
        y = self.run(nn.functional.interpolate(y, scale_factor=2), "color4")
        return nn.functional.interpolate(self.ab_conv(y), scale_factor=2)


class Larsson(nn.Module):
    """With the names of our rows."""

    BLOCKS = [(8, 2, 1), (16, 2, 2), (32, 3, 4), (64, 3, 8), (64, 3, 16)]

    def __init__(self, norm):
        super().__init__()
        self.norm, inputs, total = norm, 1, 1
        for number, (outputs, convs, _) in enumerate(self.BLOCKS, 1):
            for i in range(1, convs + 1):
                self.add(f"conv{number}_{i}", inputs, outputs, 3)
                inputs, total = outputs, total + outputs
        self.add("fc6", 64, 512, 7)
        self.add("fc7", 512, 512, 1)
        self.column = nn.Conv2d(total + 1024, 128, 1)
        self.hue, self.chroma = nn.Conv2d(128, 32, 1), nn.Conv2d(128, 32, 1)

    def add(self, name, inputs, outputs, kernel):
        setattr(self, name, nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))
        if self.norm:
            setattr(self, f"{name}_bn", bn(outputs, affine=False))

    def run(self, x, name):
        x = getattr(self, name)(x)
        return (getattr(self, f"{name}_bn")(x) if self.norm else x).relu()

    def forward(self, gray):
        x = gray - 0.4488
        parts = [(x, 1)]
        for number, (_, convs, stride) in enumerate(self.BLOCKS, 1):
            for i in range(1, convs + 1):
                x = self.run(x, f"conv{number}_{i}")
                parts.append((x, stride))
            x = nn.functional.max_pool2d(x, 2)
        for name in ["fc6", "fc7"]:
            x = self.run(x, name)
            parts.append((x, 32))
        brought = [
            nn.functional.avg_pool2d(x, 4 // stride) if stride < 4 else upsampled(x, stride // 4) if stride > 4 else x
            for x, stride in parts
        ]
        column = self.column(torch.cat(brought, 1)).relu()
        return torch.cat([self.hue(column), self.chroma(column)], 1)


def ab_of(rgb):
    """a and b of sRGB rounded to bytes; scikit-image's conversion, written out."""
    v = torch.round(rgb.clamp(0, 1) * 255).double() / 255
    linear = torch.where(v > 0.04045, ((v + 0.055) / 1.055) ** 2.4, v / 12.92)
    matrix = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    xyz = torch.einsum("ij,bjhw->bihw", torch.tensor(matrix).double(), linear)
    xyz = xyz / torch.tensor([0.95047, 1.0, 1.08883]).double()[None, :, None, None]
    f = torch.where(xyz > 0.008856, xyz ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1).float()


def of_uv(uv, gray):
    u, v = (uv[:, :1] - 0.5) * 2 * 0.435912, (uv[:, 1:] - 0.5) * 2 * 0.614777
    red, blue = gray + v / 0.877, gray + u / 0.492
    return ab_of(torch.cat([red, (gray - 0.299 * red - 0.114 * blue) / 0.587, blue], 1))


def of_hue_chroma(logits, gray):
    hue, chroma = (upsampled(part.softmax(1), 4).double() for part in logits.split(32, 1))
    centers = (torch.arange(32).double() + 0.5) / 32
    z = (hue * torch.exp(2j * torch.pi * centers)[None, :, None, None]).sum(1)
    fading = (z.abs() / 32).clamp(max=0.03) / 0.03
    angle = (z.angle() / (2 * torch.pi)) % 1.0
    c = ((chroma.cumsum(1) < 0.5).sum(1) + 0.5) / 32 * fading
    g = gray[:, 0].double()
    value, saturation = (g + c / 2).clamp(0, 1), (2 * c / (2 * g + c)).clamp(0, 1)
    k = [(offset + 6 * angle) % 6 for offset in (5, 3, 1)]
    rgb = torch.stack([value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1) for k in k], 1)
    return ab_of(rgb - rgb.mean(1, keepdim=True) + gray.double())


def others(answers):
    """Their maps, which are logits, and the colors that those give a gray picture."""
    gray = torch.round(waves(1, 32, 32, 30, 220))
    answers["gray"] = gray.expand(-1, 3, -1, -1).to(torch.uint8)
    gray = gray / 255
    for name, net in [
        ("dahl", Dahl()),
        ("iizuka", Iizuka(32)),
        ("iizuka_small", Iizuka(64)),
        ("larsson", Larsson(True)),
        ("larsson_plain", Larsson(False)),
    ]:
        answers[f"{name}.map"] = out = fill(net)(gray)
        if name == "dahl":
            answers[f"{name}.ab"] = of_uv(out.sigmoid(), gray)
        elif name.startswith("iizuka"):
            answers[f"{name}.ab"] = 100 * (2 * out.sigmoid() - 1)
        else:
            answers[f"{name}.ab"] = of_hue_chroma(out, gray)


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    answers = {}
    siggraph17(answers)
    others(answers)
    for name, answer in answers.items():
        print(name, tuple(answer.shape), answer.min().item(), answer.max().item())
    save_file({name: answer.contiguous() for name, answer in answers.items()}, HERE / "colorizers.safetensors")


if __name__ == "__main__":
    main()
