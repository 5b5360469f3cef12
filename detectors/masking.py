"""Which patches of a face are hidden in masked pre-training: strategies as plugins.

A strategy maps what the patches show (from a parsing map) to exactly ``count`` hidden patches per image. All of a
batch is computed at once, on its device; random numbers are a hash of (seed of the sample, patch), so a mask is the
same on every device, in every batch, on any number of processes, and after a resume.

FSFM (CVPR 2025, arXiv 2412.12032) compares ``random``, ``fasking_i``, ``frp``, ``crfr_r`` and ``crfr_p``. In shapes:
B images, L patches in row-major order, C = 11 parser classes, G groups of patches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch

from benchmark.errors import ConfigError, did_you_mean
from benchmark.registry import MASKINGS

CLASSES = 11
"""Classes of the LaPa parser: 0 background, 1 skin, 2/3 brows, 4/5 eyes, 6 nose, 7-9 mouth, 10 hair."""
_CLASS_GROUPS = ((2, 3), (4, 5), (6,), (7, 8, 9), (), (10,), (1,), (0,))
REGION_NAMES = ("eyebrows", "eyes", "nose", "mouth", "boundaries", "hair", "skin", "background")
"""Groups of patches in the order they are visited; ``boundaries`` are patches with skin and hair or background."""
COVERABLE = 6
"""The first six groups can be the covered region; skin and background never are."""
_BOUNDARIES = 4
_COVERED = len(REGION_NAMES)  # number of the group made of the covered region
_LARGEST_CORRECTION = 8  # eight roundings of at most 0.5 can miss a whole budget by 4
_NOISE_BITS = 27
_CPU_SHARE = 64  # maps at a time, so that they stay in the processor's cache
# Streams of random numbers of one sample.
_REGION, _SUBSET, _CORRECTION, _ORDER = range(4)
_FASKING_PARTS = ((2, 4), (3, 5), (6,), (7, 8, 9), (10,))  # MARLIN's component groups

RegionDraw = Literal["per_batch", "per_image"]


class Masks(NamedTuple):
    """Result of a strategy.

    Attributes:
        hidden: (B, L) bool, ``count`` patches per image.
        covered: (B, L) bool, the facial region that is hidden completely; part of ``hidden``, empty without one.
    """

    hidden: torch.Tensor
    covered: torch.Tensor


class Masking(ABC):
    """A masking strategy. Options are keyword arguments of the constructor.

    Class attributes:
        needs_parsing: it looks at what the patches show; without it ``parts`` may be all zero.
    """

    needs_parsing = True

    @abstractmethod
    def __call__(self, parts: torch.Tensor, seeds: torch.Tensor, count: int) -> Masks:
        """Masks of a batch.

        Args:
            parts: (B, L) int16, bit c set when the patch shows class c (see ``patch_parts``).
            seeds: (B,) int64, one per sample; the result depends on nothing else.
            count: patches to hide per image, 1 to L - 1.
        """


class Plan(NamedTuple):
    """What follows from the map and the covered region alone, before any subset is drawn (spec 3.2).

    Attributes:
        covered: (B, L) bool, all patches of the chosen region.
        groups: (B, L) int64, group 0-7 of each patch, 8 inside the covered region.
        sizes: (B, 9) int64, patches per group.
        outside: (B,) int64, patches to hide outside the region; <= 0 when the region alone exceeds the budget.
        ratio: (B,) float32, share of the rest to hide.
        quotas: (B, 9) int64, patches to hide per group.
        correction: (B,) int64, patches to add (or remove, if negative) after rounding.
    """

    covered: torch.Tensor
    groups: torch.Tensor
    sizes: torch.Tensor
    outside: torch.Tensor
    ratio: torch.Tensor
    quotas: torch.Tensor
    correction: torch.Tensor


def hidden_count(patches: int, ratio: float) -> int:
    """Patches to hide: all but int(patches * (1 - ratio)), which MAE keeps; safe against 9.99999 for 10."""
    return patches - int(patches * (1 - ratio) + 1e-6)


def build_masking(name: str, **options: object) -> Masking:
    """The strategy registered under ``name``.

    Raises:
        RegistryError: unknown name.
        ConfigError: an option it does not have, or a bad value.
    """
    from benchmark.config import checked_options

    maker = MASKINGS.get(name)
    masking: Masking = maker(**checked_options(maker, options, prefix="masking"))
    return masking


def patch_parts(parsing: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Classes present in every patch: a pixel anywhere in the patch is enough.

    Args:
        parsing: (B, H, W) uint8 class ids 0-10; H and W multiples of ``patch_size``.
        patch_size: P.

    Returns:
        (B, L) int16 bit fields, L = (H / P) * (W / P).

    Raises:
        ValueError: sides that are no multiples of the patch size.
    """
    height, width = parsing.shape[1:]
    if height % patch_size or width % patch_size:
        raise ValueError(f"Parsing maps of {height} x {width} do not divide into patches of {patch_size}.")
    if parsing.device.type == "cpu" and len(parsing) > _CPU_SHARE:
        return torch.cat([patch_parts(share, patch_size) for share in parsing.split(_CPU_SHARE)])
    # Two planes of 8 bits: bytes are shifted and combined many at a time, unlike 16-bit fields or one-hot maps.
    parsing = parsing.contiguous()
    low = _patch_bits(parsing, patch_size)
    high = _patch_bits(parsing ^ 8, patch_size)  # classes 8-10 become 0-2, all others shift out of the byte
    return low.to(torch.int16) | (high.to(torch.int16) << 8)


