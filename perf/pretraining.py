"""Mask generation and training step of FSFM pre-training beside the obvious implementations, in one run.

    python -m perf.pretraining                                  # CPU: masks, and steps of a small model; a minute
    python -m perf.pretraining --device cuda --backbones fsfm_vit_base_patch16 fsfm_vit_large_patch16 --batch 256

(a) Masks: CRFR-P for a batch of parsing maps. "plain" loops over images and regions as the method is described
(one-hot map, max-pool, a random permutation per region); "ours" is ``detectors.masking`` from the same maps.
(b) Steps: forward, backward, clipping, AdamW and EMA. "plain" computes attention as softmax(q k) v, updates the target
parameter by parameter, and runs in float32; "ours" is the trainer's step. On a GPU also bf16 and torch.compile, with
model FLOPs utilisation (matrix products of forward and backward only, over ``--peak-tflops``) and peak memory.
"""

# ruff: noqa: E402 - thread counts are read when numpy is imported
from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmark import create_detector
from benchmark.schema import OptimizerConfig
from detectors.base import Batch, Detector
from detectors.fsfm_pretrain import FSFMPretrain, target_momentum
from detectors.masking import build_masking, hidden_count, patch_parts
from preprocessing.parsers.landmark_polygons import draw_map
from preprocessing.parsers.template import TYPICAL_FACE
from training.optimizer import build_optimizer

_GROUPS = ((2, 3), (4, 5), (6,), (7, 8, 9), (10, 1, 0), (10,), (1,), (0,))
_STEPS = 1000  # of the momentum schedule; any number does


# ------------------------------------------------------------------------------------------------ (a) masks


