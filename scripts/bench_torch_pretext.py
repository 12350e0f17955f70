"""Times the training step of a pretext task in PyTorch, as `cargo bench --bench pretext` times ours.

    python scripts/bench_torch_pretext.py --task NAME [--batch N] [--rounds 5] [--steps 3] [--threads 2]
    python scripts/bench_torch_pretext.py --task NAME --faster-layout        # channels_last or contiguous

The step begins with the bytes of the pictures: views, forward, backward, SGD with momentum. Views are made for the whole batch at once
by tensor operations, as a user with few processors would, with one simplification in PyTorch's favor: SimCLR's changes of color have
one order for the whole batch, and its crops are sampled without the wider filter of shrinking ones.
"""
import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def rgb_unit(rgb):
    """u8 (B, H, W, 3) -> normalized (B, 3, H, W)."""
    return ((rgb.float() / 255 - MEAN) / DEVIATION).permute(0, 3, 1, 2)


def bgr_mean(rgb):
    return (rgb.float().flip(-1) - torch.tensor([103.939, 116.779, 123.68])).permute(0, 3, 1, 2)


def lab_of(rgb):
    """u8 sRGB (B, H, W, 3) -> Lab (B, 3, H, W), white D65."""
    c = rgb.permute(0, 3, 1, 2).float() / 255
    c = torch.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    r, g, b = c.unbind(1)
    x = (0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.95047
    y = 0.212671 * r + 0.715160 * g + 0.072169 * b
    z = (0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883
    f = [torch.where(v > 0.008856, v ** (1 / 3), 7.787 * v + 16 / 116) for v in (x, y, z)]
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], 1)


def norm(o, affine):
    return nn.BatchNorm2d(o, affine=affine)


def block(i, o, kernel, stride=1, pad=0, groups=1, dilation=1, affine=False, bn=True, slope=0.0):
    act = nn.ReLU(inplace=True) if slope == 0 else nn.LeakyReLU(slope, inplace=True)
    return nn.Sequential(nn.Conv2d(i, o, kernel, stride, pad, dilation, groups), *([norm(o, affine)] if bn else []), act)


def colorizer(i, o, width=1.0, groups=2):
    """The fully convolutional AlexNet of per-pixel tasks."""
    c = lambda full: int(full * width)
    pool = dict(kernel_size=3, padding=1, ceil_mode=True)
    return nn.Sequential(
        block(i, c(96), 11, 4, 5), nn.MaxPool2d(stride=2, **pool),
        block(c(96), c(256), 5, 1, 2, groups), nn.MaxPool2d(stride=2, **pool),
        block(c(256), c(384), 3, 1, 1), block(c(384), c(384), 3, 1, 1, groups), block(c(384), c(256), 3, 1, 1, groups),
        nn.MaxPool2d(stride=1, **pool),
        block(c(256), c(4096), 6, 1, 5, dilation=2), block(c(4096), c(4096), 1), nn.Conv2d(c(4096), o, 1),
    )


def trunk(channels=(96, 256, 384, 384, 256), groups=2, stride=4, pad=0, lrn=False, **kind):
    """AlexNet from three channels to pool5."""
    a, b, c, d, e = channels
    after = [nn.LocalResponseNorm(5)] if lrn else []
    pool = lambda: [nn.MaxPool2d(3, 2, ceil_mode=True)]
    return nn.Sequential(
        block(3, a, 11, stride, pad, **kind), *pool(), *after, block(a, b, 5, 1, 2, groups, **kind), *pool(), *after,
        block(b, c, 3, 1, 1, **kind), block(c, d, 3, 1, 1, groups, **kind), block(d, e, 3, 1, 1, groups, **kind), *pool(),
    )


def labels_at(picture, stride):
    return picture[:, :, ::stride, ::stride]


