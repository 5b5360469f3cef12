"""FSFM / FS-VFM fine-tuning: a pre-trained face ViT with a linear head.

FSFM (CVPR 2025, arXiv 2412.12032) and FS-VFM (arXiv 2510.10663), full fine-tuning for deepfake and diffusion-face
detection: AdamW with layer-wise learning-rate decay, mixup + CutMix, label smoothing, stochastic depth.

Differences from the official code: class 0 is real and the score is P(fake); the softmax is taken in float32
(the official one is of fp16 logits, which differs in the 2nd to 3rd decimal of AUC); see docs/reproducibility.md.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from benchmark.registry import DETECTORS
from detectors.base import Classifier, ClassifierConfig, DetectorConfig


class FSFMConfig(ClassifierConfig):
    """Defaults of the published DfD recipe."""

    label_smoothing: float = Field(0.1, ge=0, lt=1)
    mixup: float = Field(0.8, ge=0)
    cutmix: float = Field(1.0, ge=0)
    head_init_std: float = Field(2e-5, gt=0)
    """So small that training starts at loss ln 2 and P(fake) = 0.5."""


@DETECTORS.register("fsfm")
class FSFMDetector(Classifier):
    """FSFM / FS-VFM full fine-tuning of a pre-trained face ViT (CVPR 2025)."""

    Config: ClassVar[type[DetectorConfig]] = FSFMConfig
