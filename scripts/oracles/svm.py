"""Known answers for tests/training/probe_frozen.rs, made with scikit-learn: linear SVMs with squared hinge in the dual, their cross
validation, unshuffled stratified folds, both average precisions, and majority votes of nearest neighbors.

    python scripts/oracles/svm.py > scripts/oracles/svm.json
"""

import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

rng = np.random.default_rng(20)
COSTS = [0.001, 0.0625, 1.0, 10.0]


def classifier(cost, tol=1e-4, scaling=1.0):
    return LinearSVC(C=cost, class_weight={1: 2, -1: 1}, intercept_scaling=scaling, penalty="l2", loss="squared_hinge",
                     tol=tol, dual=True, max_iter=200000 if tol < 1e-4 else 2000, random_state=0)


def pictures(n, direction):
    """Labels, a third of them positive, and features that lie further along a direction for these, to two decimals."""
    labels = np.where(np.arange(n) % 3 == rng.integers(0, 3, n), 1, -1)
    return np.round(rng.standard_normal((n, len(direction))) + np.outer(labels == 1, direction), 2), labels


def envelope(labels, scores):
    """Area under the monotone envelope of precision over recall; of equal scores the negatives come first."""
    order = np.lexsort((labels == 1, -scores))
    hits = np.cumsum(labels[order] == 1)
    precision, recall = hits / np.arange(1, len(labels) + 1), np.concatenate([[0.0], hits / hits[-1]])
    lifted = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * lifted))


def row_normalized(x):
    return x / (np.linalg.norm(x, axis=1) + 1e-5)[:, np.newaxis]


def exact():
    """A fit that has converged, on features as they are."""
    direction = 0.4 * rng.standard_normal(12)
    (x, y), (unseen, truth) = pictures(60, direction), pictures(40, direction)
    fits = []
    for cost, scaling in [(0.001, 1.0), (0.0625, 1.0), (1.0, 1.0), (10.0, 1.0), (0.0625, 3.0)]:
        svm = classifier(cost, 1e-10, scaling).fit(x, y)
        scores = svm.decision_function(unseen)
        fits.append({"cost": cost, "scaling": scaling, "weights": svm.coef_[0].tolist(),
                     "intercept": float(svm.intercept_[0]), "decisions": scores.tolist(),
                     "envelope": envelope(truth, scores),
                     "stepwise": float(average_precision_score(truth == 1, scores))})
    return {"width": 12, "train": x.ravel().tolist(), "labels": (y == 1).tolist(), "test": unseen.ravel().tolist(),
            "truth": (truth == 1).tolist(), "fits": fits}


def protocol():
    """Three classes by the whole protocol: normalized rows, the cost by cross validation, test precision."""
    width, n, m = 30, 120, 90
    directions = rng.standard_normal((3, width))

    def draw(count):
        shows = rng.random((count, 3)) < [0.2, 0.35, 0.5]
        x = rng.standard_normal((count, width)) + (shows * [0.4, 0.55, 0.3]) @ directions
        return np.round(x, 2), shows

    (x, shows), (unseen, truth) = draw(n), draw(m)
    a, b = row_normalized(x), row_normalized(unseen)
    classes = []
    for c in range(3):
        y = np.where(shows[:, c], 1, -1)
        validation = [float(cross_val_score(classifier(cost, 1e-8), a, y, cv=3, scoring="average_precision").mean())
                      for cost in COSTS]
        best = int(np.argmax(validation))
        scores = classifier(COSTS[best], 1e-8).fit(a, y).decision_function(b)
        classes.append({"validation": validation, "cost": COSTS[best],
                        "precision": envelope(np.where(truth[:, c], 1, -1), scores)})
    return {"width": width, "costs": COSTS, "train": x.ravel().tolist(), "shows": shows.tolist(),
            "test": unseen.ravel().tolist(), "truth": truth.tolist(), "classes": classes}


def folds():
    rows = []
    for n, count, share in [(10, 3, 0.4), (17, 3, 0.3), (23, 5, 0.5), (12, 2, 0.2), (31, 4, 0.8)]:
        labels = rng.random(n) < share
        labels[:count], labels[-count:] = True, False
        labels = rng.permutation(labels)
        assigned = np.empty(n, dtype=int)
        for fold, (_, own) in enumerate(StratifiedKFold(count).split(np.zeros(n), labels)):
            assigned[own] = fold
        rows.append({"folds": count, "labels": labels.tolist(), "assigned": assigned.tolist()})
    return rows


def neighbors():
    centers = rng.standard_normal((4, 6)) * 0.8
    labels, truth = np.arange(120) % 4, np.arange(50) % 4
    x = np.round(centers[labels] + rng.standard_normal((120, 6)), 2)
    unseen = np.round(centers[truth] + rng.standard_normal((50, 6)), 2)
    votes = []
    for k in [1, 5, 20, 120]:
        knn = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(x, labels)
        predicted, shares = knn.predict(unseen), knn.predict_proba(unseen)
        precisions = [envelope(np.where(truth == c, 1, -1), shares[:, c]) for c in range(4)]
        votes.append({"k": k, "predicted": predicted.tolist(), "accuracy": float(np.mean(predicted == truth)),
                      "precision": float(np.mean(precisions))})
    return {"width": 6, "train": x.ravel().tolist(), "labels": labels.tolist(), "test": unseen.ravel().tolist(),
            "truth": truth.tolist(), "votes": votes}


def main():
    warnings.simplefilter("error", ConvergenceWarning)
    json.dump({"scikit-learn": sklearn.__version__, "exact": exact(), "protocol": protocol(), "folds": folds(),
               "neighbors": neighbors()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
