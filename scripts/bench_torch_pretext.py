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

    def loss(self, rgb):
        mask, truth = self.region(), rgb.permute(0, 3, 1, 2).float() / 127.5 - 1
        features = self.encoder(rgb_unit(rgb) * (1 - mask))
        cells = torch.einsum("bci,coi->bco", features.flatten(2), self.channelwise).reshape(features.shape)
        painted = F.interpolate(self.decoder(cells), size=(227, 227), mode="bilinear").tanh()
        return ((painted - truth).square() * mask).sum() / (mask.sum() * 3 * len(rgb))


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
        bce = lambda score, target: F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))
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


TASKS = {
    "autoencoder": Autoencoder, "cross-channel": CrossChannel, "split-brain": SplitBrain, "rotation": Rotation, "jigsaw": Jigsaw,
    "context": Context, "inpainting": Inpainting, "bigan": Bigan, "simclr": Simclr,
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
