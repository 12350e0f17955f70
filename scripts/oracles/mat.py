"""MATLAB files that SciPy writes, and what SciPy reads back from them (tests/fixtures/mat/*).

plain.mat and compressed.mat hold the same variables; big_endian.mat is plain.mat with every number turned round, checked
by SciPy's own reader; proposals.mat has the layout of published proposal files. Run: python scripts/oracles/mat.py
"""

import json
import pathlib
import struct

import numpy as np
import scipy
import scipy.io

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent.parent / "tests" / "fixtures" / "mat"
WIDTH = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}


def variables():
    cell = np.empty((2, 2), dtype=object)
    cell[0, 0], cell[0, 1] = np.eye(2), "text"
    cell[1, 0], cell[1, 1] = np.zeros((0, 0)), np.array([[1, 2, 3]], dtype=np.uint8)
    records = np.zeros((1, 2), dtype=[("name", object), ("size", object)])
    records[0, 0], records[0, 1] = ("first", np.array([[3.0, 4.0]])), ("second", np.array([[5.0]]))
    numbers = {
        f"n_{t.__name__}": np.array([[1, 2, 100], [4, 5, 6]], dtype=t)
        for t in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64)
    }
    return numbers | {
        "negative": np.array([[-1, -2]], dtype=np.int16),
        "halves": np.array([[0.5, -1e300, np.pi]]),
        "cube": np.arange(24.0).reshape(2, 3, 4),
        "nothing": np.zeros((0, 4)),
        "logical": np.array([[True, False, True]]),
        "word": "grey häuser",
        "rows": np.array(["one", "three"]),
        "cell": cell,
        "plain_struct": {"a": 1.0, "b": {"c": "deep"}},
        "records": records,
    }


def swapped(data):
    """Little-endian elements as big-endian ones."""
    out = b""
    while data:
        code, size = struct.unpack("<II", data[:8])
        if code >> 16:
            size, code = code >> 16, code & 0xFFFF
            out += struct.pack(">HH", size, code) + turned(code, data[4 : 4 + size]).ljust(4, b"\0")
            data = data[8:]
            continue
        padded = -(-size // 8) * 8
        body = data[8 : 8 + size]
        out += struct.pack(">II", code, size)
        out += (swapped(body) if code == 14 else turned(code, body)).ljust(padded, b"\0")
        data = data[8 + padded :]
    return out


def turned(code, body):
    return np.frombuffer(body, dtype=f"u{WIDTH[code]}").byteswap().tobytes()


def described(value):
    """The form in which the test writes our values, too."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        flat = value.ravel(order="F")
        return {"struct": {name: [described(record[name]) for record in flat] for name in value.dtype.names}}
    if value.dtype == object:
        return {"cell": [list(value.shape), [described(item) for item in value.ravel(order="F")]]}
    if value.dtype.kind == "U":
        return {"text": "\n".join(row.rstrip() for row in value.ravel())}
    return {"numeric": [list(value.shape), value.astype(np.float64).ravel(order="F").tolist()]}


def read(path):
    return {k: described(v) for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}


def proposals():
    boxes = np.empty((1, 3), dtype=object)
    # rows y1 x1 y2 x2, counted from 1
    boxes[0, 0] = np.array([[1, 1, 20, 40], [5, 3, 30, 25]], dtype=np.float64)
    boxes[0, 1] = np.zeros((0, 4))
    boxes[0, 2] = np.array([[2, 4, 24, 32]], dtype=np.float64)
    images = np.empty((3, 1), dtype=object)
    images[:, 0] = ["000001", "000002", "000003"]
    return {"boxes": boxes, "images": images}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(OUT / "plain.mat", variables())
    scipy.io.savemat(OUT / "compressed.mat", variables(), do_compression=True)
    scipy.io.savemat(OUT / "proposals.mat", proposals(), do_compression=True)
    for path in OUT.glob("*.mat"):  # the header's text names the day; the rest is always the same
        data = path.read_bytes()
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + data[116:])
    plain = (OUT / "plain.mat").read_bytes()
    big = plain[:124] + b"\x01\x00MI" + swapped(plain[128:])
    (OUT / "big_endian.mat").write_bytes(big)
    expected = {name: read(OUT / f"{name}.mat") for name in ("plain", "compressed", "big_endian", "proposals")}
    assert expected["plain"] == expected["compressed"] == expected["big_endian"]
    stored = {"scipy": scipy.__version__, "variables": expected["plain"], "proposals": expected["proposals"]}
    (HERE / "mat.json").write_text(json.dumps(stored, indent=1) + "\n")


main()
