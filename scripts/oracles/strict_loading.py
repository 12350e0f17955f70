"""Loads weights that were written with torchvision's names into torchvision's (and timm's) networks, strictly.

FOLDER holds NAME.pth, where NAME is a network of torchvision, and NAME.safetensors: `input`, NCHW, and `logits`. Prints JSON: the
largest difference of the logits relative to the largest. Exits with 3 if torch or torchvision is missing; networks of timm are
compared where timm is installed and has one of that name and layout. Run by src/backbones/exchange/export.rs with HUERISTIC_PYTHON or
python3.

    pip install torch torchvision safetensors timm
    python scripts/oracles/strict_loading.py FOLDER
"""

import json
import pathlib
import sys


def main():
    try:
        import torch
        import torchvision
        from safetensors.torch import load_file
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    try:
        import timm
    except ImportError:
        timm = None

    def difference(net, state, tensors):
        net.load_state_dict(state, strict=True)
        with torch.no_grad():
            logits = net.eval()(tensors["input"])
        return float((logits - tensors["logits"]).abs().max() / tensors["logits"].abs().max())

    found = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.pth")):
        state, tensors = torch.load(path, weights_only=True), load_file(path.with_suffix(".safetensors"))
        outputs = tensors["logits"].shape[1]
        net = getattr(torchvision.models, path.stem)(num_classes=outputs)
        found[f"torchvision {path.stem}"] = difference(net, state, tensors)
        if timm and path.stem.startswith("resnet"):
            net = timm.create_model(path.stem, num_classes=outputs)
            found[f"timm {path.stem}"] = difference(net, state, tensors)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