def _patch_bits(shifts: torch.Tensor, patch_size: int) -> torch.Tensor:
    """(B, L) uint8 with the bits that the pixels of a patch name; values above 7 name none."""
    batch, height, width = shifts.shape
    rows, columns = height // patch_size, width // patch_size
    bits = torch.bitwise_left_shift(torch.ones_like(shifts[:1, :1, :1]), shifts).view(batch, rows, patch_size, width)
    wide = bits.view(torch.int64) if width % 8 == 0 else bits  # eight pixels per operation
    strips = _fold_or(wide, 2).view(torch.uint8)
    return _fold_or(strips.view(batch, rows, columns, patch_size), 3).flatten(1)


def _fold_or(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Bitwise OR along one dimension."""
    folded = values.select(dim, 0).clone()
    for index in range(1, values.shape[dim]):
        folded |= values.select(dim, index)
    return folded


def random_bits(seeds: torch.Tensor, count: int, stream: int, bits: int = _NOISE_BITS) -> torch.Tensor:
    """Uniform random integers that depend on (seed, stream, position) only: splitmix64 of a counter.

    Args:
        seeds: (B,) int64.
        count: numbers per seed.
        stream: independent streams of one seed.
        bits: numbers are below 2 ** bits.

    Returns:
        (B, count) int64.
    """
    counter = torch.arange(count, device=seeds.device) + (stream << 32)
    start = _mix(seeds)[:, None]  # neighbouring seeds must not run through the same numbers
    return (_mix((start + counter) * -0x61C8864680B583EB) >> (64 - bits)) & ((1 << bits) - 1)


def _mix(state: torch.Tensor) -> torch.Tensor:
    """The output function of splitmix64; constants and shifts as signed numbers."""
    state = (state ^ ((state >> 30) & (1 << 34) - 1)) * -0x40A7B892E31B1A47
    state = (state ^ ((state >> 27) & (1 << 37) - 1)) * -0x6B2FB644ECCEEE15
    return state ^ ((state >> 31) & (1 << 33) - 1)


# --------------------------------------------------------------------------------------------- groups and quotas


def group_codes(parts: torch.Tensor) -> torch.Tensor:
    """Groups of every patch as 8 bits, bit j for group j of ``REGION_NAMES``.

    Args:
        parts: (B, L) int16, see ``patch_parts``.

    Returns:
        (B, L) int64.
    """
    fields = parts.long()
    codes = torch.zeros_like(fields)
    for number, classes in enumerate(_CLASS_GROUPS):
        for label in classes:
            codes |= ((fields >> label) & 1) << number
    hair_or_background, skin = (fields >> 10) | fields, fields >> 1
    return codes | ((hair_or_background & skin & 1) << _BOUNDARIES)


def _first_group(codes: torch.Tensor) -> torch.Tensor:
    """Lowest group of every patch; background for a code without any."""
    lowest = torch.where(codes > 0, codes & -codes, 1 << (len(REGION_NAMES) - 1))
    return lowest.float().log2().round().long()


def region_patches(parts: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Patches of one region per image.

    Args:
        parts: (B, L) int16, see ``patch_parts``.
        regions: (B,) int64, numbers in ``REGION_NAMES``; negative for no region.

    Returns:
        (B, L) bool.
    """
    return _region_patches(group_codes(parts), regions)


def _region_patches(codes: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    return ((codes >> regions.clamp(min=0)[:, None]) & 1).bool() & (regions >= 0)[:, None]


def plan_regions(parts: torch.Tensor, regions: torch.Tensor, count: int) -> Plan:
    """Exclusive groups and proportional quotas around a covered region (FSFM's CRFR-P).

    Args:
        parts: (B, L) int16, see ``patch_parts``.
        regions: (B,) int64, the region to cover; negative covers nothing (FRP).
        count: patches to hide per image.
    """
    codes = group_codes(parts)
    covered = _region_patches(codes, regions)
    groups = torch.where(covered, _COVERED, _first_group(codes))
    sizes = _sizes(groups, _COVERED + 1)
    inside = sizes[:, _COVERED]
    outside = count - inside
    ratio = outside.clamp(min=0) / (parts.shape[1] - inside).clamp(min=1)
    quotas = (sizes * ratio[:, None]).round().long()  # float32, half to even, as the reference
    quotas[:, _COVERED] = inside.clamp(max=count)
    correction = torch.where(outside > 0, count - quotas.sum(1), 0)
    return Plan(covered, groups, sizes, outside, ratio, quotas, correction)


def _sizes(groups: torch.Tensor, number: int) -> torch.Tensor:
    """(B, number) patches per group."""
    counts = torch.zeros(len(groups), number, dtype=torch.int64, device=groups.device)
    return counts.scatter_add_(1, groups, torch.ones_like(groups))


def draw_subsets(groups: torch.Tensor, quotas: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """A uniform subset of every group of every image, independent of each other, by one sort.

    Args:
        groups: (B, L) int64 group of each patch, 0 to G - 1.
        quotas: (B, G) int64 patches to draw, at most the group's size.
        seeds: (B,) int64.

    Returns:
        (B, L) bool.
    """
    noise = random_bits(seeds, groups.shape[1], _SUBSET)
    order = ((groups << _NOISE_BITS) | noise).int().argsort(dim=1)  # group after group, shuffled inside
    sorted_groups = groups.gather(1, order)
    sizes = _sizes(groups, quotas.shape[1])
    starts = sizes.cumsum(1) - sizes
    rank = torch.arange(groups.shape[1], device=groups.device) - starts.gather(1, sorted_groups)
    chosen = rank < quotas.gather(1, sorted_groups)
    return torch.zeros_like(chosen).scatter_(1, order, chosen)


def correct_count(
    hidden: torch.Tensor, covered: torch.Tensor, correction: torch.Tensor, seeds: torch.Tensor
) -> torch.Tensor:
    """Hide a few more patches, uniform over all visible ones, or show some again, uniform outside the region.

    Args:
        hidden: (B, L) bool.
        covered: (B, L) bool, never shown again.
        correction: (B,) int64, from -8 to 8.
        seeds: (B,) int64.
    """
    pool = torch.where((correction > 0)[:, None], ~hidden, hidden & ~covered)
    noise = random_bits(seeds, hidden.shape[1], _CORRECTION)
    places = torch.where(pool, noise, -1).topk(min(_LARGEST_CORRECTION, hidden.shape[1]), dim=1).indices
    flip = torch.arange(places.shape[1], device=hidden.device) < correction.abs()[:, None]
    return hidden.scatter(1, places, hidden.gather(1, places) ^ flip)


# --------------------------------------------------------------------------------------------- strategies


@MASKINGS.register("random")
class RandomMasking(Masking):
    """Uniformly random patches (MAE, arXiv 2111.06377)."""

    needs_parsing = False

    def __call__(self, parts: torch.Tensor, seeds: torch.Tensor, count: int) -> Masks:
        """See ``Masking``."""
        groups = torch.zeros_like(parts, dtype=torch.int64)
        return Masks(draw_subsets(groups, _quota(groups, count), seeds), groups.bool())


@MASKINGS.register("frp")
class FacialRegionProportional(Masking):
    """Facial-region proportional (FRP): the same share of every region is hidden (FSFM)."""

    def __call__(self, parts: torch.Tensor, seeds: torch.Tensor, count: int) -> Masks:
        """See ``Masking``."""
        return _cover_and_spread(parts, torch.full_like(seeds, -1), seeds, count)


class _CoveringMasking(Masking):
    """A strategy that covers one region.

    Args:
        region_draw: ``per_batch``: one region for all images of a micro-batch, as the reference; ``per_image``: each
            image has its own.
        skip_absent: draw only among regions that the image (one of the images, for ``per_batch``) shows.
        region: always cover this one; null = a random one.
    """

    def __init__(
        self, region_draw: RegionDraw = "per_batch", skip_absent: bool = False, region: str | None = None
    ) -> None:
        if region is not None and region not in REGION_NAMES[:COVERABLE]:
            names = REGION_NAMES[:COVERABLE]
            hint = did_you_mean(region, names)
            raise ConfigError(f"Masking region '{region}' cannot be covered.{hint} Allowed: {', '.join(names)}.")
        self.region_draw, self.skip_absent, self.region = region_draw, skip_absent, region

    def regions(self, parts: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """Region to cover in every image, (B,) int64."""
        if self.region is not None:
            return torch.full_like(seeds, REGION_NAMES.index(self.region))
        rows = seeds if self.region_draw == "per_image" else seeds[:1]
        lots = random_bits(rows, COVERABLE, _REGION)
        if self.skip_absent:
            codes = group_codes(parts)
            shown = ((codes[..., None] >> torch.arange(COVERABLE, device=parts.device)) & 1).bool().any(1)
            lots = torch.where(shown if self.region_draw == "per_image" else shown.any(0), lots, -1)
        return lots.argmax(1).expand_as(seeds)


@MASKINGS.register("crfr_r")
class CoverRegionRandomly(_CoveringMasking):
    """Cover a facial region, hide the rest of the budget anywhere (CRFR-R of FSFM)."""

    def __call__(self, parts: torch.Tensor, seeds: torch.Tensor, count: int) -> Masks:
        """See ``Masking``."""
        covered = region_patches(parts, self.regions(parts, seeds))
        inside = covered.sum(1).clamp(max=count)
        hidden = draw_subsets((~covered).long(), torch.stack([inside, count - inside], 1), seeds)
        return Masks(hidden, covered & hidden)


@MASKINGS.register("crfr_p")
class CoverRegionProportionally(_CoveringMasking):
    """Cover a facial region, hide the same share of all others (CRFR-P, FSFM's own)."""

    def __call__(self, parts: torch.Tensor, seeds: torch.Tensor, count: int) -> Masks:
        """See ``Masking``."""
        return _cover_and_spread(parts, self.regions(parts, seeds), seeds, count)


@MASKINGS.register("fasking_i")
class FaskingImage(Masking):
    """Fasking on images (MARLIN, arXiv 2211.06627): hide facial parts first, keep background, then skin.

    Args:
        variant: ``marlin``: patches become visible class by class, background, skin, then the parts in random order,
            and are thinned out at random to the budget; ``components_first``: every patch with a facial part or hair
            is hidden, then random others.
    """

    def __init__(self, variant: Literal["marlin", "components_first"] = "marlin") -> None:
        self.variant = variant

    def __call__(self, parts: torch.Tensor, seeds: torch.Tensor, count: int) -> Masks:
        """See ``Masking``."""
        visible = parts.shape[1] - count
        if self.variant == "components_first":
            bare = (parts & ((1 << CLASSES) - 4)) == 0
            groups, number = bare.long(), (~bare).sum(1).clamp(max=count)
            quotas = torch.stack([number, count - number], 1)
        else:
            groups = _visited_in_time(parts, seeds, visible).long()
            quotas = torch.stack([(groups == 0).sum(1), groups.sum(1) - visible], 1)
        hidden = draw_subsets(groups, quotas, seeds)
        return Masks(hidden, torch.zeros_like(hidden))


def _visited_in_time(parts: torch.Tensor, seeds: torch.Tensor, visible: int) -> torch.Tensor:
    """(B, L) bool: patches that Fasking has made visible when ``visible`` of them are reached."""
    order = random_bits(seeds, len(_FASKING_PARTS), _ORDER).argsort(1).argsort(1)
    turn = torch.zeros(len(seeds), CLASSES, dtype=torch.int64, device=parts.device)
    turn[:, 1] = 1
    for number, classes in enumerate(_FASKING_PARTS):
        for place, label in enumerate(classes):
            turn[:, label] = 2 + order[:, number] * 3 + place
    shows = ((parts.long()[..., None] >> torch.arange(CLASSES, device=parts.device)) & 1).bool()
    turns = 2 + 3 * len(_FASKING_PARTS)
    reached = torch.where(shows, turn[:, None], turns - 1).amin(2)
    enough = _sizes(reached, turns).cumsum(1) >= visible
    return reached <= enough.int().argmax(1, keepdim=True)


def _quota(groups: torch.Tensor, count: int) -> torch.Tensor:
    return torch.full((len(groups), 1), count, dtype=torch.int64, device=groups.device)


def _cover_and_spread(parts: torch.Tensor, regions: torch.Tensor, seeds: torch.Tensor, count: int) -> Masks:
    plan = plan_regions(parts, regions, count)
    hidden = draw_subsets(plan.groups, plan.quotas, seeds)
    hidden = correct_count(hidden, plan.covered, plan.correction, seeds)
    return Masks(hidden, plan.covered & hidden)