def face_maps(count: int, size: int = 224) -> torch.Tensor:
    """Parsing maps (count, size, size) uint8 of faces at many places, sizes and angles."""
    rng = np.random.default_rng(0)
    maps = []
    for _ in range(count):
        angle, scale = rng.normal(0, 0.15), rng.uniform(0.7, 1.1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        points = ((TYPICAL_FACE - 0.5) @ turn.T + 0.5 + rng.normal(0, 0.03, 2)) * size
        maps.append(draw_map(points, size, size, has_hair=bool(rng.random() < 0.8)))
    return torch.from_numpy(np.stack(maps))


def plain_masks(maps: torch.Tensor, patch: int, ratio: float) -> tuple[torch.Tensor, torch.Tensor]:
    """CRFR-P as it is described: image by image, region by region."""
    region = random.randrange(6)
    hidden, covered = zip(*(_plain_mask(ids, region, patch, ratio) for ids in maps), strict=True)
    return torch.stack(hidden), torch.stack(covered)


def _plain_mask(ids: torch.Tensor, region: int, patch: int, ratio: float) -> tuple[torch.Tensor, torch.Tensor]:
    shows = F.max_pool2d(F.one_hot(ids.long(), 11).permute(2, 0, 1).float(), patch).flatten(1).bool()
    groups = [shows[list(classes)].any(0) for classes in _GROUPS]
    groups[4] = (shows[10] | shows[0]) & shows[1]
    covered = groups[region].clone()
    total = hidden_count(len(covered), ratio)
    outside = total - int(covered.sum())
    if outside <= 0:
        kept = covered.nonzero().flatten()
        hidden = torch.zeros_like(covered)
        hidden[kept[torch.randperm(len(kept))[:total]]] = True
        return hidden, hidden
    share = outside / (len(covered) - int(covered.sum()))
    hidden, taken = covered.clone(), covered.clone()
    for number, group in enumerate(groups):
        if number != region:
            free = (group & ~taken).nonzero().flatten()
            hidden[free[torch.randperm(len(free))[: round(len(free) * share)]]] = True
            taken |= group
    missing = total - int(hidden.sum())
    pool = (~hidden if missing > 0 else hidden & ~covered).nonzero().flatten()
    hidden[pool[torch.randperm(len(pool))[: abs(missing)]]] = missing > 0
    return hidden, covered


def measure_masks(device: torch.device, batch: int, patch: int, repeats: int) -> None:
    """Print microseconds per image of both."""
    maps = face_maps(batch)
    masking, count = build_masking("crfr_p"), hidden_count((224 // patch) ** 2, 0.75)
    seeds = torch.arange(batch)
    hidden, _ = plain_masks(maps, patch, 0.75)
    assert bool((hidden.sum(1) == count).all())
    plain = [timed(lambda: plain_masks(maps, patch, 0.75), torch.device("cpu")) / batch for _ in range(repeats)]
    maps, seeds = maps.to(device), seeds.to(device)
    ours = [timed(lambda: masking(patch_parts(maps, patch), seeds, count), device) / batch for _ in range(5 * repeats)]
    slow, fast = min(plain) * 1e6, min(ours) * 1e6
    print(f"| {patch} | {batch} | {slow:.0f} | {fast:.1f} | **{slow / fast:.0f}** |")


# ------------------------------------------------------------------------------------------------ (b) steps


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: object, **options: object
) -> torch.Tensor:
    """softmax(q k / sqrt(d)) v with the whole matrix in memory."""
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return weights.softmax(dim=-1) @ value


@contextmanager
def without_sdpa() -> Iterator[None]:
    """Replace the fused attention."""
    fused = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = plain_attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


def plain_ema(detector: FSFMPretrain, step: int) -> None:
    """The update parameter by parameter."""
    momentum = target_momentum(step, _STEPS, detector.config.target_momentum)
    online = dict(detector.online.named_parameters())
    with torch.no_grad():
        for name, target in detector.target.named_parameters():
            target.copy_(momentum * target + (1 - momentum) * online[name])


def measure_steps(options: argparse.Namespace, device: torch.device, backbone: str) -> None:
    """Print samples per second of the variants for one backbone."""
    spec = {"name": backbone, "img_size": options.image_size}
    batch = random_batch(options.batch, options.image_size, device)
    variants: dict[str, tuple[bool, str, bool]] = {
        "plain, fp32": (True, "fp32", False),
        "ours, fp32": (False, "fp32", False),
    }
    if device.type == "cuda":
        variants |= {"ours, bf16": (False, "bf16", False), "ours, bf16 + compile": (False, "bf16", True)}
    reference = None
    for title, (is_plain, precision, compiled) in variants.items():
        torch.manual_seed(0)
        detector = create_detector("fsfm_pretrain", spec).to(device).train()
        assert isinstance(detector, FSFMPretrain)
        step = make_step(detector, batch, is_plain=is_plain, precision=precision, compiled=compiled)
        flops = step_flops(detector, options.batch)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with without_sdpa() if is_plain else nullcontext():
            for _ in range(3 if compiled else 1):
                step()
            seconds = statistics.median(timed(step, device) for _ in range(options.repeats))
        reference = reference or seconds
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if device.type == "cuda" else "-"
        share = f"{100 * flops / seconds / options.peak_tflops / 1e12:.1f} %" if options.peak_tflops else "-"
        rate, ratio = options.batch / seconds, reference / seconds
        print(f"| {backbone} | {title} | {1e3 * seconds:.0f} | {rate:.1f} | {ratio:.2f} | {share} | {memory} |")
        del detector, step


def random_batch(count: int, size: int, device: torch.device) -> Batch:
    """Noise with the parsing maps of faces."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, size, size, generator=generator)
    return {
        "image": images.to(device),
        "parsing": face_maps(count, size).to(device),
        "seed": torch.arange(count, device=device),
    }


def make_step(
    detector: FSFMPretrain, batch: Batch, *, is_plain: bool, precision: str, compiled: bool
) -> Callable[[], None]:
    """A whole training step as a function."""
    settings = OptimizerConfig(lr=1e-4, betas=(0.9, 0.95))
    optimizer = build_optimizer(detector.parameter_groups(settings), settings, 1e-4)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    forward = torch.compile(detector.training_step) if compiled else detector.training_step
    device = batch["image"].device
    done = 0

    def step() -> None:
        nonlocal done
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = forward(batch)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if is_plain:
            plain_ema(detector, done)
        else:
            detector.after_micro_batch(done, _STEPS)
        done += 1

    return step


def step_flops(detector: Detector, batch: int) -> float:
    """Floating-point operations of the matrix products of one step: 2 per multiply-add, backward twice the forward."""
    assert isinstance(detector, FSFMPretrain)
    online, visible = detector.online, detector.patches - detector.hidden + 1
    everything, width = detector.patches + 1, online.cls_token.shape[2]
    wide = online.decoder_pos_embed.shape[2]
    pixels = 3 * detector.patch_size**2
    depth, decoder_depth, rep_depth = len(online.blocks), len(online.decoder_blocks), len(online.rep_decoder_blocks)
    represent = _block_flops(everything, width) * rep_depth + 2 * 2 * everything * width**2
    masked = 2 * detector.patches * pixels * width + _block_flops(visible, width) * depth
    decode = _block_flops(everything, wide) * decoder_depth + 2 * everything * wide * (width / 4 + pixels)
    whole = 2 * detector.patches * pixels * width + _block_flops(everything, width) * depth
    return batch * (3 * (masked + decode + represent) + whole + represent)


def _block_flops(tokens: int, width: int) -> float:
    """A transformer block: 12 W^2 weights per token, and the two products of attention."""
    return 2 * tokens * 12 * width**2 + 4 * tokens**2 * width


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call; CPU time of this process on the CPU, so that neighbours matter little."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        action()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="perf.pretraining", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--backbones", nargs="+", default=["fsfm_vit_tiny_patch16"], metavar="B")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8, help="samples of a step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="of the device in bf16, e.g. 989 (H100, H200)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    print("| patch | batch | plain loop, us/image | ours, us/image | times faster |\n|---:|---:|---:|---:|---:|")
    for patch in (16, 14):
        measure_masks(device, 256, patch, 3)
    print("\n| backbone | step | ms | samples/s | times faster | MFU | peak GiB |\n|---|---|---:|---:|---:|---:|---:|")
    for backbone in options.backbones:
        measure_steps(options, device, backbone)


if __name__ == "__main__":
    main()
