"""Times a colorizer's training step in PyTorch, as `cargo bench --bench colorizer` times ours.

    python scripts/bench_torch.py [--backbone alexnet|vgg] [--batch N] [--size N] [--rounds 5] [--threads 2] [--forward]

Prints one JSON line a round: images per second. Run it interleaved with ours (scripts/bench_side_by_side.sh), alone on the machine,
with MALLOC_TOP_PAD_ / MALLOC_TRIM_THRESHOLD_ / MALLOC_MMAP_MAX_ set so that its heap is retained, as ours is.
"""
import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F


def block(i, o, kernel, stride=1, pad=0, groups=1, dilation=1):
    return nn.Sequential(
        nn.Conv2d(i, o, kernel, stride, pad, dilation, groups),
        nn.BatchNorm2d(o, affine=False, momentum=0.001),
        nn.ReLU(inplace=True),
    )


def vgg_block(i, o, convs, stride=1, dilation=1):
    """(convolution, ReLU) x convs, the last with the stride; then normalisation."""
    layers = []
    for n in range(convs):
        last = n == convs - 1
        layers += [nn.Conv2d(o if n else i, o, 3, stride if last else 1, dilation, dilation), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.BatchNorm2d(o, affine=False, momentum=0.001))


def vgg(bins=313):
    """The released colorizer; its logits lie at every fourth pixel."""
    return nn.Sequential(
        vgg_block(1, 64, 2, 2), vgg_block(64, 128, 2, 2), vgg_block(128, 256, 3, 2),
        vgg_block(256, 512, 3), vgg_block(512, 512, 3, dilation=2), vgg_block(512, 512, 3, dilation=2),
        vgg_block(512, 512, 3),
        nn.ConvTranspose2d(512, 256, 4, 2, 1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(inplace=True), nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(inplace=True),
        nn.Conv2d(256, bins, 1),
    )


def alexnet(bins=313):
    pool = dict(kernel_size=3, padding=1, ceil_mode=True)
    return nn.Sequential(
        block(1, 96, 11, 4, 5), nn.MaxPool2d(stride=2, **pool),
        block(96, 256, 5, 1, 2, groups=2), nn.MaxPool2d(stride=2, **pool),
        block(256, 384, 3, 1, 1), block(384, 384, 3, 1, 1, groups=2), block(384, 256, 3, 1, 1, groups=2),
        nn.MaxPool2d(stride=1, **pool),
        block(256, 4096, 6, 1, 5, dilation=2), block(4096, 4096, 1), nn.Conv2d(4096, bins, 1),
    )


# network, batch, picture side, pixels from label to label, whether corners align, Adam's second beta
BACKBONES = {
    "alexnet": (alexnet, 16, 180, 8, True, 0.999),
    "vgg": (vgg, 4, 176, 4, False, 0.99),
}


def soft_target(ab, centres, neighbours=10, sigma=5.0):
    """The dense target that the paper's loss needs in PyTorch: (B, Q, h, w)."""
    b, _, h, w = ab.shape
    flat = ab.permute(0, 2, 3, 1).reshape(-1, 2)
    distance, nearest = torch.cdist(flat, centres).topk(neighbours, largest=False)
    weight = torch.exp(-distance**2 / (2 * sigma**2))
    weight = weight / weight.sum(1, keepdim=True)
    dense = torch.zeros(flat.shape[0], centres.shape[0]).scatter_(1, nearest, weight)
    return dense.reshape(b, h, w, -1).permute(0, 3, 1, 2).contiguous()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--backbone", choices=BACKBONES, default="alexnet")
    p.add_argument("--batch", type=int)
    p.add_argument("--size", type=int)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--forward", action="store_true", help="time the forward pass alone, without gradients")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    network, batch, size, stride, align_corners, beta2 = BACKBONES[args.backbone]
    batch, size = args.batch or batch, args.size or size
    net = network()
    decay = 1e-3
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-5, betas=(0.9, beta2), weight_decay=decay, fused=True)
    side = -(-size // stride)
    centres = torch.rand(313, 2) * 200 - 100
    x = torch.rand(batch, 1, size, size) * 100 - 50
    ab = torch.rand(batch, 2, side, side) * 100 - 50
    weight = torch.rand(313) + 0.5

    def forward():
        logits = net(x)
        if logits.shape[2:] == (side, side):
            return logits
        return F.interpolate(logits, size=(side, side), mode="bilinear", align_corners=align_corners)

    def step():
        target = soft_target(ab, centres)
        log_p = F.log_softmax(forward(), dim=1)
        v = weight[target.argmax(1)]
        loss = -(v.unsqueeze(1) * target * log_p).sum() / batch
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()

    def once():
        if args.forward:
            with torch.no_grad():
                forward()
        else:
            step()

    once()
    for _ in range(args.rounds):
        start = time.perf_counter()
        for _ in range(args.steps):
            once()
        seconds = (time.perf_counter() - start) / args.steps
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        line = {"who": "torch", "images_per_s": batch / seconds, "seconds": seconds, "peak_bytes": peak}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
