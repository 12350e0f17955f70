"""Known answers for tests/surface/oracles.rs, made with scikit-learn: average precision of rankings with ties and ignored
items, and the measures of segmentation.

    python scripts/oracles/metrics.py > scripts/oracles/metrics.json
"""

import json
import sys

import numpy as np
import sklearn
from sklearn.metrics import (accuracy_score, average_precision_score, confusion_matrix, jaccard_score,
                             precision_recall_curve, recall_score)

rng = np.random.default_rng(22)


def ranking(n, share, decimals):
    """Relevance 1, 0 or -1 (ignored). Positives score a little higher; few decimals make ties among equals and others."""
    relevance = np.where(rng.random(n) < share, 1, 0)
    scores = np.round(rng.normal(size=n) + relevance, decimals)
    relevance[rng.random(n) < 0.1] = -1
    relevance[0] = 1
    kept = relevance >= 0
    y, s = relevance[kept], scores[kept]
    # the envelope needs each positive apart: equal ones by turns, each below the negatives of its score
    places = np.lexsort((y, -s))
    apart = np.empty(len(s))
    apart[places] = -np.arange(len(s))
    precision, recall, _ = precision_recall_curve(y, apart)
    # the curve runs from full recall to none, and ends with a point of its own
    precision, recall = precision[:-1], recall[:-1]
    envelope = np.maximum.accumulate(precision)
    area = -np.sum(np.diff(recall, append=0) * envelope)
    levels = [envelope[recall >= k * 0.1][-1] for k in range(11)]
    return {"scores": scores.tolist(), "relevance": relevance.tolist(),
            # ties count against us
            "stepwise": average_precision_score(y, s - 1e-5 * y), "area": area, "eleven_point": np.mean(levels)}


def segmentation(classes, present, n):
    """Labels of some classes only, 255 for a tenth; predictions right by half."""
    truth = rng.choice(present, n)
    predicted = np.where(rng.random(n) < 0.5, truth, rng.integers(0, classes - 1, n))
    truth[rng.random(n) < 0.1] = 255
    y, p = truth[truth != 255], predicted[truth != 255]
    matrix = confusion_matrix(y, p, labels=range(classes))
    iu = jaccard_score(y, p, labels=range(classes), average=None, zero_division=0)
    iu[matrix.sum(0) + matrix.sum(1) == 0] = np.nan
    accuracy = recall_score(y, p, labels=range(classes), average=None, zero_division=np.nan)
    weighted = jaccard_score(y, p, labels=range(classes), average="weighted", zero_division=0)
    return {"classes": classes, "truth": truth.tolist(), "predicted": predicted.tolist(), "matrix": matrix.tolist(),
            "pixel_accuracy": accuracy_score(y, p), "mean_accuracy": np.nanmean(accuracy), "mean_iu": np.nanmean(iu),
            "frequency_weighted_iu": weighted, "class_iu": [None if np.isnan(v) else v for v in iu]}


json.dump({"scikit-learn": sklearn.__version__,
           "rankings": [ranking(300, 0.2, 3), ranking(200, 0.1, 1), ranking(50, 0.5, 0), ranking(10, 0.0, 2)],
           "segmentations": [segmentation(21, [0, 1, 2, 5, 8, 15, 20], 600), segmentation(4, [0, 2], 80)]},
          sys.stdout, separators=(",", ":"))
print()