class Autoencoder(nn.Module):
    batch, side = 16, 180

    def __init__(self):
        super().__init__()
        self.net = colorizer(3, 3)
        self.units = torch.tensor([50.0, 110.0, 110.0])[:, None, None]

    def loss(self, rgb):
        lab = lab_of(rgb)
        x = lab - torch.tensor([50.0, 0.0, 0.0])[:, None, None]
        truth = labels_at(x, 8)
        y = F.interpolate(self.net(x), size=truth.shape[2:], mode="bilinear", align_corners=True) * self.units
        return 0.5 * (y - truth).square().sum() / len(rgb)


def nearest(ab, centers):
    flat = ab.permute(0, 2, 3, 1).reshape(-1, 2)
    return torch.cdist(flat, centers).argmin(1).reshape(len(ab), *ab.shape[2:])


class CrossChannel(nn.Module):
    batch, side = 16, 180

    def __init__(self):
        super().__init__()
        self.net = colorizer(1, 313)
        self.centers = torch.rand(313, 2) * 200 - 100

    def loss(self, rgb):
        lab = lab_of(rgb)
        labels = nearest(labels_at(lab[:, 1:], 8), self.centers)
        y = F.interpolate(self.net(lab[:, :1] - 50), size=labels.shape[1:], mode="bilinear", align_corners=True)
        return F.cross_entropy(y, labels, reduction="sum") / len(rgb)


class SplitBrain(nn.Module):
    batch, side = 16, 180

    def __init__(self):
        super().__init__()
        self.to_ab, self.to_l = colorizer(1, 313, 0.5, 1), colorizer(2, 50, 0.5, 1)
        self.centers = torch.rand(313, 2) * 200 - 100

    def loss(self, rgb):
        lab = lab_of(rgb)
        small = labels_at(lab, 16)
        ab, light = nearest(small[:, 1:], self.centers), (small[:, 0] / 2).long().clamp(0, 49)
        losses = [F.cross_entropy(self.to_ab(lab[:, :1] - 50), ab, reduction="sum"),
                  F.cross_entropy(self.to_l(lab[:, 1:]), light, reduction="sum")]
        return sum(losses) / len(rgb)


class Rotation(nn.Module):
    batch, side = 8, 224

    def __init__(self):
        super().__init__()
        wide = lambda i, o, k: block(i, o, k, affine=True)
        self.net = nn.Sequential(trunk((64, 192, 384, 256, 256), 1, pad=2, affine=True), wide(256, 4096, 6), wide(4096, 4096, 1),
                                 nn.Conv2d(4096, 4, 1), nn.Flatten())

    def loss(self, rgb):
        views = torch.cat([torch.rot90(rgb, turns, (1, 2)) for turns in range(4)])
        return F.cross_entropy(self.net(rgb_unit(views)), torch.arange(4).repeat_interleave(len(rgb)))


