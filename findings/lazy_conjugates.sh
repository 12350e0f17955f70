#!/usr/bin/env bash
# Lazily conjugated and negated tensors, in safetensors and over DLPack.
#
# Versions: torch 2.15.0, safetensors 0.8.0, numpy 2.4.6, Python 3.11, Linux x86-64 (CPU).
#
# PyTorch does not compute a conjugate: `z.conj()` is a view of z's memory with the "conjugate bit" set, and
# `z.conj().imag` one with the "negative bit"; whoever reads the memory has to mind them. `Tensor.numpy()` refuses both,
# `torch.save` keeps both.
#
# Guess, written before the run: safetensors and DLPack store or hand over the values that PyTorch prints, or refuse as
# `.numpy()` does, since both already refuse what they cannot say (strides in the one, conjugates in the other).
#
# Seen: safetensors looks at neither bit: it stores 1+2j for a tensor that prints as 1-2j, and 2 for -2. DLPack refuses the
# conjugate and hands over its imaginary part with the wrong sign, to PyTorch itself and to numpy, without a warning.
# `resolve_conj()` and `resolve_neg()` before either give the right numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import io

import numpy
import torch
from safetensors.torch import load, save

conjugate = torch.tensor([1 + 2j, 3 + 4j]).conj()
assert conjugate.is_conj() and conjugate.tolist() == [1 - 2j, 3 - 4j]
one = torch.tensor([1 + 2j]).conj().imag
two = conjugate.imag
assert one.is_neg() and one.tolist() == [-2.0]
assert two.is_neg() and two.tolist() == [-2.0, -4.0]


def refused(call, word):
    try:
        call()
    except (RuntimeError, BufferError) as refusal:
        assert word in str(refusal), refusal
    else:
        raise SystemExit(f"not refused: {word}")


refused(conjugate.numpy, "conjugate bit")
refused(two.numpy, "negative bit")
refused(lambda: torch.from_dlpack(conjugate), "conjugate bit")

file = io.BytesIO()
torch.save((torch.tensor([1 + 2j, 3 + 4j]).conj(), two), file)
file.seek(0)
kept = torch.load(file, weights_only=True)
assert kept[0].tolist() == [1 - 2j, 3 - 4j] and kept[1].tolist() == [-2.0, -4.0]

lost = {
    "safetensors, conjugate": load(save({"x": conjugate}))["x"].tolist(),
    "safetensors, imaginary part": load(save({"x": one}))["x"].tolist(),
    "DLPack, torch": torch.from_dlpack(two).tolist(),
    "DLPack, numpy": numpy.from_dlpack(two).tolist(),
}
print(lost)
assert lost == {
    "safetensors, conjugate": [1 + 2j, 3 + 4j],
    "safetensors, imaginary part": [2.0],
    "DLPack, torch": [2.0, 4.0],
    "DLPack, numpy": [2.0, 4.0],
}
assert load(save({"x": conjugate.resolve_conj()}))["x"].tolist() == [1 - 2j, 3 - 4j]
assert load(save({"x": one.resolve_neg()}))["x"].tolist() == [-2.0]
assert torch.from_dlpack(two.resolve_neg()).tolist() == [-2.0, -4.0]
PYTHON
