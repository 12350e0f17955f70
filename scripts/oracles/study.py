"""Known answers for src/study/score/tests.rs, made with numpy: the two-stage bootstrap of a study (participants, then their
trials) and over photographs, and one-sided p-values between algorithms.

    python scripts/oracles/study.py > scripts/oracles/study.json

Answers are given as [participant][trial] = [photograph, fooled]. Replicates are drawn one algorithm at a time with numpy's own
generator, so that figures agree within the error of so many replicates, and not in every digit.
"""

import json
import sys

import numpy as np

REPLICATES = 200_000
rng = np.random.default_rng(2016)


def answers(participants, trials, mean, spread):
    """Participants differ in how easily they are fooled, and some have lost a few trials."""
    rates = np.clip(rng.normal(mean, spread, participants), 0, 1)
    lengths = trials - rng.integers(0, 5, participants)
    return [[[int(photograph), int(rng.random() < rate)] for photograph in rng.choice(30, length, replace=False)]
            for rate, length in zip(rates, lengths)]


def over_participants(data):
    """For each replicate: participants with replacement, then for each drawn one a binomial number of fooled trials."""
    fooled = np.array([sum(f for _, f in session) for session in data])
    shown = np.array([len(session) for session in data])
    drawn = rng.integers(0, len(data), (REPLICATES, len(data)))
    return (rng.binomial(shown[drawn], fooled[drawn] / shown[drawn]) / shown[drawn]).mean(axis=1)


def over_pairs(data):
    flat = np.array([trial for session in data for trial in session])
    used = np.unique(flat[:, 0])
    shown = np.array([(flat[:, 0] == photograph).sum() for photograph in used])
    fooled = np.array([flat[flat[:, 0] == photograph, 1].sum() for photograph in used])
    times = rng.multinomial(len(used), np.full(len(used), 1 / len(used)), REPLICATES)
    return times @ fooled / (times @ shown)


def summary(replicates):
    low, high = np.percentile(replicates, [2.5, 97.5])
    return {"mean": replicates.mean(), "std": replicates.std(ddof=1), "low": low, "high": high}


studies = [answers(20, 18, 0.32, 0.15), answers(14, 18, 0.22, 0.1), answers(9, 12, 0.25, 0.2)]
replicates = [over_participants(data) for data in studies]
json.dump({"numpy": np.__version__, "replicates": REPLICATES,
           "algorithms": [{"answers": data,
                           "fooled": float(np.mean([np.mean([f for _, f in session]) for session in data])),
                           "over_participants": summary(values), "over_pairs": summary(over_pairs(data))}
                          for data, values in zip(studies, replicates)],
           "below": [[float((a < b).mean()) for b in replicates] for a in replicates]},
          sys.stdout, separators=(",", ":"))