class Jigsaw(nn.Module):
    batch, side = 8, 255

    def __init__(self):
        super().__init__()
        self.column = nn.Sequential(trunk(stride=2, lrn=True, bn=False), nn.Conv2d(256, 1024, 3), nn.ReLU(inplace=True), nn.Dropout())
        self.head = nn.Sequential(nn.Linear(9 * 1024, 4096), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 1000))
        self.permutations = torch.stack([torch.randperm(9) for _ in range(1000)])
        a = torch.tensor([-1.0, 2.0, -1.0])
        self.projection = torch.eye(3) - a[:, None] * a / 6

    def loss(self, rgb):
        labels = torch.randint(1000, (len(rgb),))
        x = rgb.float()
        draw = torch.rand(len(rgb))
        gray = x.mean(-1, keepdim=True).expand_as(x)
        x = torch.where((draw < 0.5)[:, None, None, None], gray,
                        torch.where((draw < 0.75)[:, None, None, None], (x @ self.projection).round().clamp(0, 255), x))
        tiles = []
        for slot in range(9):
            for picture, label in zip(x, labels):
                cell = int(self.permutations[label, slot])
                top, left = (85 * (cell // 3), 85 * (cell % 3))
                dy, dx = (int(torch.randint(20, ())) for _ in range(2))
                shift = torch.randint(3, (3, 2))
                tiles.append(torch.stack([picture[top + dy + s[0]: top + dy + s[0] + 64, left + dx + s[1]: left + dx + s[1] + 64, c]
                                          for c, s in enumerate(shift.tolist())]))
        tiles = torch.stack(tiles)
        tiles = tiles - tiles.mean((1, 2, 3), keepdim=True)
        tiles = tiles / tiles.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-3) * 50
        features = self.column(tiles).flatten(1).reshape(9, len(rgb), 1024).transpose(0, 1).flatten(1)
        return F.cross_entropy(self.head(features), labels)


DIRECTIONS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


class Context(nn.Module):
    batch, side = 2, 448

    def __init__(self):
        super().__init__()
        wide = lambda i, o, k: block(i, o, k)
        self.tower = nn.Sequential(trunk(groups=1, pad=5, lrn=True), wide(256, 4096, 3))
        self.head = nn.Sequential(wide(8192, 4096, 1), wide(4096, 4096, 1), nn.Conv2d(4096, 8, 1), nn.Flatten())
        self.pairs = [(3 * r + c, 3 * (r + d) + c + e, k) for r in range(3) for c in range(3)
                      for k, (d, e) in enumerate(DIRECTIONS) if 0 <= r + d < 3 and 0 <= c + e < 3]

    def loss(self, rgb):
        patches = []
        for cell in range(9):
            for picture in rgb:
                spare = 448 - 398
                top, left = (int(torch.randint(spare + 1, ())) for _ in range(2))
                y, x = (start + 144 * at + int(torch.randint(15, ())) for start, at in ((top, cell // 3), (left, cell % 3)))
                patch = picture[y: y + 96, x: x + 96].float().permute(2, 0, 1)
                if torch.rand(()) < 1 / 3:
                    side = int((100 + (9025 - 100) * torch.rand(())).sqrt())
                    small = F.interpolate(patch[None], size=(side, side), mode="bilinear", antialias=True)
                    patch = F.interpolate(small, size=(96, 96), mode="bilinear", antialias=True)[0]
                kept = int(torch.randint(3, ()))
                noise = 127 + torch.randint(2, patch.shape).float()
                noise[kept] = patch[kept]
                patches.append(noise)
        patches = torch.stack(patches)
        patches = patches - patches.mean((2, 3), keepdim=True)
        patches = patches / patches.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-3) * 50
        features = self.tower(patches).reshape(9, len(rgb), 4096, 1, 1)
        pairs = torch.cat([torch.cat([features[i], features[j]], 1) for i, j, _ in self.pairs])
        labels = torch.tensor([k for _, _, k in self.pairs]).repeat_interleave(len(rgb))
        return F.cross_entropy(self.head(pairs), labels)


def up(i, o, last=False, affine=False):
    return nn.Sequential(nn.ConvTranspose2d(i, o, 4, 2, 1), *([] if last else [norm(o, affine), nn.ReLU(inplace=True)]))


class Inpainting(nn.Module):
    batch, side = 16, 227

    def __init__(self):
        super().__init__()
        self.encoder = trunk()
        self.channelwise = nn.Parameter(torch.randn(256, 36, 36) / 6)
        self.decoder = nn.Sequential(block(256, 256, 1), up(256, 128), up(128, 64), up(64, 32), up(32, 32), up(32, 3, True))

    def region(self):
        while True:
            noise = torch.rand(1, 1, 12, 12)
            mask = (F.interpolate(noise, size=(341, 341), mode="bicubic")[:, :, 57:284, 57:284] < 0.25).float()
            if 0.2 <= float(mask.mean()) <= 0.3:
                return mask

    def painted(self, rgb, mask):
        features = self.encoder(rgb_unit(rgb) * (1 - mask))
        cells = torch.einsum("bci,coi->bco", features.flatten(2), self.channelwise).reshape(features.shape)
        return F.interpolate(self.decoder(cells), size=(227, 227), mode="bilinear").tanh()

    def loss(self, rgb):
        mask, truth = self.region(), rgb.permute(0, 3, 1, 2).float() / 127.5 - 1
        painted = self.painted(rgb, mask)
        return self.distance(painted, truth, mask) + self.beside(painted, truth)

    def distance(self, painted, truth, mask):
        return ((painted - truth).square() * mask).sum() / (mask.sum() * 3 * len(truth))

    def beside(self, painted, truth):
        return 0.0


def bce(score, target):
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))


class InpaintingAdversarial(Inpainting):
    """Beside the squared distance a discriminator of whole pictures, updated in the same step."""

    def __init__(self):
        super().__init__()
        widths = [3, 64, 128, 256, 512, 512]
        layers = [nn.Sequential(nn.Conv2d(i, o, 4, 2, 1), *([nn.BatchNorm2d(o)] if i > 3 else []), nn.LeakyReLU(0.2, inplace=True))
                  for i, o in zip(widths, widths[1:])]
        self.judge = nn.Sequential(*layers, nn.Conv2d(512, 1, 7), nn.Flatten(0))

    def beside(self, painted, truth):
        own = bce(self.judge(truth), 1.0) + bce(self.judge(painted.detach()), 0.0)
        self.judge.requires_grad_(False)
        against = bce(self.judge(painted), 1.0)
        self.judge.requires_grad_(True)
        return own + 0.001 * against


class Judge(nn.Module):
    """BiGAN's discriminator of pairs; the code is a bias of each normalized layer."""

    def __init__(self):
        super().__init__()
        widths = [3, 64, 128, 256, 512]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 5, 2, 2, bias=i == 3) for i, o in zip(widths, widths[1:]))
        self.codes = nn.ModuleList(nn.Linear(200, o, bias=False) for o in widths[2:])
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[2:])
        self.score = nn.Linear(512 * 16, 1)

    def forward(self, x, z):
        x = F.leaky_relu(self.convs[0](x), 0.2)
        for conv, code, normalize in zip(self.convs[1:], self.codes, self.norms):
            x = F.leaky_relu(normalize(conv(x) + code(z)[:, :, None, None]), 0.2)
        return self.score(x.flatten(1))[:, 0]


