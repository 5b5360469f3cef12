"""The detector of SBI: a classifier trained with sharpness-aware minimisation (SAM).

Shiohara, Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022, arXiv 2204.08376, section 4.1; SAM: Foret
et al., ICLR 2021, arXiv 2010.01412, equation 2 and algorithm 1. The fakes come from the augmentation ``sbi``; this
detector runs with any other data too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from benchmark.registry import DETECTORS
from detectors.base import Batch, Classifier, ClassifierConfig, DetectorConfig, Engine, Losses


class SBIConfig(ClassifierConfig):
    """Settings of the classifier and of SAM."""

    sam_rho: float = Field(0.05, gt=0)
    """Radius of the neighbourhood in which SAM looks for the highest loss (the paper of SAM: 0.05)."""


@DETECTORS.register("sbi")
class SBIDetector(Classifier):
    """SBI's classifier: linear head, cross entropy, sharpness-aware minimisation (two passes a step)."""

    Config: ClassVar[type[DetectorConfig]] = SBIConfig
    config: SBIConfig

    def optimize(self, engine: Engine, micro_batches: Sequence[Batch]) -> Losses:
        """One step with the gradient taken where the loss is highest nearby.

        Returns:
            The losses at the weights themselves, not at the perturbed ones.
        """
        losses = self.accumulate_gradients(engine, micro_batches)
        moved = self._climb()
        self.accumulate_gradients(engine, micro_batches)
        for parameter, before in moved:
            parameter.data.copy_(before)
        engine.step()
        return losses

    @torch.no_grad()
    def _climb(self) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
        """Move every parameter by rho * g / |g| and clear the gradients; the parameters with their values before."""
        trained = [p for p in self.parameters() if p.grad is not None]
        gradients = [p.grad for p in trained if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        factor = self.config.sam_rho / (norm + 1e-12)  # a loss scale cancels out here
        moved = []
        for parameter, gradient in zip(trained, gradients, strict=True):
            moved.append((parameter, parameter.detach().clone()))
            parameter.add_(gradient * factor)
            parameter.grad = None
        return moved
