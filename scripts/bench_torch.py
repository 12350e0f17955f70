"""Times a colorizer's training step in PyTorch, as `cargo bench --bench colorizer` times ours.

    python scripts/bench_torch.py [--backbone alexnet|vgg|resnet18] [--batch N] [--size N] [--rounds 5] [--threads 2] [--forward]
    python scripts/bench_torch.py [...] --layout channels_last|contiguous    # on the processor, default contiguous
    python scripts/bench_torch.py [...] --faster-layout                      # which of the two is faster there
    python scripts/bench_torch.py [...] --precision bf16                     # on the processor: autocast, channels_last
    python scripts/bench_torch.py --device cuda [--batch N|fill] [--precision bf16|tf32|f32] [--compile]
    python scripts/bench_torch.py --device cuda --layers
    python scripts/bench_torch.py --device cuda --ceiling

Prints one JSON line a round: images per second. Run it interleaved with ours (scripts/bench_side_by_side.sh, scripts/gpu_check.sh),
alone on the machine; on the processor with MALLOC_TOP_PAD_ / MALLOC_TRIM_THRESHOLD_ / MALLOC_MMAP_MAX_ set so that its heap is
retained, as ours is.

On a GPU, and with --whole, the step begins with the bytes of the pictures: Lab, labels at sampled points, soft targets, network, loss,
backward, Adam; with autocast to bf16, channels_last, cudnn.benchmark and the fused Adam. --ceiling measures what the device can do.
"""
import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
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
    """(convolution, ReLU) x convs, the last with the stride; then normalization."""
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


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, i, o, stride, dilation):
        super().__init__()

        def conv(i, o, kernel, stride, dilation):
            pad = dilation * (kernel // 2)
            return nn.Sequential(nn.Conv2d(i, o, kernel, stride, pad, dilation, bias=False), nn.BatchNorm2d(o))

        self.first, self.second = conv(i, o, 3, stride, dilation), conv(o, o, 3, 1, dilation)
        self.shortcut = nn.Identity() if i == o else conv(i, o, 1, stride, 1)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x), inplace=True)) + self.shortcut(x), inplace=True)


