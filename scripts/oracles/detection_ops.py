"""Known answers for tests/operations/oracles.rs, made with torchvision and PyTorch in f64: RoI max pooling with its gradient, and
smooth L1 with weights before the knee. Activations are stored as NHWC.

    python scripts/oracles/detection_ops.py > scripts/oracles/detection_ops.json
"""

import json
import sys

import torch
import torch.nn.functional as F
import torchvision

torch.manual_seed(21)
DIGITS = 9


def values(tensor):
    """A tensor as its shape and its flat values; four-dimensional ones go from NCHW to NHWC."""
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    flat = tensor.detach().contiguous().flatten().tolist()
    return {"shape": list(tensor.shape), "values": [float(f"{v:.{DIGITS}g}") for v in flat]}


def image(*shape):
    # one decimal keeps the file small, and gives the maximum ties
    return (torch.randn(*shape, dtype=torch.float64) * 10).round() / 10


def roi_pools():
    """Boxes inside, over each edge, outside, of one pixel, inside out, on halves of cells; then random ones."""
    edges = [[0, 0, 0, 159, 127], [1, -40, -24, 60, 70], [1, 100, 90, 400, 300], [0, 400, 400, 500, 500],
             [1, -90, -90, -30, -30], [0, 64, 64, 64, 64], [1, 90, 80, 30, 20], [0, 8, 24, 40, 56],
             [1, 7.5, 23.75, 120, 8], [0, -8, -24, 24, 40]]
    corner = torch.rand(12, 2) * torch.tensor([150.0, 120.0])
    size = torch.rand(12, 2) * 120
    image_of = torch.randint(0, 2, (12, 1)).float()
    random = torch.cat([image_of, corner.round(), (corner + size).round()], 1)
    for scale, bins, boxes in [(1 / 16, (6, 6), torch.tensor(edges)), (1 / 16, (6, 6), random),
                               (1 / 16, (2, 3), random), (0.3, (3, 2), random[:5] / 4), (1.0, (7, 7), random[:4] / 16),
                               (1 / 16, (6, 6), torch.zeros(0, 5))]:
        boxes[:, 0] = boxes[:, 0].ceil().clamp(0, 1)
        x = image(2, 2, 8, 10).requires_grad_()
        y = torchvision.ops.roi_pool(x, boxes.double(), bins, scale)
        dy = image(*y.shape)
        dx, = torch.autograd.grad(y, x, dy)
        yield {"scale": scale, "bins": bins, "boxes": boxes.tolist(), "x": values(x), "y": values(y), "dy": values(dy),
               "dx": values(dx)}


def smooth_l1():
    predictions = (image(6, 8) * 2).requires_grad_()
    targets = image(6, 8)
    weights = torch.tensor([0.0, 1.0, 0.5, 2.0] * 12, dtype=torch.float64).reshape(6, 8)
    loss = F.smooth_l1_loss(weights * predictions, weights * targets, beta=1.0, reduction="sum") / 6
    gradient, = torch.autograd.grad(loss, predictions)
    return {"predictions": values(predictions), "targets": values(targets), "weights": values(weights), "divisor": 6.0,
            "loss": loss.item(), "gradient": values(gradient)}


json.dump({"torch": torch.__version__.split("+")[0], "torchvision": torchvision.__version__.split("+")[0],
           "roi_pool": list(roi_pools()), "smooth_l1": smooth_l1()}, sys.stdout, separators=(",", ":"))
print()