class Bigan(nn.Module):
    batch, side = 32, 112

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(trunk(affine=True, slope=0.2), nn.Flatten(), nn.Linear(256 * 9, 200))
        self.first = nn.Sequential(nn.Linear(200, 8192, bias=False), nn.BatchNorm1d(8192), nn.ReLU(inplace=True))
        self.generator = nn.Sequential(up(512, 256, affine=True), up(256, 128, affine=True), up(128, 64, affine=True), up(64, 3, True))
        self.judge = Judge()

    def loss(self, rgb):
        x = rgb.permute(0, 3, 1, 2).float() / 127.5 - 1
        small = F.interpolate(x, size=(64, 64), mode="bilinear")
        codes, drawn = self.encoder(x.flip(1)), torch.rand(len(rgb), 200) * 2 - 1
        generated = (self.generator(self.first(drawn).reshape(-1, 512, 4, 4)) / 2).tanh()
        own = bce(self.judge(small, codes.detach()), 1.0) + bce(self.judge(generated.detach(), drawn), 0.0)
        for parameter in self.judge.parameters():
            parameter.requires_grad_(False)
        against = bce(self.judge(small, codes), 0.0) + bce(self.judge(generated, drawn), 1.0)
        for parameter in self.judge.parameters():
            parameter.requires_grad_(True)
        return own + against


