"""Times the linear probe of five layers on cached features in PyTorch, as `cargo bench --bench probe` times ours.

    python scripts/bench_torch_probe.py [--batch 128] [--classes 1000] [--rounds 5] [--steps 10] [--threads 2]

The features of a batch are taken from the cache by index; then, for each layer, batch normalization without scale and shift, one linear
classifier from zero, cross entropy; the losses are added; SGD with momentum and decay. Prints one JSON line a round: samples a second.
Run it interleaved with ours (scripts/bench_side_by_side.sh probe).
"""
import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F

# Features of conv1 ... conv5 after the published reduction of AlexNet's maps.
WIDTHS = [9600, 9216, 9600, 9600, 9216]
BATCHES = 2


def head(width, classes):
    linear = nn.Linear(width, classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.BatchNorm1d(width, affine=False, momentum=0.001), linear)


class Probe:
    def __init__(self, args):
        images = BATCHES * args.batch
        self.cache = [torch.rand(images, width) for width in WIDTHS]
        self.heads = nn.ModuleList(head(width, args.classes) for width in WIDTHS)
        fused = dict(lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
        self.optimizer = torch.optim.SGD(self.heads.parameters(), **fused)
        self.labels = torch.randint(0, args.classes, (images,))
        self.batches = torch.arange(images).reshape(BATCHES, args.batch)

    def step(self, index):
        batch = self.batches[index % BATCHES]
        labels = self.labels[batch]
        logits = (net(cache[batch]) for net, cache in zip(self.heads, self.cache))
        loss = sum(F.cross_entropy(x, labels) for x in logits)
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def main():
    p = argparse.ArgumentParser()
    for name, value in [("batch", 128), ("classes", 1000), ("rounds", 5), ("steps", 10), ("threads", 2)]:
        p.add_argument(f"--{name}", type=int, default=value)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    probe = Probe(args)
    probe.step(0)
    for _ in range(args.rounds):
        start = time.perf_counter()
        for i in range(args.steps):
            loss = probe.step(i)
        seconds = (time.perf_counter() - start) / args.steps
        print(json.dumps({
            "who": "torch", "samples_per_s": args.batch / seconds, "seconds": seconds, "batch": args.batch, "classes": args.classes,
            "widths": WIDTHS, "loss": loss, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }), flush=True)


if __name__ == "__main__":
    main()
