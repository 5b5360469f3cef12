"""What the metrics are called and how they read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number of the leaderboard.

    Attributes:
        key: name in rows.
        label: for people.
        lower: whether smaller is better.
        percent: shown times 100.
    """

    key: str
    label: str
    lower: bool = False
    percent: bool = True

    def text(self, value: float) -> str:
        """The value as printed."""
        return f"{100 * value:.2f}" if self.percent else f"{value:.4f}"


METRICS = (
    Metric("auc", "AUC"),
    Metric("eer", "EER", lower=True),
    Metric("ap", "AP"),
    Metric("acc", "Accuracy"),
    Metric("balanced_acc", "Balanced accuracy"),
    Metric("tpr@fpr1", "TPR at FPR 1 %"),
    Metric("pauc@fpr10", "Partial AUC, FPR to 10 %"),
    Metric("hter@dev", "HTER, development threshold", lower=True),
    Metric("hter@target_eer", "HTER at the target's own EER", lower=True),
    Metric("live_tpr@fpr1", "Live accepted at FAR 1 %"),
    Metric("apcer@dev", "APCER, development threshold", lower=True),
    Metric("bpcer@dev", "BPCER, development threshold", lower=True),
    Metric("acer@dev", "ACER, development threshold", lower=True),
    Metric("ece", "Calibration error (ECE)", lower=True),
    Metric("loss", "Cross entropy", lower=True, percent=False),
)
BY_KEY = {metric.key: metric for metric in METRICS}