class Residual(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        conv = lambda i, o, k, s: nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o))
        self.first, self.second = conv(i, o, 3, stride), conv(o, o, 3, 1)
        self.shortcut = nn.Identity() if i == o else conv(i, o, 1, stride)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x), inplace=True)) + self.shortcut(x), inplace=True)


def turned(x, turns):
    """RGB in [0, 1] (N, 3, H, W) with another hue."""
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = (value - low).clamp(min=1e-8)
    r, g, b = x.split(1, 1)
    hue = torch.where(value == r, (g - b) / chroma, torch.where(value == g, 2 + (b - r) / chroma, 4 + (r - g) / chroma))
    k = (torch.tensor([5.0, 3.0, 1.0])[:, None, None] + hue + 6 * turns) % 6
    return value - (value - low) * torch.minimum(k, 4 - k).clamp(0, 1)


class Simclr(nn.Module):
    batch, side = 32, 32

    def __init__(self):
        super().__init__()
        widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
        blocks = [Residual(i, o, 1 if i == o else 2) for i, o in zip(widths, widths[1:])]
        hidden = lambda: [nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True)]
        self.net = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), *blocks, nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), *hidden(), *hidden(), nn.Linear(512, 128, bias=False), nn.BatchNorm1d(128, affine=False))

    def views(self, rgb):
        x = torch.cat([rgb, rgb]).permute(0, 3, 1, 2).float() / 255
        n = len(x)
        area, ratio = torch.empty(n).uniform_(0.08, 1), torch.empty(n).uniform_(-0.2877, 0.2877).exp()
        w, h = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
        zero = torch.zeros(n)
        theta = torch.stack([torch.stack([w * flip, zero, (1 - w) * (2 * torch.rand(n) - 1)], 1),
                             torch.stack([zero, h, (1 - h) * (2 * torch.rand(n) - 1)], 1)], 1)
        x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False, padding_mode="border")
        some = (torch.rand(n) < 0.8).float()[:, None, None, None]
        factor = lambda: torch.empty(n, 1, 1, 1).uniform_(0.6, 1.4)
        gray = lambda x: (x * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        changes = [
            lambda x: x * factor(),
            lambda x: (m := x.mean((2, 3), keepdim=True)) + factor() * (x - m),
            lambda x: (v := x.amax(1, keepdim=True)) - (v - x) * torch.minimum(factor(), v / (v - x.amin(1, keepdim=True)).clamp(min=1e-8)),
            lambda x: turned(x, torch.empty(n, 1, 1, 1).uniform_(-0.1, 0.1)),
        ]
        for change in torch.randperm(4).tolist():
            x = some * changes[change](x).clamp(0, 1) + (1 - some) * x
        x = torch.where((torch.rand(n) < 0.2)[:, None, None, None], gray(x).expand_as(x), x)
        return (x - MEAN[:, None, None]) / DEVIATION[:, None, None]

    def loss(self, rgb):
        z = F.normalize(self.net(self.views(rgb)))
        similar = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf"))
        return F.cross_entropy(similar, (torch.arange(len(z)) + len(rgb)) % len(z))


def gray_of(rgb):
    """Luma of u8 (B, H, W, 3) from 0 to 1: (B, 1, H, W)."""
    return (rgb.float() / 255 @ torch.tensor([0.299, 0.587, 0.114]))[:, None]


VGG16 = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]


def vgg_block(i, o, convs, bn):
    return nn.ModuleList(block(i if k == 0 else o, o, 3, pad=1, bn=bn) for k in range(convs))


def ends_of_blocks(blocks, x):
    """The output of every layer, block by block."""
    outputs = []
    for number, layers in enumerate(blocks):
        x = F.max_pool2d(x, 2) if number else x
        outputs.append([])
        for layer in layers:
            x = layer(x)
            outputs[-1].append(x)
    return outputs


