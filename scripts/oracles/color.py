"""Known answers for the color floor, from scikit-image, SciPy and NumPy: writes color.json beside this file.

    python scripts/oracles/color.py

Made with scikit-image 0.26.0, SciPy and NumPy; tests/operations/oracles_color.rs reads the file.
"""

import json
from pathlib import Path

import numpy as np
import scipy
import skimage
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull
from scipy.special import logsumexp
from skimage.color import rgb2lab

GRID, SIGMA = 10, 5.0


def lab(rgb):
    return rgb2lab(np.asarray(rgb, np.float64).reshape(-1, 1, 3) / 255.0).reshape(-1, 3)


def bins():
    """Lattice points whose Chebyshev distance to the hull of the ab projection of the sRGB cube is below the grid."""
    ramp = np.arange(256)
    edges = []
    for axis in range(3):
        for other in np.ndindex(2, 2):
            edge = np.empty((256, 3), int)
            edge[:, axis] = ramp
            edge[:, (axis + 1) % 3], edge[:, (axis + 2) % 3] = 255 * other[0], 255 * other[1]
            edges.append(edge)
    ab = lab(np.concatenate(edges))[:, 1:]
    ab = ab[ConvexHull(ab).vertices]
    square = GRID * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    wide = ConvexHull((ab[:, None] + square[None]).reshape(-1, 2)).equations
    axis = np.arange(-11, 12) * GRID
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return points[(points @ wide[:, :2].T + wide[:, 2] < 0).all(1)]


def encode(ab, centers, k, sigma):
    d2 = ((ab[None] - centers) ** 2).sum(1)
    order = np.argsort(d2, kind="stable")[:k]
    weight = np.exp(-d2[order] / (2 * sigma**2))
    return order.tolist(), (weight / weight.sum()).tolist()


def prior(rgb, centers, reach=150):
    """Histogram at whole ab units, Gaussian in the plane cut at 4 sigma, each quarter of a cell to its nearest bin."""
    cells = np.rint(lab(rgb)[:, 1:]).astype(int) + reach
    plane = np.zeros((2 * reach + 1,) * 2)
    np.add.at(plane, (cells[:, 0], cells[:, 1]), 1.0)
    plane = gaussian_filter(plane, SIGMA, mode="constant", truncate=4.0)
    share = np.zeros(len(centers))
    for da in (-0.25, 0.25):
        for db in (-0.25, 0.25):
            a, b = np.nonzero(plane)
            points = np.stack([a - reach + da, b - reach + db], 1)
            d2 = (points**2).sum(1)[:, None] + (centers**2).sum(1)[None] - 2 * points @ centers.T
            np.add.at(share, d2.argmin(1), plane[a, b] / 4)
    return share / share.sum()


def annealed(logits, centers, t):
    z = logits / t
    return (np.exp(z - logsumexp(z)) @ centers).tolist()


def main():
    rng = np.random.default_rng(0)
    corners = [[255 * (i >> s & 1) for s in (0, 1, 2)] for i in range(8)]
    rgb = np.concatenate([corners, rng.integers(0, 256, (168, 3)), rng.integers(0, 24, (24, 3))])
    values, centers = lab(rgb), bins()
    logits = np.round(rng.normal(0, 4, len(centers)), 3)
    oracle = {
        "made_with": {"scikit-image": skimage.__version__, "scipy": scipy.__version__, "numpy": np.__version__},
        "rgb": rgb.tolist(),
        "lab": np.round(values, 7).tolist(),
        "bins": centers.tolist(),
        "codes": [
            {"k": k, "ab": np.round(ab, 3).tolist(), **dict(zip(("bins", "weights"), encode(np.round(ab, 3), centers, k, SIGMA)))}
            for k, ab in zip([10, 5] * 12, np.concatenate([values[8:24, 1:], rng.uniform(-150, 150, (8, 2))]))
        ],
        "prior": prior(rgb, centers).tolist(),
        "decoded": {"logits": logits.tolist(), "ab": {str(t): annealed(logits, centers, t) for t in (0.1, 0.38, 1.0, 2.0)}},
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(oracle, separators=(",", ":")) + "\n")
    print(f"{path}: {len(centers)} bins, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
