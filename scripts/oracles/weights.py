"""A weight file as PyTorch writes it: tests/oracles/weights_torch.safetensors.

Each element of conv1.weight says where it lies: 1000 o + 100 i + 10 y + x.

    python scripts/oracles/weights.py
"""

import pathlib

import torch
from safetensors.torch import save_file


def main():
    o, i, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (4, 2, 3, 5)), indexing="ij")
    tensors = {
        "conv1.weight": 1000 * o + 100 * i + 10 * y + x,
        "conv1.bias": torch.tensor([0.5, 1.5, 2.5, 3.5]),
        "fc8.weight": torch.arange(6, dtype=torch.float16).reshape(2, 3),
    }
    out = pathlib.Path(__file__).parents[2] / "tests" / "oracles" / "weights_torch.safetensors"
    out.parent.mkdir(exist_ok=True)
    save_file(tensors, out, metadata={"made_by": "scripts/oracles/weights.py"})


if __name__ == "__main__":
    main()
