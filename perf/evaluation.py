"""One million predictions to all metrics with 95 % intervals, beside the plain Python loop, in one run.

    python -m perf.evaluation              # about a minute
    python -m perf.evaluation --predictions 200000

"ours" reads the CSV, computes every metric of both levels, the ROC curves and the intervals (DeLong and 1000 bootstrap
resamples of videos). "plain" is what evaluation scripts do: draw videos with replacement, gather their frames, call
scikit-learn for AUC and AP and take the EER from its ROC curve. A few resamples of it are timed and the time of 1000 is
worked out; everything runs in this process on however many threads NumPy takes.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmark.evaluation import summarise
from benchmark.intervals import REPLICATES
from benchmark.predictions import Predictions

FRAMES = 32


def make_predictions(count: int, seed: int = 0) -> Predictions:
    """Videos of 32 frames, half of them fake in four classes; frames of a video share a part of their score."""
    rng = np.random.default_rng(seed)
    videos = count // FRAMES
    label = rng.integers(0, 2, videos)
    base = label + rng.normal(size=videos)
    scores = 1 / (1 + np.exp(-(np.repeat(base, FRAMES) + rng.normal(size=videos * FRAMES))))
    classes = np.where(label == 1, np.array(["FF-DF", "FF-F2F", "FF-FS", "FF-NT"])[np.arange(videos) % 4], "FF-real")
    names = np.array([f"{name}/{number:06d}" for number, name in enumerate(classes)], dtype=object)
    frames = np.array([f"{number:03d}" for number in range(FRAMES)] * videos, dtype=object)
    dataset = np.full(videos * FRAMES, "FF++", dtype=object)
    return Predictions(dataset, np.repeat(names, FRAMES), frames, np.repeat(label, FRAMES), scores)


def plain_resample(predictions: Predictions, rng: np.random.Generator) -> list[float]:
    """One bootstrap resample as a loop over videos; AUC, AP and EER of frames and videos."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    rows_of: dict[str, list[int]] = {}
    for row, video in enumerate(predictions.video):
        rows_of.setdefault(video, []).append(row)
    by_label: dict[int, list[str]] = {0: [], 1: []}
    for video, rows in rows_of.items():
        by_label[int(predictions.label[rows[0]])].append(video)
    labels, scores, video_labels, video_scores = [], [], [], []
    for label, videos in by_label.items():
        for pick in rng.integers(0, len(videos), len(videos)):
            values = [predictions.score[row] for row in rows_of[videos[pick]]]
            labels += [label] * len(values)
            scores += values
            video_labels.append(label)
            video_scores.append(sum(values) / len(values))
    results = []
    for truth, score in ((labels, scores), (video_labels, video_scores)):
        false_positive, true_positive, _ = roc_curve(truth, score)
        results += [roc_auc_score(truth, score), average_precision_score(truth, score)]
        results.append(float(false_positive[np.argmin(np.abs(1 - true_positive - false_positive))]))
    return results


def main() -> None:
    """Time both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--plain-resamples", type=int, default=2)
    options = parser.parse_args()
    predictions = make_predictions(options.predictions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        predictions.write(path)
        started = time.perf_counter()
        read = Predictions.read(path)
        reading = time.perf_counter() - started
    started = time.perf_counter()
    facts = summarise(read)
    computing = time.perf_counter() - started
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(options.plain_resamples):
        plain_resample(read, rng)
    plain = (time.perf_counter() - started) / options.plain_resamples * REPLICATES
    low, high = facts["intervals"]["video"]["auc"]
    print(f"{len(read):,} predictions of {len(set(read.video)):,} videos, {REPLICATES} resamples, {platform.machine()}")
    print(f"video AUC {facts['metrics']['video']['auc']:.4f} [{low:.4f}, {high:.4f}]")
    print(f"ours: read {reading:.1f} s + metrics and intervals {computing:.1f} s = {reading + computing:.1f} s")
    print(
        f"plain loop: {plain:,.0f} s for {REPLICATES} resamples (from {options.plain_resamples}), three metrics a level"
    )
    print(f"plain / ours: {plain / computing:,.0f}")


if __name__ == "__main__":
    main()
