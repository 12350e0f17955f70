"""Runs ONNX models with onnxruntime and compares them with features that were computed elsewhere.

FOLDER holds NAME.onnx and NAME.safetensors: `input`, NCHW, and the expected value of each output. Prints JSON: the largest
difference of each model relative to the largest value. Models are checked by the onnx package too. Exits with 3 if a package
is missing. Run by src/backbones/onnx/tests.rs with HUERISTIC_PYTHON or python3.

    pip install onnx onnxruntime safetensors numpy
    python scripts/oracles/onnx_models.py FOLDER
"""

import json
import pathlib
import sys


def main():
    try:
        import numpy
        import onnx
        import onnxruntime
        from safetensors.numpy import load_file
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    found = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        tensors = load_file(path.with_suffix(".safetensors"))
        names = [output.name for output in session.get_outputs()]
        assert sorted(names) == sorted(set(tensors) - {"input"}), (path.name, names)
        worst = 0.0
        for name, value in zip(names, session.run(names, {"input": tensors["input"]})):
            wanted = tensors[name]
            assert value.shape == wanted.shape, (path.name, name, value.shape, wanted.shape)
            scale = float(numpy.abs(wanted).max())
            assert scale > 1e-3, (path.name, name, "nothing is told by zeros")
            worst = max(worst, float(numpy.abs(value - wanted).max()) / scale)
        found[path.stem] = worst
    print(json.dumps(found))


if __name__ == "__main__":
    main()