class Dahl(nn.Module):
    batch, side = 4, 224

    def __init__(self):
        super().__init__()
        inputs = [3, 64, 128, 256]
        self.blocks = nn.ModuleList(vgg_block(i, o, convs, False) for i, (o, convs) in zip(inputs, VGG16))
        bare = lambda i, o, k: nn.Conv2d(i, o, k, padding=k // 2, bias=False)
        self.beside = nn.ModuleList(nn.BatchNorm2d(c) for c in (3, 64, 128, 256, 512))
        self.first = nn.Sequential(bare(512, 256, 1), nn.ReLU(inplace=True))
        onto = lambda i, o: nn.Sequential(bare(i, o, 3), nn.BatchNorm2d(o), nn.ReLU(inplace=True))
        self.onto = nn.ModuleList([onto(3, 3), onto(64, 3), onto(128, 64), onto(256, 128)])
        self.uv = nn.Sequential(bare(3, 2, 3), nn.BatchNorm2d(2))
        luma, unit = torch.tensor([0.299, 0.587, 0.114]), torch.eye(3)
        self.to_uv = torch.stack([(unit[2] - luma) * 0.492 / (2 * 0.435912), (unit[0] - luma) * 0.877 / (2 * 0.614777)])
        self.blurs = []
        for radius, deviation in ((1, 0.8), (2, 1.1)):
            line = torch.exp(-torch.arange(-radius, radius + 1.0) ** 2 / (2 * deviation ** 2))
            line = line / line.sum()
            self.blurs.append((line[:, None] * line).expand(2, 1, -1, -1).contiguous())

    def loss(self, rgb):
        gray = gray_of(rgb) * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
        ends = [gray] + [layers[-1] for layers in ends_of_blocks(self.blocks, gray)]
        y = self.first(self.beside[4](ends[4]))
        for level in (3, 2, 1, 0):
            y = F.interpolate(y, scale_factor=2, mode="bilinear") if level else y
            y = self.onto[level](y + self.beside[level](ends[level]))
        truth = (rgb.float() / 255 @ self.to_uv.T + 0.5).permute(0, 3, 1, 2)
        off = self.uv(y).sigmoid() - truth
        total = off.square().sum()
        for blur in self.blurs:
            total = total + F.conv2d(off, blur, padding=blur.shape[-1] // 2, groups=2).square().sum()
        return total / (3 * len(rgb))


class Iizuka(nn.Module):
    """Without the classifier; pictures have the size that the global stream sees, so that both streams share the low-level features."""
    batch, side = 8, 224

    def __init__(self):
        super().__init__()
        one = lambda i, o, k=3, s=1, pad=1: block(i, o, k, s, pad, affine=True)
        low = [(64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1)]
        self.low = nn.Sequential(*(one(i, o, s=s) for i, (o, s) in zip([1] + [o for o, _ in low], low)))
        self.whole = nn.Sequential(*(one(512, 512, s=s) for s in (2, 1, 2, 1)), one(512, 1024, 7, pad=0), one(1024, 512, 1, pad=0),
                                   one(512, 256, 1, pad=0))
        self.local = nn.Sequential(one(512, 512), one(512, 256))
        twice = lambda: nn.Upsample(scale_factor=2)
        self.color = nn.Sequential(one(512, 256, 1, pad=0), one(256, 128), twice(), one(128, 64), one(64, 64), twice(), one(64, 32),
                                   nn.Conv2d(32, 2, 3, padding=1), twice())

    def loss(self, rgb):
        low = self.low(gray_of(rgb) - 0.4488)
        local, vector = self.local(low), self.whole(low)
        ab = self.color(torch.cat([local, vector.expand(-1, -1, *local.shape[2:])], 1)).sigmoid()
        return (ab - (lab_of(rgb)[:, 1:] / 200 + 0.5)).square().sum(1).mean()


class Larsson(nn.Module):
    batch, side = 2, 352
    samples, border, window, bins = 128, 96, 7, 32

    def __init__(self):
        super().__init__()
        inputs = [1, 64, 128, 256, 512]
        self.blocks = nn.ModuleList(vgg_block(i, o, convs, True) for i, (o, convs) in zip(inputs, VGG16))
        self.fc6 = nn.Sequential(block(512, 4096, 7, pad=3), nn.Dropout())
        self.fc7 = nn.Sequential(block(4096, 4096, 1), nn.Dropout())
        columns = 1 + sum(channels * convs for channels, convs in VGG16) + 2 * 4096
        self.column = nn.Sequential(nn.Linear(columns, 1024), nn.ReLU(inplace=True), nn.Dropout())
        self.hue, self.chroma = nn.Linear(1024, self.bins), nn.Linear(1024, self.bins)

    def looked_up(self, maps, stride, y, x):
        """Values of maps (B, C, h, w) at pixels (B, S): (B, S, C)."""
        height, width = maps.shape[2:]
        place = lambda at, cells: (at / stride).clamp(max=cells - 1) * 2 / (cells - 1) - 1
        grid = torch.stack([place(x, width), place(y, height)], -1)[:, :, None]
        return F.grid_sample(maps, grid, align_corners=True)[..., 0].transpose(1, 2)

    def targets(self, rgb, y, x):
        """Histograms of hue and chroma of the windows around pixels, and the pixels' own chroma and value."""
        reach = torch.arange(self.window) - self.window // 2
        rows, columns = (y[..., None, None] + reach[:, None]), (x[..., None, None] + reach)
        pictures = torch.arange(len(rgb))[:, None, None, None]
        c = rgb[pictures, rows, columns].float() / 255
        value, low = c.amax(-1), c.amin(-1)
        chroma, (r, g, b) = value - low, c.unbind(-1)
        safe = chroma.clamp(min=1e-8)
        hue = torch.where(value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe)) / 6 % 1
        share = lambda v: F.one_hot((v * self.bins).long().clamp(0, self.bins - 1), self.bins).float().mean((2, 3))
        middle = self.window // 2
        light = (value + low)[..., middle, middle] / 2
        return share(hue), share(chroma), chroma[..., middle, middle], (3 * torch.minimum(light, 1 - light)).clamp(max=1)

    def loss(self, rgb):
        y, x = (torch.randint(self.border, self.side - self.border, (len(rgb), self.samples)) for _ in range(2))
        gray = gray_of(rgb) - 0.4488
        outputs = ends_of_blocks(self.blocks, gray)
        last = self.fc6(F.max_pool2d(outputs[-1][-1], 2))
        parts = [(gray, 1)] + [(maps, 2 ** number) for number, layers in enumerate(outputs) for maps in layers]
        parts += [(last, 32), (self.fc7(last), 32)]
        column = self.column(torch.cat([self.looked_up(maps, stride, y, x) for maps, stride in parts], 2))
        hue, chroma, saturation, exposure = self.targets(rgb, y, x)
        against = lambda logits, target, weight: -((target * logits.log_softmax(-1)).sum(-1) * weight).mean()
        return 5 * against(self.hue(column), hue, saturation) + against(self.chroma(column), chroma, exposure)


class Siggraph17(nn.Module):
    """Regression with simulated hints; the class head learns on the side."""
    batch, side = 4, 176

    def __init__(self):
        super().__init__()
        conv = lambda i, o, d=1: [nn.Conv2d(i, o, 3, padding=d, dilation=d), nn.ReLU(inplace=True)]
        several = lambda i, o, n, d=1: nn.Sequential(*conv(i, o, d), *(l for _ in range(n - 1) for l in conv(o, o, d)), nn.BatchNorm2d(o))
        self.down = nn.ModuleList([several(4, 64, 2), several(64, 128, 2), several(128, 256, 3)])
        self.inner = nn.Sequential(several(256, 512, 3), several(512, 512, 3, 2), several(512, 512, 3, 2), several(512, 512, 3))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, 2, 1) for i, o in ((512, 256), (256, 128), (128, 128)))
        self.short = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in ((256, 256), (128, 128), (64, 128)))
        after = lambda *layers: nn.Sequential(nn.ReLU(inplace=True), *layers)
        self.after = nn.ModuleList([after(several(256, 256, 2)), after(several(128, 128, 1)),
                                    after(nn.Conv2d(128, 128, 3, padding=1), nn.LeakyReLU(0.2, inplace=True))])
        self.classes, self.ab = nn.Conv2d(256, 529, 1), nn.Conv2d(128, 2, 1)

    def hints(self, ab):
        """a, b and a mask of squares near the middle, in their mean colors."""
        given = torch.zeros(len(ab), 3, *ab.shape[2:])
        for colors, hints in zip(ab, given):
            while torch.rand(()) >= 0.125:
                side = int(torch.randint(1, 10, ()))
                room = self.side - side
                top, left = (int((torch.randn(()) * (room + 1) / 4 + (room + 1) / 2).clamp(0, room)) for _ in range(2))
                here = (slice(top, top + side), slice(left, left + side))
                hints[:2, *here] = colors[:, *here].mean((1, 2), keepdim=True)
                hints[2, *here] = 1
        return given

    def loss(self, rgb):
        lab = lab_of(rgb)
        ab = lab[:, 1:]
        hints = self.hints(ab)
        one = self.down[0](torch.cat([(lab[:, :1] - 50) / 100, hints[:, :2] / 110, hints[:, 2:]], 1))
        two = self.down[1](one[:, :, ::2, ::2])
        three = self.down[2](two[:, :, ::2, ::2])
        x = self.inner(three[:, :, ::2, ::2])
        for number, beside in enumerate((three, two, one)):
            x = self.after[number](self.up[number](x) + self.short[number](beside))
            eight = x if number == 0 else eight
        steps = (labels_at(ab, 4) / 10 + 11).round().clamp(0, 22).long()
        classes = F.cross_entropy(self.classes(eight.detach()), steps[:, 0] * 23 + steps[:, 1])
        return classes + 10 * 2 * (self.ab(x).tanh() - ab / 110).abs().mean()


