"""The AuC and class-rebalanced AuC of the 240 SUN test images, as numpy computes them from pixels that libjpeg decodes.

    python scripts/oracles/sun_scores.py DIR      # DIR holds gt/ learch/ ours/ and color_bins/pts_in_hull.npy lies beside it

Mean of the error's cumulative distribution over thresholds 0, 1, ..., 150; rebalanced: every occupied nearest bin of the true color has
the same total weight. Prints JSON, stored as sun_scores.json: the published figures are 89.15 / 66.23, 88.83 / 69.44 and 89.98 / 76.51.
"""
import json
import pathlib
import sys

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree
from skimage import color


def ab(path):
    return color.rgb2lab(np.asarray(Image.open(path).convert("RGB")))[..., 1:].reshape(-1, 2)


def main():
    folder = pathlib.Path(sys.argv[1])
    bins = cKDTree(np.load(folder.parent / "color_bins" / "pts_in_hull.npy").astype(float))
    counts = {}
    for path in sorted((folder / "gt").iterdir()):
        truth = ab(path)
        nearest = bins.query(truth)[1]
        for method in ("gray", "learch", "ours"):
            predicted = 0 * truth if method == "gray" else ab(folder / method / path.name)
            distance = np.linalg.norm(predicted - truth, axis=1)
            reached = np.where(distance <= 150, 151 - np.ceil(distance), 0) / 151
            pixels, scores = counts.setdefault(method, (np.zeros(313), np.zeros(313)))
            pixels += np.bincount(nearest, minlength=313)
            scores += np.bincount(nearest, reached, minlength=313)
    out = {}
    for method, (pixels, scores) in counts.items():
        used = pixels > 0
        rebalanced = (scores[used] / pixels[used]).mean()
        out[method] = {"auc": 100 * scores.sum() / pixels.sum(), "rebalanced": 100 * rebalanced, "bins": int(used.sum())}
    print(json.dumps(out))


main()
