"""Known answers for the optimizers and the average of weights: tests/oracles/optim.json.

Five updates of three parameters by Adam with coupled L2 and by SGD as Caffe computes them, by AdamW as PyTorch and by LARS
as SimCLR computes it, written out in numpy double precision. PyTorch is the second witness: torch.optim.Adam with
weight_decay (its epsilon sits elsewhere, so to 1e-6), torch.optim.SGD, whose steps equal Caffe's while the learning
rate is constant, torch.optim.AdamW, and torch.optim.swa_utils.AveragedModel. LARS is not in PyTorch: the second witness
follows SimCLR's lars_optimizer.py line by line.

    python scripts/oracles/optim.py
"""

import json
import pathlib

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

STEPS, DECAY, LR = 5, 0.01, 0.02
RATES = [0.02, 0.02, 0.01, 0.01, 0.002]  # SGD with a rate that drops: here Caffe and PyTorch part
BETA1, BETA2, MOMENTUM = 0.9, 0.999, 0.9
TRUST = 0.25  # large, so that five updates show it
EMA = 0.7


def adam(w, grads, lr, decay):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        g = g + decay * w
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g * g
        w = w - lr * np.sqrt(1 - BETA2**t) / (1 - BETA1**t) * m / (np.sqrt(v) + 1e-8)
    return w


def adamw(w, grads, rates, decay):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (g, lr) in enumerate(zip(grads, rates), 1):
        w = w - lr * decay * w
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g * g
        w = w - lr * (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + 1e-8)
    return w


def sgd(w, grads, rates, decay, nesterov):
    return path_of_sgd(w, grads, rates, decay, nesterov)[-1]


def path_of_sgd(w, grads, rates, decay, nesterov):
    """The weights after each update."""
    path, velocity = [], np.zeros_like(w)
    for g, lr in zip(grads, rates):
        before, velocity = velocity, MOMENTUM * velocity + lr * (g + decay * w)
        w = w - ((1 + MOMENTUM) * velocity - MOMENTUM * before if nesterov else velocity)
        path.append(w)
    return path


def lars(w, grads, rates, decay):
    velocity = np.zeros_like(w)
    for g, lr in zip(grads, rates):
        g = g + decay * w
        ratio = TRUST * np.sqrt((w * w).sum()) / np.sqrt((g * g).sum())
        velocity = MOMENTUM * velocity + lr * ratio * g
        w = w - velocity
    return w


def simclr_lars(param, grads, rates, decay):
    param, v = torch.tensor(param), torch.zeros(param.shape, dtype=torch.float64)
    for grad, learning_rate in zip(map(torch.tensor, grads), rates):
        grad = grad + decay * param
        w_norm, g_norm = torch.linalg.vector_norm(param), torch.linalg.vector_norm(grad)
        trust_ratio = torch.where(w_norm > 0, torch.where(g_norm > 0, TRUST * w_norm / g_norm, 1.0), 1.0)
        scaled_lr = learning_rate * trust_ratio
        next_v = MOMENTUM * v + scaled_lr * grad
        param, v = param - next_v, next_v
    return param.numpy()


def ema(start, path):
    average = start
    for w in path:
        average = EMA * average + (1 - EMA) * w
    return average


def torch_steps(make, w, grads, rates=None):
    p = torch.nn.Parameter(torch.tensor(w))
    optimizer = make([p])
    for i, g in enumerate(grads):
        if rates:
            optimizer.param_groups[0]["lr"] = rates[i]
        p.grad = torch.tensor(g)
        optimizer.step()
    return p.detach().numpy()


def torch_ema(start, path):
    """AveragedModel copies the weights that it sees first: the initial ones."""
    model = torch.nn.ParameterList([torch.tensor(start)])
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    for w in [start, *path]:
        model[0].data = torch.tensor(w)
        averaged.update_parameters(model)
    return averaged.module[0].detach().numpy()


def witness(w, grads):
    ours = adam(w, grads, LR, DECAY)
    theirs = torch_steps(lambda p: torch.optim.Adam(p, lr=LR, weight_decay=DECAY), w, grads)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for nesterov in (False, True):
        make = lambda p: torch.optim.SGD(p, lr=LR, momentum=MOMENTUM, weight_decay=DECAY, nesterov=nesterov)
        theirs = torch_steps(make, w, grads)
        np.testing.assert_allclose(sgd(w, grads, [LR] * STEPS, DECAY, nesterov), theirs, atol=1e-12)
    theirs = torch_steps(lambda p: torch.optim.AdamW(p, lr=LR, weight_decay=DECAY), w, grads, RATES)
    np.testing.assert_allclose(adamw(w, grads, RATES, DECAY), theirs, atol=1e-12)
    np.testing.assert_allclose(lars(w, grads, RATES, DECAY), simclr_lars(w, grads, RATES, DECAY), atol=1e-12)
    path = path_of_sgd(w, grads, RATES, DECAY, False)
    np.testing.assert_allclose(ema(w, path), torch_ema(w, path), atol=1e-12)


def main():
    draw = np.random.default_rng(20161008)
    shapes = {"conv1.weight": (4, 3, 3, 2), "conv1.bias": (4,), "fc8.weight": (3, 5)}
    cases = []
    for name, shape in shapes.items():
        w = draw.normal(0, 1, shape).astype(np.float32).astype(np.float64)
        grads = [draw.normal(0, 1, shape).astype(np.float32).astype(np.float64) for _ in range(STEPS)]
        witness(w, grads)
        answers = {
            "adam": adam(w, grads, LR, DECAY),
            "adam_caffe_pairs": adam(
                w, grads, LR * (2 if "bias" in name else 1), DECAY * ("bias" not in name)
            ),
            "adamw": adamw(w, grads, RATES, DECAY),
            "sgd": sgd(w, grads, RATES, DECAY, False),
            "sgd_nesterov": sgd(w, grads, RATES, DECAY, True),
            # biases are excluded from the adaptation and from the decay
            "lars": sgd(w, grads, RATES, 0, False) if "bias" in name else lars(w, grads, RATES, DECAY),
            "ema_of_sgd": ema(w, path_of_sgd(w, grads, RATES, DECAY, False)),
        }
        start = {"name": name, "shape": shape, "start": w.ravel().tolist()}
        gradients = {"gradients": [g.ravel().tolist() for g in grads]}
        cases.append(start | gradients | {key: answer.ravel().tolist() for key, answer in answers.items()})
    constants = {"lr": LR, "decay": DECAY, "rates": RATES, "trust_coefficient": TRUST, "ema": EMA}
    out = pathlib.Path(__file__).parents[2] / "tests" / "oracles" / "optim.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(constants | {"cases": cases}) + "\n")


if __name__ == "__main__":
    main()
