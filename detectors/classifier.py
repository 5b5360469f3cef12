"""Baseline: any backbone with a linear head and cross entropy (Xception, EfficientNet-B4, ResNet-34, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from benchmark.registry import DETECTORS
from detectors.base import Classifier

# Names of the last layer in published files, and DeepfakeBench's optional 1x1 layer in front of it, which is unused.
_HEADS = ("backbone.last_linear.", "backbone.fc.", "backbone.classifier.")
_UNUSED = ("backbone.adjust_channel.",)


@DETECTORS.register("timm")
class TimmDetector(Classifier):
    """Baseline classifier: any timm model (or other backbone), linear head, cross entropy."""

    def adapt_state(self, state: dict[str, torch.Tensor], content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """DeepfakeBench's files keep the whole network, last layer included, under ``backbone.``; to our names."""
        own = self.state_dict()
        if not any(key.startswith("head.") for key in state):
            state = {_our_name(key, own): value for key, value in state.items() if not key.startswith(_UNUSED)}
        return super().adapt_state(state, content)


def _our_name(key: str, own: Mapping[str, torch.Tensor]) -> str:
    for head in _HEADS:
        if key.startswith(head):
            return f"head.{key.removeprefix(head)}"
    inner = f"backbone.model.{key.removeprefix('backbone.')}"
    return inner if key not in own and inner in own else key
