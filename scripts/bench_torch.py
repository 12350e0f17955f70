"""Times the AlexNet colorizer's training step in PyTorch, as `cargo bench --bench alexnet` times ours.

    python scripts/bench_torch.py [--batch 16] [--size 180] [--rounds 5] [--threads 2] [--forward]

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


def colorizer(bins=313):
    pool = dict(kernel_size=3, padding=1, ceil_mode=True)
    return nn.Sequential(
        block(1, 96, 11, 4, 5), nn.MaxPool2d(stride=2, **pool),
        block(96, 256, 5, 1, 2, groups=2), nn.MaxPool2d(stride=2, **pool),
        block(256, 384, 3, 1, 1), block(384, 384, 3, 1, 1, groups=2), block(384, 256, 3, 1, 1, groups=2),
        nn.MaxPool2d(stride=1, **pool),
        block(256, 4096, 6, 1, 5, dilation=2), block(4096, 4096, 1), nn.Conv2d(4096, bins, 1),
    )


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
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--size", type=int, default=180)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--forward", action="store_true", help="time the forward pass alone, without gradients")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    net = colorizer()
    decay = 1e-3
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-5, betas=(0.9, 0.999), weight_decay=decay, fused=True)
    side = (args.size + 7) // 8
    centres = torch.rand(313, 2) * 200 - 100
    x = torch.rand(args.batch, 1, args.size, args.size) * 100 - 50
    ab = torch.rand(args.batch, 2, side, side) * 100 - 50
    weight = torch.rand(313) + 0.5

    def forward():
        return F.interpolate(net(x), size=(side, side), mode="bilinear", align_corners=True)

    def step():
        target = soft_target(ab, centres)
        log_p = F.log_softmax(forward(), dim=1)
        v = weight[target.argmax(1)]
        loss = -(v.unsqueeze(1) * target * log_p).sum() / args.batch
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
        print(json.dumps({"who": "torch", "images_per_s": args.batch / seconds, "seconds": seconds, "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main()
