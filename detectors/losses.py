"""Losses shared by detectors; pure functions of tensors."""

from __future__ import annotations

import torch

_EPSILON = 1e-6
_BASE_TEMPERATURE = 0.07


def real_anchor_loss(features: torch.Tensor, is_real: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """Real-anchored contrastive loss of FS-VFM's adapter (arXiv 2510.10663): reals attract, all others repel.

    For every real i: minus the mean over the other reals j of log softmax over all k != i of q_i q_k / T, times
    T / 0.07; zero for fakes and for a real without another real; the mean runs over the whole batch.

    Args:
        features: (B, D) unit vectors.
        is_real: (B,) bool.
        temperature: T.

    Returns:
        Scalar; the constant 1e-6 (without gradient) when the batch holds no real.
    """
    similarity = features @ features.T / temperature
    similarity = similarity - similarity.max(dim=1, keepdim=True).values.detach()
    others = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
    log_denominator = torch.log((similarity.exp() * others).sum(1, keepdim=True) + _EPSILON)
    positives = is_real[:, None] & is_real[None, :] & others
    counts = positives.sum(1)
    per_sample = ((similarity - log_denominator) * positives).sum(1) / counts.clamp(min=1)
    loss = -(temperature / _BASE_TEMPERATURE) * per_sample.mean()
    return torch.where(is_real.any(), loss, loss.new_tensor(_EPSILON))
