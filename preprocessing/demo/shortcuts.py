"""Shortcut check: can a linear model on global image statistics tell real from fake?

A demo world whose label is written in its brightness, file size or border would teach nothing. Run it with
``python -m preprocessing.demo.shortcuts demo/FF++ demo/MCIO/msu``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark.data.cards import builtin_cards
from benchmark.data.index import read_index
from benchmark.data.store import Store
from preprocessing.demo.camera import Image, decode_jpeg

Features = NDArray[np.float64]


@dataclass(frozen=True)
class ShortcutRow:
    """Result for one class of fakes against the real videos.

    Attributes:
        name: class string, or ``all``.
        frame_auc, video_auc: ROC area on the test split, 0.5 = nothing to see.
        num_videos: fake videos tested.
    """

    name: str
    frame_auc: float
    video_auc: float
    num_videos: int


def image_features(image: Image, num_bytes: int) -> Features:
    """Global statistics of one image: colour, contrast, detail, borders, spectrum, file size.

    Args:
        image: (H, W, 3) uint8 RGB.
        num_bytes: size of its stored file.

    Returns:
        (F,) float64.
    """
    pixels = image.astype(np.float64) / 255
    grey = pixels.mean(axis=-1)
    hue_free = pixels.max(axis=-1) - pixels.min(axis=-1)
    flat = pixels.reshape(-1, 3)
    mean, deviation = flat.mean(0), flat.std(0)
    skew = (((flat - mean) / (deviation + 1e-6)) ** 3).mean(0)
    percentiles = np.percentile(flat, [1, 5, 25, 50, 75, 95, 99], axis=0).ravel()
    saturation = [hue_free.mean(), hue_free.std(), *np.percentile(hue_free, [25, 75, 95])]
    parts = [mean, deviation, skew, percentiles, saturation, _detail(grey), _borders(pixels), _dct_bands(grey)]
    return np.concatenate([*parts, [np.log(num_bytes)]])


def _detail(grey: Features) -> Features:
    """Log energies of high-pass residuals and gradients."""
    residuals = [grey - cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (0.7, 1.5, 3.0)]
    gradients = [np.diff(grey, axis=0), np.diff(grey, axis=1), cv2.Laplacian(grey, cv2.CV_64F)]
    energies = [np.log((part**2).mean() + 1e-8) for part in residuals + gradients]
    magnitudes = [np.log(np.abs(part).mean() + 1e-5) for part in residuals + gradients]
    return np.array(energies + magnitudes)


def _borders(pixels: Features) -> Features:
    """Mean and deviation of the four border strips (one eighth of the side) in every channel."""
    width = max(2, pixels.shape[0] // 8)
    strips = [pixels[:width], pixels[-width:], pixels[:, :width], pixels[:, -width:]]
    return np.concatenate([np.r_[strip.mean((0, 1)), strip.std((0, 1))] for strip in strips])


def _dct_bands(grey: Features, num_bands: int = 16) -> Features:
    """Log energy of the whole image's DCT in rings of equal width."""
    even = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
    power = cv2.dct(np.ascontiguousarray(even)) ** 2
    rows, columns = np.indices(power.shape)
    radius = np.hypot(rows / power.shape[0], columns / power.shape[1]) / np.sqrt(2)
    ring = np.minimum((radius * num_bands).astype(int), num_bands - 1).ravel()
    return np.log(np.bincount(ring, power.ravel(), num_bands) / np.bincount(ring, minlength=num_bands) + 1e-8)


def shortcut_table(
    features: Features, classes: Sequence[str], videos: Sequence[str], splits: Sequence[str], real_cls: str
) -> list[ShortcutRow]:
    """Fit a standardised logistic regression on ``train`` and score ``test``, per class of fakes and for all.

    Args:
        features: (N, F) rows of `image_features`.
        classes: N class strings.
        videos: N video ids, unique over classes.
        splits: N split names; ``val`` rows are not used.
        real_cls: class string of the real videos.

    Returns:
        One row per class of fakes (its own model), and a last row ``all`` (one model for all classes).
    """
    names, ids, parts = np.asarray(classes), np.asarray(videos), np.asarray(splits)
    fakes = sorted(set(names) - {real_cls})
    rows = []
    for name, chosen in [*((fake, [fake]) for fake in fakes), ("all", fakes)]:
        keep = np.isin(names, [real_cls, *chosen])
        rows.append(_fit_and_score(name, features[keep], names[keep] != real_cls, ids[keep], parts[keep]))
    return rows


def _fit_and_score(
    name: str, features: Features, is_fake: NDArray[np.bool_], videos: NDArray[np.str_], splits: NDArray[np.str_]
) -> ShortcutRow:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = splits == "train", splits == "test"
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
    model.fit(features[train], is_fake[train])
    scores = model.predict_proba(features[test])[:, 1]
    _, group = np.unique(videos[test], return_inverse=True)
    video_scores = np.bincount(group, scores) / np.bincount(group)
    video_labels = np.bincount(group, is_fake[test]) > 0
    return ShortcutRow(
        name,
        float(roc_auc_score(is_fake[test], scores)),
        float(roc_auc_score(video_labels, video_scores)),
        int(video_labels.sum()),
    )


def check_world(name: str, data: Path, indexes: Path) -> list[ShortcutRow]:
    """`shortcut_table` of a built world that has a ``train`` and a ``test`` split.

    Args:
        name: the world, e.g. ``demo/FF++``.
        data, indexes: folders of its store and its index.
    """
    store = Store(data / f"{name}_lmdb")
    records = read_index(indexes / f"{name}.json", builtin_cards()[name].labels).records
    features, classes, videos, splits = [], [], [], []
    for record in records:
        for key in record.frames:
            stored = store.get(key)
            features.append(image_features(decode_jpeg(stored), len(stored)))
            classes.append(record.cls)
            videos.append(record.video_id)
            splits.append(record.split)
    real = next(record.cls for record in records if record.label == 0)
    return shortcut_table(np.stack(features), classes, videos, splits, real)


def main() -> None:
    """Print the table of built worlds."""
    parser = argparse.ArgumentParser(description="linear model on global image statistics: AUC per class of fakes")
    parser.add_argument("worlds", nargs="+", metavar="WORLD", help="e.g. demo/FF++; with a train and a test split")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where stores are")
    parser.add_argument("--indexes", type=Path, default=Path("datasets_json"), help="where indexes are")
    options = parser.parse_args()
    for name in options.worlds:
        sys.stdout.write(f"{name:14} {'frame AUC':>9} {'video AUC':>9} {'videos':>6}\n")
        for row in check_world(name, options.data, options.indexes):
            sys.stdout.write(f"{row.name:14} {row.frame_auc:9.3f} {row.video_auc:9.3f} {row.num_videos:6d}\n")


if __name__ == "__main__":
    main()
