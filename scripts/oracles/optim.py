"""Known answers for the optimizers: tests/oracles/optim.json.

Five updates of three parameters by Adam with coupled L2 and by SGD as Caffe computes them, written out in numpy
double precision. PyTorch is the second witness: torch.optim.Adam with weight_decay (its epsilon sits elsewhere,
so to 1e-6), and torch.optim.SGD, whose steps equal Caffe's while the learning rate is constant.

    python scripts/oracles/optim.py
"""

import json
import pathlib

import numpy as np
import torch

STEPS, DECAY, LR = 5, 0.01, 0.02
RATES = [0.02, 0.02, 0.01, 0.01, 0.002]  # SGD with a rate that drops: here Caffe and PyTorch part
BETA1, BETA2, MOMENTUM = 0.9, 0.999, 0.9


def adam(w, grads, lr, decay):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        g = g + decay * w
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g * g
        w = w - lr * np.sqrt(1 - BETA2**t) / (1 - BETA1**t) * m / (np.sqrt(v) + 1e-8)
    return w


def sgd(w, grads, rates, decay, nesterov):
    velocity = np.zeros_like(w)
    for g, lr in zip(grads, rates):
        before, velocity = velocity, MOMENTUM * velocity + lr * (g + decay * w)
        w = w - ((1 + MOMENTUM) * velocity - MOMENTUM * before if nesterov else velocity)
    return w


def torch_steps(make, w, grads):
    p = torch.nn.Parameter(torch.tensor(w))
    optimizer = make([p])
    for g in grads:
        p.grad = torch.tensor(g)
        optimizer.step()
    return p.detach().numpy()


def witness(w, grads):
    ours = adam(w, grads, LR, DECAY)
    theirs = torch_steps(lambda p: torch.optim.Adam(p, lr=LR, weight_decay=DECAY), w, grads)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for nesterov in (False, True):
        make = lambda p: torch.optim.SGD(p, lr=LR, momentum=MOMENTUM, weight_decay=DECAY, nesterov=nesterov)
        theirs = torch_steps(make, w, grads)
        np.testing.assert_allclose(sgd(w, grads, [LR] * STEPS, DECAY, nesterov), theirs, atol=1e-12)


def main():
    draw = np.random.default_rng(20161008)
    shapes = {"conv1.weight": (4, 3, 3, 2), "conv1.bias": (4,), "fc8.weight": (3, 5)}
    cases = []
    for name, shape in shapes.items():
        w = draw.normal(0, 1, shape).astype(np.float32).astype(np.float64)
        grads = [draw.normal(0, 1, shape).astype(np.float32).astype(np.float64) for _ in range(STEPS)]
        witness(w, grads)
        cases.append({
            "name": name,
            "shape": shape,
            "start": w.ravel().tolist(),
            "gradients": [g.ravel().tolist() for g in grads],
            "adam": adam(w, grads, LR, DECAY).ravel().tolist(),
            "adam_caffe_pairs": adam(
                w, grads, LR * (2 if "bias" in name else 1), DECAY * ("bias" not in name)
            ).ravel().tolist(),
            "sgd": sgd(w, grads, RATES, DECAY, False).ravel().tolist(),
            "sgd_nesterov": sgd(w, grads, RATES, DECAY, True).ravel().tolist(),
        })
    out = pathlib.Path(__file__).parents[2] / "tests" / "oracles" / "optim.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"lr": LR, "decay": DECAY, "rates": RATES, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
