"""Known answers for tests/operations/oracles.rs, made with PyTorch in f64: pooling with ceil mode and padding, the running
statistics of batch norm after three steps, bilinear resize in both conventions, cross entropy with ignored labels and
sigmoid cross entropy at extreme logits, local response normalization. Activations are stored as NHWC.

    python scripts/oracles/ops.py > scripts/oracles/ops.json
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(20)
DIGITS = 9


def values(tensor):
    """A tensor as its shape and its flat values; four-dimensional ones go from NCHW to NHWC."""
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    flat = tensor.detach().contiguous().flatten().tolist()
    return {"shape": list(tensor.shape), "values": [float(f"{v:.{DIGITS}g}") for v in flat]}


def image(*shape):
    # two decimals keep the file small, and give max pooling ties
    return (torch.randn(*shape, dtype=torch.float64) * 100).round() / 100


def gradient(x, y, dy):
    return torch.autograd.grad(y, x, dy)[0]


def pools():
    cases = [(7, 10, 3, 2, 1, True), (8, 6, 3, 2, 0, True), (5, 7, 3, 1, 1, True), (5, 5, 2, 2, 1, True),
             (7, 9, 3, 2, 1, False), (2, 2, 3, 2, 0, True), (6, 7, 2, 3, 0, True)]
    for h, w, kernel, stride, pad, ceil in cases:
        x = image(2, 2, h, w).requires_grad_()
        row = {"kernel": kernel, "stride": stride, "pad": pad, "ceil": ceil, "x": values(x)}
        pooled = {"max": F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil),
                  "avg": F.avg_pool2d(x, kernel, stride, pad, ceil_mode=ceil, count_include_pad=True)}
        row["dy"] = values(dy := image(*pooled["max"].shape))
        for name, y in pooled.items():
            row[name] = values(y)
            row[f"{name}_dx"] = values(gradient(x, y, dy))
        yield row


def batch_norm():
    norm = torch.nn.BatchNorm2d(3, eps=1e-5, momentum=0.1).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -1.25, 2.0]))
        norm.bias.copy_(torch.tensor([0.25, 1.0, -0.5]))
    steps = []
    for step in range(3):
        x = (image(2, 3, 3, 4) * (step + 1) + step).requires_grad_()
        y = norm(x)
        dy = image(*y.shape)
        dx, dgamma, dbeta = torch.autograd.grad(y, [x, norm.weight, norm.bias], dy)
        steps.append({"x": values(x), "y": values(y), "dy": values(dy), "dx": values(dx), "dgamma": values(dgamma),
                      "dbeta": values(dbeta)})
    norm.eval()
    x = image(2, 3, 2, 2)
    return {"gamma": values(norm.weight), "beta": values(norm.bias), "steps": steps,
            "mean": values(norm.running_mean), "var": values(norm.running_var),
            "eval_x": values(x), "eval_y": values(norm(x))}


def resizes():
    for h, w, to, align in [(4, 4, (7, 7), True), (4, 4, (7, 7), False), (3, 5, (8, 3), True), (3, 5, (8, 3), False),
                            (6, 7, (3, 3), True), (6, 7, (3, 3), False), (3, 4, (1, 6), True), (3, 4, (1, 6), False)]:
        x = image(1, 2, h, w).requires_grad_()
        y = F.interpolate(x, to, mode="bilinear", align_corners=align)
        dy = image(*y.shape)
        yield {"align_corners": align, "x": values(x), "y": values(y), "dy": values(dy), "dx": values(gradient(x, y, dy))}


def cross_entropy():
    logits = (image(6, 5) * 10).requires_grad_()
    labels = torch.tensor([0, 4, 255, 2, 255, 1])
    loss = F.cross_entropy(logits, labels, ignore_index=255)
    return {"logits": values(logits), "labels": labels.tolist(), "ignore": 255, "loss": loss.item(),
            "dlogits": values(gradient(logits, loss, torch.ones_like(loss)))}


def bce():
    logits = image(4, 5) * 3
    logits[0] = torch.tensor([120.0, -120.0, 120.0, -120.0, 0.0])
    logits.requires_grad_()
    targets = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]] + [[0.0, 1.0, 0.25, 1.0, 0.0]] * 3, dtype=torch.float64)
    mask = (torch.rand(4, 5) > 0.25).double()
    mask[0] = 1
    loss = F.binary_cross_entropy_with_logits(logits, targets, weight=mask, reduction="sum") / 4
    return {"logits": values(logits), "targets": values(targets), "mask": values(mask), "divisor": 4.0,
            "loss": loss.item(), "dlogits": values(gradient(logits, loss, torch.ones_like(loss)))}


def lrn():
    # a generator of its own, so that the answers above stay as they are
    generator = torch.Generator().manual_seed(21)
    for channels, size, alpha, beta, k in [(8, 5, 1e-4, 0.75, 1.0), (7, 5, 0.5, 0.75, 2.0), (3, 5, 0.5, 0.6, 1.0)]:
        draw = lambda: (torch.randn(2, channels, 2, 3, dtype=torch.float64, generator=generator) * 100).round() / 10
        x, dy = draw().requires_grad_(), draw()
        y = torch.nn.LocalResponseNorm(size, alpha, beta, k)(x)
        yield {"size": size, "alpha": alpha, "beta": beta, "k": k, "x": values(x), "y": values(y), "dy": values(dy),
               "dx": values(gradient(x, y, dy))}


json.dump({"torch": torch.__version__.split("+")[0], "pool": list(pools()), "batch_norm": batch_norm(),
           "resize": list(resizes()), "cross_entropy": cross_entropy(), "bce": bce(), "lrn": list(lrn())},
          sys.stdout, separators=(",", ":"))
print()
