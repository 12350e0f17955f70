"""Known answers for the color measures, from NumPy and scikit-image: writes color_metrics.json beside this file.

    python scripts/oracles/color_metrics.py

Written pixel by pixel and threshold by threshold, without the sums that the crate pools. The arrays are made up: three
small pictures of unequal size, predictions off by nothing, by whole distances, by noise and by more than 150 ab units.
Made with scikit-image 0.26.0 and NumPy; tests/surface/score.rs reads the file.
"""

import json
from pathlib import Path

import numpy as np
import skimage
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio

HERE = Path(__file__).parent
REACH = 150


def pictures(rng):
    """Truth and prediction: RGB bytes, and ab in 64ths, which single precision holds exactly."""
    for h, w in ((8, 9), (10, 5), (6, 7)):
        truth = np.clip(rng.integers(0, 256, 3) + rng.normal(0, 40, (h, w, 3)), 0, 255).astype(np.uint8)
        predicted = np.clip(truth + rng.normal(0, 12, truth.shape), 0, 255).astype(np.uint8)
        truth_ab = np.round(rgb2lab(truth)[..., 1:].reshape(-1, 2) * 64) / 64
        error = np.round(rng.normal(0, 25, truth_ab.shape) * 64) / 64
        error[0::6] = 0
        error[1::6] = [3, -4]
        error[2::18] = [90, 120]
        error[5::18] = [-130, 160]
        yield truth, predicted, truth_ab, truth_ab + error


def areas(distance, weight):
    """Both forms of AuC of weighted pixels: the integral as the exact area under the steps, and the 151-point mean."""
    weight = weight / weight.sum()
    edges = np.unique(np.concatenate([[0, REACH], distance[distance < REACH]]))
    share = np.array([weight[distance <= t].sum() for t in edges[:-1]])
    integral = (share * np.diff(edges)).sum() / REACH
    mean = np.mean([weight[distance <= t].sum() for t in range(REACH + 1)])
    return float(integral), float(mean)


def effective(weight):
    return float(weight.sum() ** 2 / (weight**2).sum())


def colorfulness(rgb):
    r, g, b = rgb.reshape(-1, 3).astype(float).T
    rg, yb = r - g, (r + g) / 2 - b
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


def main():
    rng = np.random.default_rng(11)
    centers = np.array(json.loads((HERE / "color.json").read_text())["bins"], float)
    prior = rng.gamma(0.3, size=len(centers)) + 1e-6
    prior = np.round(prior / prior.sum(), 12)
    images = list(pictures(rng))
    truth = np.concatenate([image[2] for image in images])
    distance = np.linalg.norm(np.concatenate([image[3] for image in images]) - truth, axis=1)
    nearest = ((truth[:, None] - centers[None]) ** 2).sum(-1).argmin(1)
    weights = {
        "auc": np.ones(len(truth)),
        "auc_empirical": 1 / np.bincount(nearest, minlength=len(centers))[nearest],
        "auc_prior": 1 / prior[nearest],
    }
    bytes_of = lambda i: np.concatenate([image[i].reshape(-1, 3) for image in images])
    answers = {
        "occupied_bins": len(np.unique(nearest)),
        "rmse": float(np.sqrt((distance**2).mean())),
        "psnr": float(peak_signal_noise_ratio(bytes_of(0), bytes_of(1))),
        "psnr_mean": float(np.mean([peak_signal_noise_ratio(image[0], image[1]) for image in images])),
        "colorfulness": float(np.mean([colorfulness(image[1]) for image in images])),
        "truth_colorfulness": float(np.mean([colorfulness(image[0]) for image in images])),
        "effective_empirical": effective(weights["auc_empirical"]),
        "effective_prior": effective(weights["auc_prior"]),
    }
    for name, weight in weights.items():
        answers[name], answers[name + "_thresholds"] = areas(distance, weight)
    keys = ("truth_rgb", "predicted_rgb", "truth_ab", "predicted_ab")
    oracle = {
        "made_with": {"scikit-image": skimage.__version__, "numpy": np.__version__},
        "prior": prior.tolist(),
        "images": [dict(zip(keys, (a.reshape(-1).tolist() for a in image))) for image in images],
        "answers": answers,
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(oracle, separators=(",", ":")) + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes, {json.dumps(answers, indent=1)}")


if __name__ == "__main__":
    main()
