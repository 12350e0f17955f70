"""Known answers for data-dependent initialization, from NumPy and scikit-learn: writes data_init.json beside this file.

    python scripts/oracles/data_init.py

Two groups of a convolution, 2x2 with padding 1, on all its patches: the leading principal components of each group's
patches over the roots of their variances, then unit variance and mean 0.1 for every channel; and all rows of the
symmetric whitening, likewise with unit variance. scikit-learn finds the
components, NumPy's eigenvalues of the covariance check them. The sign of a component is free.
tests/networks/initialization.rs reads the file.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

BATCH, HEIGHT, WIDTH, CHANNELS = 3, 6, 5, 6
KERNEL, PAD, GROUPS, FILTERS = 2, 1, 2, 5  # filters of each group
BIAS, EPS = 0.1, 1e-3


def patches(x):
    x = np.pad(x, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))
    rows = [
        x[b, i : i + KERNEL, j : j + KERNEL].reshape(-1)
        for b in range(x.shape[0])
        for i in range(x.shape[1] - KERNEL + 1)
        for j in range(x.shape[2] - KERNEL + 1)
    ]
    return np.stack(rows)


def filters(x):
    rows = patches(x)
    pca = PCA(FILTERS, svd_solver="full").fit(rows)
    centered = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centered.T @ centered)
    leading = vectors[:, ::-1][:, :FILTERS].T
    assert np.allclose(np.abs(np.sum(leading * pca.components_, 1)), 1)
    weight = pca.components_ / np.sqrt(values[::-1][:FILTERS, None] + EPS)
    weight /= (rows @ weight.T).std(0)[:, None]
    return weight, BIAS - (rows @ weight.T).mean(0)


def whitening(x):
    rows = patches(x)
    centered = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centered.T @ centered)
    weight = vectors @ np.diag((values + EPS) ** -0.5) @ vectors.T
    return weight / (rows @ weight.T).std(0)[:, None]


def rounded(values):
    return [float(f"{value:.9g}") for value in np.asarray(values, dtype=float).reshape(-1)]


def main():
    rng = np.random.default_rng(11)
    mixing = rng.normal(size=(CHANNELS, CHANNELS))
    x = rng.normal(size=(BATCH, HEIGHT, WIDTH, CHANNELS)) @ mixing + rng.normal(size=CHANNELS)
    x = x.astype(np.float32).astype(float)
    each = CHANNELS // GROUPS
    seen = [x[..., g * each : (g + 1) * each] for g in range(GROUPS)]
    groups = [filters(part) for part in seen]
    out = {
        "shape": [BATCH, HEIGHT, WIDTH, CHANNELS],
        "x": rounded(x),
        "weight": rounded([weight for weight, _ in groups]),
        "bias": rounded([bias for _, bias in groups]),
        "whitening": rounded([whitening(part) for part in seen]),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
