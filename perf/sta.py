"""Time and memory of the StA adapter beside the plain backbone and beside the straightforward layout, in one run.

    python -m perf.sta                                     # CPU, one core, about five minutes
    python -m perf.sta --device cuda --blocks 14           # the whole published tower on a GPU

Forward and backward of CLIP ViT-L/14 blocks at B = 2 clips of T = 8 frames (224 x 224, 257 tokens a frame), random
weights. "plain" is the backbone alone with all of it trained; "frozen" the same without gradients of its weights, also
with PyTorch's attention module in the place of ours; "ours" adds an adapter per block to the frozen one. "eager"
computes the same as one would write it down: PyTorch's attention in the blocks, and adapters on contiguous
(B, c, T, H, W) grids with ``conv3d`` and attention modules that return their maps.

Every variant runs in a process of its own. Memory is what the process needed beyond weights and input at its peak
(resident set on the CPU, allocator peak on a GPU), and "kept" the bytes saved for the backward pass. The second table
takes one adapter's forward pass apart and holds each part against the core's own speed in matrix products and copies.
"""

# ruff: noqa: E402 - thread counts are read when numpy is imported
from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import gc
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from backbones.adapters.sta import ClipShape, CrossAttention, StAdapter, StASettings, attach_sta
from benchmark import create_backbone
from training.inputs import autocast

WIDTH, GRID, BOTTLENECK = 1024, (16, 16), 512
VARIANTS = (
    "plain",
    "frozen",
    "frozen, PyTorch attention",
    "eager",
    "ours",
    "ours, convs recomputed",
    "plain, bf16",
    "ours, bf16",
    "eager, bf16",
)


@dataclass(frozen=True)
class Workload:
    """What is measured."""

    clips: int
    frames: int
    blocks: int
    rounds: int
    device: str


@dataclass(frozen=True)
class Result:
    """Milliseconds a step, and MiB."""

    step: float
    peak: float
    kept: float


