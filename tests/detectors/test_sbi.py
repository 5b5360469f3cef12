"""detectors/sbi.py and detectors/mean_pool.py."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from benchmark import create_detector
from detectors.base import Batch, Detector, Losses

TINY = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}


class Recorder:
    """An engine that notes weights and gradients when the method asks for the update."""

    total_steps, step_number = 1, 0

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.gradients: dict[str, torch.Tensor] = {}

    def forward(self, batch: Batch) -> Losses:
        return self.detector.training_step(batch)

    def draw_alike(self) -> None:
        pass

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def accumulating(self, last: bool) -> nullcontext[None]:
        return nullcontext()

    def step(self, optimizer: str = "main") -> None:
        named = self.detector.named_parameters()
        self.gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}


def gradients_at(detector: Detector, batch: Batch) -> dict[str, torch.Tensor]:
    detector.zero_grad()
    detector.training_step(batch)["loss"].backward()
    found = {name: p.grad.clone() for name, p in detector.named_parameters() if p.grad is not None}
    detector.zero_grad()
    return found


def test_sam_takes_the_gradient_where_the_loss_is_highest_nearby():
    torch.manual_seed(0)
    detector = create_detector("sbi", TINY, sam_rho=0.3).eval()
    batch = {"image": torch.randn(4, 3, 32, 32), "label": torch.tensor([0, 1, 0, 1])}
    plain = gradients_at(detector, batch)
    before = {name: p.detach().clone() for name, p in detector.named_parameters()}
    norm = torch.cat([g.flatten() for g in plain.values()]).norm()
    with torch.no_grad():
        for name, p in detector.named_parameters():
            if name in plain:
                p += 0.3 * plain[name] / norm
    uphill = gradients_at(detector, batch)
    with torch.no_grad():
        for name, p in detector.named_parameters():
            p.copy_(before[name])

    engine = Recorder(detector)
    losses = detector.optimize(engine, [batch])
    assert all(torch.equal(p, before[name]) for name, p in detector.named_parameters()), "weights are put back"
    torch.testing.assert_close(losses["loss"], detector.training_step(batch)["loss"].detach())
    for name, gradient in engine.gradients.items():
        torch.testing.assert_close(gradient, uphill[name], atol=1e-6, rtol=1e-4)
    assert any(not torch.allclose(uphill[name], plain[name], rtol=0.05) for name in plain)


def test_a_clip_is_scored_by_the_mean_of_its_frames_features():
    torch.manual_seed(0)
    detector = create_detector("mean_pool", TINY).eval()
    torch.nn.init.normal_(detector.head.weight)
    clips = torch.randn(2, 5, 3, 32, 32)
    with torch.inference_mode():
        scores = detector.predict({"clip": clips})
        mixed = detector.predict({"clip": clips[:, torch.randperm(5)]})
        features = torch.stack([detector.backbone.extract(clip).pooled.mean(dim=0) for clip in clips])
        expected = torch.softmax(detector.head(features), dim=-1)[:, 1]
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(scores, mixed)
    assert abs(float(scores[0] - scores[1])) > 1e-4