TASKS = {
    "autoencoder": Autoencoder, "cross-channel": CrossChannel, "split-brain": SplitBrain, "rotation": Rotation, "jigsaw": Jigsaw,
    "context": Context, "inpainting": Inpainting, "inpainting-adversarial": InpaintingAdversarial, "bigan": Bigan, "simclr": Simclr,
    "dahl": Dahl, "iizuka": Iizuka, "larsson": Larsson, "siggraph17": Siggraph17,
}


def stepper(args, layout):
    torch.manual_seed(0)
    task = TASKS[args.task]().to(memory_format=layout)
    optimizer = torch.optim.SGD(task.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True)
    rgb = torch.randint(0, 256, (args.batch or task.batch, task.side, task.side, 3), dtype=torch.uint8)

    def step():
        optimizer.zero_grad(set_to_none=True)
        task.loss(rgb).backward()
        optimizer.step()

    return step, len(rgb)


def seconds(step, steps):
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="contiguous")
    parser.add_argument("--faster-layout", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    if args.faster_layout:
        times = {}
        for name, layout in layouts.items():
            step, _ = stepper(args, layout)
            seconds(step, 1)
            times[name] = seconds(step, 2)
        print(min(times, key=times.get))
        return
    step, batch = stepper(args, layouts[args.layout])
    seconds(step, 1)
    for _ in range(args.rounds):
        taken = seconds(step, args.steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"who": "torch", "torch": torch.__version__, "task": args.task, "batch": batch, "layout": args.layout,
                          "images_per_s": batch / taken, "seconds": taken, "precision": "f32", "peak_bytes": peak}), flush=True)


main()