def resnet18(bins=313):
    """torchvision's network of one channel; the strides of layer3 and layer4 are dilation, logits lie at every eighth pixel."""
    stem = [nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    # input, output, stride, dilation of the first block and of the second
    stages = [(64, 64, 1, 1, 1), (64, 128, 2, 1, 1), (128, 256, 1, 1, 2), (256, 512, 1, 2, 4)]
    blocks = [b for i, o, stride, one, two in stages for b in (Residual(i, o, stride, one), Residual(o, o, 1, two))]
    return nn.Sequential(*stem, *blocks, nn.Conv2d(512, bins, 1))


# network, batch, picture side, pixels from label to label, whether corners align, Adam's second beta
BACKBONES = {
    "alexnet": (alexnet, 16, 180, 8, True, 0.999),
    "vgg": (vgg, 4, 176, 4, False, 0.99),
    "resnet18": (resnet18, 16, 128, 8, True, 0.999),
}


def soft_target(ab, centers, neighbors=10, sigma=5.0):
    """The dense target that the paper's loss needs in PyTorch: (B, Q, h, w)."""
    b, _, h, w = ab.shape
    flat = ab.permute(0, 2, 3, 1).reshape(-1, 2)
    distance, nearest = torch.cdist(flat, centers).topk(neighbors, largest=False)
    weight = torch.exp(-distance**2 / (2 * sigma**2))
    weight = weight / weight.sum(1, keepdim=True)
    dense = torch.zeros(flat.shape[0], centers.shape[0], device=ab.device).scatter_(1, nearest, weight)
    return dense.reshape(b, h, w, -1).permute(0, 3, 1, 2).contiguous()


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


class Step:
    """Training's own step; `loss_of` is what --compile compiles."""

    def __init__(self, args, batch):
        network, _, size, self.stride, self.align_corners, beta2 = BACKBONES[args.backbone]
        size, device = args.size or size, args.device
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = args.precision != "f32"
        self.net = network().to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=3e-5, betas=(0.9, beta2), weight_decay=1e-3, fused=True)
        self.centers = torch.rand(313, 2, device=device) * 200 - 100
        self.weight = torch.rand(313, device=device) + 0.5
        shape = (batch, size, size, 3)
        self.batches = [torch.randint(0, 256, shape, dtype=torch.uint8, device=device) for _ in range(3)]
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=args.precision == "bf16")
        self.loss_of = torch.compile(self.loss, dynamic=False) if args.compile else self.loss

    def loss(self, rgb):
        with torch.no_grad():
            lab = lab_of(rgb)
            ab = lab[:, 1:, :: self.stride, :: self.stride]
            target = soft_target(ab, self.centers)
            v = self.weight[target.argmax(1)] * (ab.abs().amax((1, 2, 3)) > 5)[:, None, None]
            x = (lab[:, :1] - 50).contiguous(memory_format=torch.channels_last)
        with self.autocast:
            logits = self.net(x)
        if logits.shape[2:] != ab.shape[2:]:
            size = ab.shape[2:]
            logits = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=self.align_corners)
        return -(v.unsqueeze(1) * target * F.log_softmax(logits.float(), dim=1)).sum() / len(rgb)

    def __call__(self, index):
        loss = self.loss_of(self.batches[index % len(self.batches)])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def whole(args, batch):
    """Lines of the rounds at that batch."""
    on_gpu = args.device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    step = Step(args, batch)
    for i in range(3):
        step(i).item()
    lines = []
    for _ in range(args.rounds):
        start = time.perf_counter()
        for i in range(args.steps):
            loss = step(i)
        loss = loss.item()  # waits for the device
        seconds = (time.perf_counter() - start) / args.steps
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        memory = {"peak_bytes": peak}
        if on_gpu:
            memory = {"peak_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved()}
        lines.append({
            "who": "torch compiled" if args.compile else "torch eager",
            "device": torch.cuda.get_device_name() if on_gpu else "cpu", "torch": torch.__version__,
            "backbone": args.backbone, "batch": batch, "size": args.size or BACKBONES[args.backbone][2],
            "precision": args.precision, "images_per_s": batch / seconds, "seconds": seconds, **memory,
            "loss_per_image": loss,
        })
    return lines


def fill(args):
    """Lines of the largest batch that runs: doubled ones and the half step after the last; smaller ones where the first fails."""
    if args.device == "cpu" and args.most == 1 << 30:
        raise SystemExit("--batch fill on the processor would take all of the machine's memory: say --most N")

    def tried(batch):
        try:
            return whole(args, batch)
        except torch.OutOfMemoryError as e:
            reason.append(str(e).split(". ")[0])
        finally:
            gc.collect()
            torch._dynamo.reset()
            if args.device != "cpu":
                torch.cuda.empty_cache()

    reason = []
    batch = min(args.start or BACKBONES[args.backbone][1], args.most)
    while (best := tried(batch)) is None:
        batch = batch * 3 // 4
        if batch == 0:
            raise SystemExit(f"not even one picture runs: {reason[-1]}")
    while not reason and 2 * batch <= args.most:
        lines = tried(2 * batch)
        best, batch = (lines, 2 * batch) if lines else (best, batch)
        if not lines and (lines := tried(batch * 3 // 2)):
            best = lines
    return [{**line, "ended_by": reason[0] if reason else f"--most {args.most}"} for line in best]


def ceiling(device):
    """TFLOP/s of a bf16 matrix product of random data and bytes a second of a copy, medians of 20."""
    n, on_gpu = (8192, True) if device != "cpu" else (1024, False)
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16 if on_gpu else torch.float32) for _ in range(2))
    source = torch.randn((1 << 30) if on_gpu else (1 << 24), device=device)
    target = torch.empty_like(source)

    def seconds(work):
        times = []
        for _ in range(25):
            if on_gpu:
                torch.cuda.synchronize()
            start = time.perf_counter()
            work()
            if on_gpu:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return statistics.median(times[5:])

    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu", "torch": torch.__version__,
        "product": f"{n}x{n}x{n} {'bf16' if on_gpu else 'f32'}", "tflops": 2 * n**3 / seconds(lambda: torch.matmul(a, b)) / 1e12,
        "copy_bytes_per_s": 2 * 4 * source.numel() / seconds(lambda: target.copy_(source)),
    }