class EagerAttention(CrossAttention):
    """Both attention maps are computed, averaged over heads and thrown away, as without ``need_weights=False``."""

    def forward(self, spatial: torch.Tensor, temporal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``CrossAttention.forward``."""
        to_temporal = nn.MultiheadAttention.forward(self.spatial_to_temporal, temporal, spatial, spatial)[0]
        return to_temporal, nn.MultiheadAttention.forward(self.temporal_to_spatial, spatial, temporal, temporal)[0]


class EagerAdapter(StAdapter):
    """The adapter written down directly, on contiguous five-dimensional grids."""

    def __init__(self, settings: StASettings, shape: ClipShape) -> None:
        super().__init__(settings, shape)
        self.cross_attention = EagerAttention(settings.bottleneck, settings.heads)

    def _streams(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grid = clips.unflatten(2, self.settings.grid).permute(0, 4, 1, 2, 3).contiguous()
        streams = []
        for kind in ("s_conv", "t_conv"):
            outputs = [self._stack(getattr(self, f"{kind}{number}"), grid) for number in (1, 2, 3)]
            fused = (outputs[0] + outputs[1] + outputs[2]) / 3 + grid
            streams.append(fused.permute(0, 2, 3, 4, 1).reshape(clips.shape).contiguous())
        return streams[0], streams[1]

    @staticmethod
    def _stack(stack: nn.Module, grid: torch.Tensor) -> torch.Tensor:
        for number in (1, 2, 3):
            conv, norm = stack.get_submodule(f"conv{number}"), stack.get_submodule(f"bn{number}")
            padding = tuple(side // 2 for side in conv.kernel_size)
            grid = norm(F.conv3d(grid, conv.weight, conv.bias, padding=padding, groups=len(conv.weight)))
            grid = F.relu(grid) if number < 3 else grid
        return grid


def build(variant: str, work: Workload) -> nn.Module:
    """The blocks of a variant, in training mode."""
    torch.manual_seed(0)
    tower = create_backbone("clip_vit_l14", num_blocks=work.blocks)
    tower.requires_grad_(variant.startswith("plain"))
    shape = ClipShape(work.frames)
    if "PyTorch attention" in variant or variant.startswith("eager"):
        for block in tower.block_list():
            block.attn.forward = partial(nn.MultiheadAttention.forward, block.attn)
    if variant.startswith("eager"):
        for index in range(work.blocks):
            tower.attach_adapter(index, EagerAdapter(StASettings(WIDTH, GRID, 1, BOTTLENECK), shape), "Adapter")
    elif variant.startswith("ours"):
        attach_sta(tower, shape, recompute_convs="recomputed" in variant)
    return tower.block_list().train().to(work.device)


def measure(variant: str, work: Workload) -> Result:
    """Median step of a variant; call in a process of its own."""
    blocks = build(variant, work)
    tokens = torch.randn(work.clips * work.frames, 257, WIDTH, device=work.device, requires_grad=True)
    precision = "bf16" if "bf16" in variant else "fp32"

    def step() -> None:
        with autocast(precision, torch.device(work.device)):
            hidden = tokens
            for block in blocks:
                hidden = block(hidden)
        hidden.square().mean().backward()
        blocks.zero_grad(set_to_none=True)
        tokens.grad = None

    gc.collect()
    before = peak_memory(work.device, reset=True)
    step()
    peak = peak_memory(work.device) - before
    times = []
    for _ in range(work.rounds):
        start = clock(work.device)
        step()
        times.append(clock(work.device) - start)
    return Result(1e3 * statistics.median(times), peak / 2**20, kept_bytes(step, blocks) / 2**20)


def clock(device: str) -> float:
    """Seconds: CPU time of this process, or wall time after the GPU has finished."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(device: str, *, reset: bool = False) -> float:
    """Highest number of bytes in use so far; on a GPU since the last reset."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return float(torch.cuda.max_memory_allocated())


def kept_bytes(step: Callable[[], None], module: nn.Module) -> int:
    """Bytes of distinct memory saved for the backward pass, without the parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(seen.values())


def in_own_process(variant: str, work: Workload) -> Result:
    """``measure`` in a fresh interpreter, so that peaks do not mix."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (variant, work))


# ------------------------------------------------------------------ where an adapter's time goes


@dataclass(frozen=True)
class Part:
    """A part of the forward pass: what it computes and the least memory traffic of its separate operations."""

    name: str
    run: Callable[[], object]
    flops: float
    moved: float


def parts_of(work: Workload) -> list[Part]:
    """One adapter's forward pass in training mode, in order of time."""
    adapter = StAdapter(StASettings(WIDTH, GRID, 1, BOTTLENECK), ClipShape(work.frames)).train().to(work.device)
    images, positions = work.clips * work.frames, GRID[0] * GRID[1]
    tokens = torch.randn(images, positions + 1, WIDTH, device=work.device)
    hidden = F.gelu(adapter.down(tokens))
    clips = hidden[:, 1:].reshape(work.clips, work.frames, positions, BOTTLENECK)
    planes = clips.flatten(0, 1).unflatten(1, GRID).permute(0, 3, 1, 2)
    times = clips.permute(0, 3, 1, 2)
    spatial = adapter.streams(clips)[0].flatten(1, 2)
    heads = spatial.unflatten(2, (2, -1)).transpose(1, 2)
    projection = nn.Linear(BOTTLENECK, BOTTLENECK).to(work.device)
    rows, n, length = images * (positions + 1), images * positions, work.frames * positions
    narrow, wide = 4 * n * BOTTLENECK, 4 * rows * WIDTH

    def stacks(kind: str, values: torch.Tensor) -> Callable[[], object]:
        return lambda: [getattr(adapter, f"{kind}{number}")(values) for number in (1, 2, 3)]

    def convolutions(kind: str, values: torch.Tensor) -> Callable[[], object]:
        convs = [(getattr(adapter, f"{kind}{k}").conv1, getattr(adapter, f"{kind}{k}")) for k in (1, 2, 3)]
        return lambda: [
            F.conv2d(values, conv.weight.squeeze(stack.flat_axis), conv.bias, padding=stack.padding, groups=BOTTLENECK)
            for conv, stack in convs
            for _ in range(3)
        ]

    linear = 2.0 * rows * WIDTH * BOTTLENECK
    return [
        Part("down, GELU", lambda: F.gelu(adapter.down(tokens)), linear, wide + 3 * narrow),
        Part("3 spatial stacks", stacks("s_conv", planes), 6.0 * n * BOTTLENECK * 83, 3 * 19 * narrow),
        Part("  their convolutions", convolutions("s_conv", planes), 6.0 * n * BOTTLENECK * 83, 3 * 6 * narrow),
        Part("3 temporal stacks", stacks("t_conv", times), 6.0 * n * BOTTLENECK * 15, 3 * 19 * narrow),
        Part("  their convolutions", convolutions("t_conv", times), 6.0 * n * BOTTLENECK * 15, 3 * 6 * narrow),
        Part("8 projections", lambda: [projection(spatial) for _ in range(8)], 16.0 * n * BOTTLENECK**2, 16 * narrow),
        Part("2 attentions", lambda: [F.scaled_dot_product_attention(heads, heads, heads) for _ in range(2)],
             8.0 * work.clips * length**2 * BOTTLENECK, 8 * narrow),
        Part("up, GELU, residual", lambda: tokens + F.gelu(adapter.up(hidden)), linear, narrow + 6 * wide),
    ]  # fmt: skip


def machine_speed(device: str) -> tuple[float, float]:
    """FLOP/s of a large float32 matrix product and bytes/s of a large copy (read and written)."""
    matrix, source = torch.randn(2048, 1024, device=device), torch.randn(2**25, device=device)
    other, target = torch.randn(1024, 1024, device=device), torch.empty_like(source)
    product = seconds(lambda: matrix @ other, device)
    copy = seconds(lambda: target.copy_(source), device)
    return 2.0 * 2048 * 1024 * 1024 / product, 8.0 * source.numel() / copy


def seconds(run: Callable[[], object], device: str, rounds: int = 5) -> float:
    """Median time of a call after one for warming up."""
    times = []
    with torch.no_grad():
        run()
        for _ in range(rounds):
            start = clock(device)
            run()
            times.append(clock(device) - start)
    return statistics.median(times)


def print_variants(work: Workload) -> None:
    """The first table."""
    print("| variant | ms a step | x plain | x eager | peak MiB | kept MiB |\n|---|---:|---:|---:|---:|---:|")
    results: dict[str, Result] = {}
    for variant in VARIANTS:
        results[variant] = found = in_own_process(variant, work)
        adapted = variant.startswith(("ours", "eager"))
        ratio = f"{found.step / results['eager'].step:.2f}" if adapted else "-"
        print(
            f"| {variant} | {found.step:.0f} | {found.step / results['plain'].step:.2f} | {ratio} "
            f"| {found.peak:.0f} | {found.kept:.0f} |",
            flush=True,
        )


def print_parts(work: Workload) -> None:
    """The second table."""
    speed, bandwidth = machine_speed(work.device)
    print(f"\nmatrix products {speed / 1e9:.0f} GFLOP/s, copies {bandwidth / 1e9:.1f} GB/s: balanced at "
          f"{speed / bandwidth:.1f} FLOP a byte\n")  # fmt: skip
    print("| part of one adapter, forward | ms | GFLOP | FLOP a byte | of peak FLOP/s | of copy speed |")
    print("|---|---:|---:|---:|---:|---:|")
    for part in parts_of(work):
        spent = seconds(part.run, work.device)
        print(
            f"| {part.name} | {1e3 * spent:.1f} | {part.flops / 1e9:.2f} | {part.flops / part.moved:.1f} "
            f"| {part.flops / spent / speed:.0%} | {part.moved / spent / bandwidth:.0%} |"
        )


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2, help="B")
    parser.add_argument("--frames", type=int, default=8, help="T")
    parser.add_argument("--blocks", type=int, default=1, help="blocks of the tower")
    parser.add_argument("--rounds", type=int, default=3, help="steps timed per variant")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    work = Workload(options.clips, options.frames, options.blocks, options.rounds, options.device)
    print_variants(work)
    print_parts(work)


if __name__ == "__main__":
    main()
