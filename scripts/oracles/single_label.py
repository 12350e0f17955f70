"""Known answers for tests/training/probe_single_label.rs, made with scikit-learn on pictures with one label each: one-vs-rest
linear SVMs and the choice of their cost, weighted votes of nearest neighbors, and multinomial logistic regression.

    python scripts/oracles/single_label.py > scripts/oracles/single_label.json
"""

import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

rng = np.random.default_rng(6)
CLASSES, WIDTH = 4, 10
COSTS = [0.001, 0.0625, 1.0, 10.0]
TEMPERATURE = 0.07
DECAYS = [1e-3, 0.05]


def pictures(centers, count):
    labels = rng.permutation(np.arange(count) % CLASSES)
    return np.round(centers[labels] + rng.standard_normal((count, WIDTH)), 2), labels


def row_normalized(x):
    return x / (np.linalg.norm(x, axis=1) + 1e-5)[:, np.newaxis]


def classifier(cost):
    """Positives count twice, as in the protocol for several labels."""
    return LinearSVC(C=cost, class_weight={c: 2 for c in range(CLASSES)}, tol=1e-8, dual=True, max_iter=200000,
                     random_state=0)


def svm(x, y, unseen):
    a, b = row_normalized(x), row_normalized(unseen)
    validation = [float(cross_val_score(classifier(cost), a, y, cv=StratifiedKFold(3)).mean()) for cost in COSTS]
    best = int(np.argmax(validation))
    predicted = [classifier(cost).fit(a, y).predict(b).tolist() for cost in COSTS]
    return {"costs": COSTS, "validation": validation, "cost": COSTS[best], "predicted": predicted}


def neighbors(x, y, unseen):
    votes = []
    for k in [1, 5, 20]:
        knn = KNeighborsClassifier(k, metric="cosine", algorithm="brute",
                                   weights=lambda distance: np.exp(-distance / TEMPERATURE)).fit(x, y)
        votes.append({"k": k, "predicted": knn.predict(unseen).tolist()})
    return {"temperature": TEMPERATURE, "votes": votes}


def softmax(x, y, unseen):
    scaler = StandardScaler().fit(x)
    fits = []
    for decay in DECAYS:
        fitted = LogisticRegression(C=1 / (len(x) * decay), tol=1e-10, max_iter=10000).fit(scaler.transform(x), y)
        fits.append({"decay": decay, "logits": fitted.decision_function(scaler.transform(unseen)).ravel().tolist()})
    return fits


def folds():
    rows = []
    for count, n, classes in [(3, 17, 3), (2, 11, 4), (5, 31, 3)]:
        labels = rng.permutation(np.concatenate([np.repeat(np.arange(classes), count), rng.integers(0, classes, n)]))
        assigned = np.empty(len(labels), dtype=int)
        for fold, (_, own) in enumerate(StratifiedKFold(count).split(np.zeros(len(labels)), labels)):
            assigned[own] = fold
        rows.append({"folds": count, "labels": labels.tolist(), "assigned": assigned.tolist()})
    return rows


def main():
    warnings.simplefilter("error", ConvergenceWarning)
    centers = 0.7 * rng.standard_normal((CLASSES, WIDTH))
    (x, y), (unseen, truth) = pictures(centers, 100), pictures(centers, 60)
    json.dump({"scikit-learn": sklearn.__version__, "classes": CLASSES, "width": WIDTH, "train": x.ravel().tolist(),
               "labels": y.tolist(), "test": unseen.ravel().tolist(), "truth": truth.tolist(), "svm": svm(x, y, unseen),
               "neighbors": neighbors(x, y, unseen), "softmax": softmax(x, y, unseen), "folds": folds()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