def layers(args):
    """A line for each layer: seconds of its forward pass and of the gradients of its input and parameters, alone, means of
    --steps passes that are enqueued together, after as many that are not counted."""
    network, batch, size, *_ = BACKBONES[args.backbone]
    batch, size, device = int(args.batch or batch), args.size or size, args.device
    on_gpu = device != "cpu"
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = args.precision != "f32"
    autocast = torch.autocast(device, torch.bfloat16, enabled=on_gpu and args.precision == "bf16")
    net = network().to(device, memory_format=torch.channels_last)
    x = (torch.rand(batch, 1, size, size, device=device) * 100 - 50).contiguous(memory_format=torch.channels_last)

    def now():
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(module, x, needs_input):
        x = x.detach().requires_grad_(needs_input)
        wanted = [x] * needs_input + list(module.parameters())
        start = now()
        with autocast:
            # ReLUs in place would overwrite the input of the next pass
            passes = [module(x.clone() if isinstance(module, nn.ReLU) else x) for _ in range(args.steps)]
        middle = now()
        for y in passes if wanted else []:
            torch.autograd.grad(y, wanted, y.detach())
        return passes[0].detach(), (middle - start) / args.steps, (now() - middle) / args.steps

    lines = []
    for name, module in net.named_modules():
        if not list(module.children()):
            seconds(module, x, bool(lines))
            y, forward, backward = seconds(module, x, bool(lines))
            lines.append({
                "who": "torch eager", "device": torch.cuda.get_device_name() if on_gpu else "cpu", "batch": batch, "size": size,
                "layer": f"{name} {type(module).__name__}", "shape": [y.shape[0], *y.shape[2:], y.shape[1]],
                "forward": forward, "backward": backward,
            })
            x = y
    return lines


def parts(args):
    """The step from Lab on, or the forward pass."""
    network, batch, size, stride, align_corners, beta2 = BACKBONES[args.backbone]
    batch, size = int(args.batch or batch), args.size or size
    layout = getattr(torch, f"{args.layout}_format" if args.layout == "contiguous" else args.layout)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16")
    net = network().to(memory_format=layout)
    decay = 1e-3
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-5, betas=(0.9, beta2), weight_decay=decay, fused=True)
    side = -(-size // stride)
    centers = torch.rand(313, 2) * 200 - 100
    x = (torch.rand(batch, 1, size, size) * 100 - 50).contiguous(memory_format=layout)
    ab = torch.rand(batch, 2, side, side) * 100 - 50
    weight = torch.rand(313) + 0.5

    def forward():
        with autocast:
            logits = net(x)
        logits = logits.float()
        if logits.shape[2:] == (side, side):
            return logits
        return F.interpolate(logits, size=(side, side), mode="bilinear", align_corners=align_corners)

    def step():
        target = soft_target(ab, centers)
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
        line = {"who": "torch", "images_per_s": batch / seconds, "seconds": seconds, "layout": args.layout,
                "precision": args.precision, "peak_bytes": peak}
        print(json.dumps(line), flush=True)


def faster_layout(args):
    """The faster of the two memory layouts on the processor, each timed in its own process."""
    own = [a for a in sys.argv[1:] if a != "--faster-layout"]

    def speed(layout):
        command = [sys.executable, sys.argv[0], *own, "--rounds", "2", "--layout", layout]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return max(json.loads(line)["images_per_s"] for line in lines)

    return max(["contiguous", "channels_last"], key=speed)


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--backbone", choices=BACKBONES, default="alexnet")
    p.add_argument("--batch", help="a number, or `fill`: as many as the device's memory holds")
    p.add_argument("--start", type=int, help="fill: the first batch that is tried")
    p.add_argument("--most", type=int, default=1 << 30, help="fill: no more images than this")
    p.add_argument("--size", type=int)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--forward", action="store_true", help="time the forward pass alone, without gradients")
    p.add_argument("--whole", action="store_true", help="from the bytes of the pictures on; always so on a GPU")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    p.add_argument("--precision", choices=["bf16", "tf32", "f32"], help="bf16 on a GPU, else f32, unless told")
    p.add_argument("--layout", choices=["contiguous", "channels_last"], help="on the processor, without --whole")
    p.add_argument("--faster-layout", action="store_true", help="print the faster layout on the processor instead")
    p.add_argument("--layers", action="store_true", help="time each layer alone")
    p.add_argument("--compile", action="store_true", help="torch.compile")
    p.add_argument("--ceiling", action="store_true", help="time a matrix product and a copy instead")
    args = p.parse_args()
    args.precision = args.precision or ("f32" if args.device == "cpu" else "bf16")
    args.layout = args.layout or ("channels_last" if args.precision == "bf16" else "contiguous")
    return args


def main():
    args = options()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.ceiling:
        print(json.dumps(ceiling(args.device)))
    elif args.faster_layout:
        print(faster_layout(args))
    elif args.layers:
        for line in layers(args):
            print(json.dumps(line), flush=True)
    elif args.device == "cpu" and not args.whole:
        parts(args)
    else:
        for line in fill(args) if args.batch == "fill" else whole(args, int(args.batch or BACKBONES[args.backbone][1])):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
