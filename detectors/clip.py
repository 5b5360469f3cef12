"""CLIP image baseline: a CLIP tower with a linear head, everything fine-tuned, as in DeepfakeBench and DF40.

Their checkpoints load as they are: Hugging Face keys below ``backbone.``, or ``base_model.`` and ``classifier.`` in
DF40's. They were trained with mean and std 0.5, not CLIP's, and their output 1 is fake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from benchmark.registry import DETECTORS
from detectors.base import Classifier, ClassifierConfig, DetectorConfig

_RENAMED = {"base_model": "backbone", "classifier": "head"}


class CLIPConfig(ClassifierConfig):
    """Settings of the CLIP baseline."""

    weights_classes: list[str] | None = ["real", "fake"]
    """Output order of a weights file that does not say it itself; the published ones have [real, fake]."""


@DETECTORS.register("clip")
class CLIPDetector(Classifier):
    """CLIP baseline of DeepfakeBench and DF40: full fine-tuning of an image tower with a linear head."""

    Config: ClassVar[type[DetectorConfig]] = CLIPConfig

    def adapt_state(self, state: dict[str, torch.Tensor], content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """DF40's names of the parts to ours, then as every classifier."""
        parts = {key: key.partition(".") for key in state}
        renamed = {f"{_RENAMED.get(head, head)}{dot}{rest}": state[key] for key, (head, dot, rest) in parts.items()}
        return super().adapt_state(renamed, content)
