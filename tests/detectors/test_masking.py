"""Masking strategies: the reference's deterministic facts exactly, its distribution statistically, and invariants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from benchmark.errors import ConfigError, RegistryError
from benchmark.registry import MASKINGS
from detectors.masking import (
    COVERABLE,
    REGION_NAMES,
    build_masking,
    hidden_count,
    patch_parts,
    plan_regions,
    random_bits,
    region_patches,
)

FILES = {16: "crfrp_224_p16_r75", 14: "crfrp_224_p14_r75"}
STRATEGIES = sorted(MASKINGS)
COVERING = ("crfr_p", "crfr_r")


@pytest.fixture(params=FILES)
def reference(request, shared):
    """Patch size and the reference's tensors for it."""
    return request.param, load_file(shared / "golden" / "fsfm_pretrain" / f"{FILES[request.param]}.safetensors")


def seeds_of(count, start=0):
    return torch.arange(start, start + count) * 0x5DEECE66D + 11


def slow_parts(parsing, patch):
    """Set of labels per patch, by the definition."""
    height, width = parsing.shape[1:]
    rows = [
        [
            sum(1 << int(label) for label in np.unique(image[y : y + patch, x : x + patch]))
            for y in range(0, height, patch)
            for x in range(0, width, patch)
        ]
        for image in parsing.numpy()
    ]
    return torch.tensor(rows)


# ------------------------------------------------------------------------------------------------ against the reference


@pytest.mark.parametrize("region", range(COVERABLE))
def test_everything_that_follows_from_the_map_is_exact(reference, region):
    patch, golden = reference
    parts = patch_parts(golden["in.parsing_maps"].to(torch.uint8), patch)
    count = hidden_count(parts.shape[1], 0.75)
    plan = plan_regions(parts, torch.full((len(parts),), region), count)
    extreme = plan.outside <= 0
    assert torch.equal(plan.covered, golden["det.region_mask_before_extreme"][region].bool())
    assert torch.equal(plan.outside, golden["det.num_to_mask_outside_region"][region].long())
    assert torch.equal(extreme, golden["det.extreme_case"][region].bool())
    normal = ~extreme
    assert torch.equal(plan.ratio, golden["det.ratio_other"][region].float())
    groups = torch.where(plan.groups == len(REGION_NAMES), -1, plan.groups)
    assert torch.equal(groups[normal], golden["det.group_of_patch"][region][normal].long())
    assert torch.equal(plan.sizes[:, :8], golden["det.group_size"][region].long())
    assert torch.equal(plan.quotas[:, :8], golden["det.group_quota"][region].long())
    assert torch.equal(plan.correction, golden["det.correction"][region].long())


@pytest.mark.parametrize("region", range(COVERABLE))
def test_distribution_is_the_references(reference, region):
    """Frequency of every patch over 600 draws against the exact probability: z-scores as of a fair draw (spec 3.5)."""
    patch, golden = reference
    draws = 600
    maps = golden["in.parsing_maps"].to(torch.uint8)
    parts = patch_parts(maps, patch)
    count = hidden_count(parts.shape[1], 0.75)
    masking = build_masking("crfr_p", region=REGION_NAMES[region])
    hidden = torch.zeros(parts.shape)
    lowest = torch.full((len(maps), 8), 999)
    highest = torch.zeros(len(maps), 8, dtype=torch.int64)
    plan = plan_regions(parts, torch.full((len(parts),), region), count)
    many = parts.repeat(50, 1)
    for start in range(0, draws * len(parts), len(many)):
        masks = masking(many, seeds_of(len(many), start), count)
        assert bool((masks.hidden.sum(1) == count).all())
        hidden += masks.hidden.view(50, *parts.shape).sum(0)
        per_group = torch.zeros(len(many), 9, dtype=torch.int64)
        per_group.scatter_add_(1, plan.groups.repeat(50, 1), masks.hidden.long())
        per_group = per_group[:, :8].view(50, len(maps), 8)
        lowest, highest = torch.minimum(lowest, per_group.amin(0)), torch.maximum(highest, per_group.amax(0))
    probability = golden["det.expected_patch_mask_probability"][region].double()
    frequency = hidden.double() / draws
    certain = (probability < 1e-9) | (probability > 1 - 1e-9)
    assert torch.equal(frequency[certain], probability[certain].round())
    p = probability[~certain]
    z = (frequency[~certain] - p) / (p * (1 - p) / draws).sqrt()
    assert 0.95 < z.std().item() < 1.05
    assert z.abs().max().item() < 5.5
    # no group ever gets fewer or more hidden patches than the reference's draws can
    correction = plan.correction[:, None]
    assert bool((lowest >= plan.quotas[:, :8] + correction.clamp(max=0)).all())
    assert bool((highest <= plan.quotas[:, :8] + correction.clamp(min=0)).all())
    frequencies = golden["mc.patch_mask_frequency"][region].double()
    drawn = int(golden["mc.draws"])
    spread = (probability * (1 - probability) * (1 / draws + 1 / drawn)).clamp(min=1e-12).sqrt()
    assert ((frequency - frequencies) / spread)[~certain].abs().max() < 5.5


def test_samples_of_the_reference_obey_our_invariants(reference):
    """The same checks on the reference's own draws: the test would notice a rule that it does not follow."""
    patch, golden = reference
    parts = patch_parts(golden["in.parsing_maps"].to(torch.uint8), patch)
    count = hidden_count(parts.shape[1], 0.75)
    for region in range(COVERABLE):
        hidden, covered = (golden[f"sample.{kind}_mask"][region].bool() for kind in ("img", "region"))
        check(hidden, covered, count)
        whole = region_patches(parts, torch.full((len(parts),), region))
        small = whole.sum(1) < count
        assert torch.equal(covered[small], whole[small])


def check(hidden, covered, count):
    assert hidden.dtype == covered.dtype == torch.bool
    assert bool((hidden.sum(1) == count).all())
    assert not bool((covered & ~hidden).any())


# ------------------------------------------------------------------------------------------------ invariants


def extreme_map(kind, side, rng):
    """Maps that real faces do not give."""
    if kind == "noise":
        return rng.integers(0, 11, (side, side))
    if kind == "blocks":
        return np.kron(rng.integers(0, 11, (side // 8, side // 8)), np.ones((8, 8), int))
    if kind == "speck":
        ids = np.zeros((side, side), int)
        ids[rng.integers(side), rng.integers(side)] = rng.integers(1, 11)
        return ids
    if kind == "stripes":
        return np.broadcast_to(np.arange(side) // 4 % 11, (side, side))
    return np.full((side, side), int(kind))


KINDS = st.sampled_from(["noise", "blocks", "speck", "stripes", *map(str, range(11))])


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(KINDS, min_size=1, max_size=4),
    name=st.sampled_from(STRATEGIES),
    ratio=st.floats(0.02, 0.98),
    patch=st.sampled_from([8, 16, 7]),
    seed=st.integers(0, 2**62),
    draw=st.sampled_from(["per_batch", "per_image"]),
    skip_absent=st.booleans(),
)
def test_any_map_any_ratio(kinds, name, ratio, patch, seed, draw, skip_absent):
    side = 56 if patch == 7 else 64
    rng = np.random.default_rng(seed)
    maps = torch.from_numpy(np.stack([extreme_map(kind, side, rng) for kind in kinds]).astype(np.uint8))
    parts = patch_parts(maps, patch)
    assert torch.equal(parts.long(), slow_parts(maps, patch))
    count = hidden_count(parts.shape[1], ratio)
    if not 0 < count < parts.shape[1]:
        return
    options = {"region_draw": draw, "skip_absent": skip_absent} if name in COVERING else {}
    masking, seeds = build_masking(name, **options), seeds_of(len(kinds), seed % 1000)
    masks = masking(parts, seeds, count)
    check(masks.hidden, masks.covered, count)
    again = masking(parts, seeds, count)
    assert torch.equal(masks.hidden, again.hidden)
    if name not in COVERING:
        assert not masks.covered.any()
        return
    regions = masking.regions(parts, seeds)
    whole = region_patches(parts, regions)
    for number in range(len(kinds)):
        budget = min(int(whole[number].sum()), count)
        assert int(masks.covered[number].sum()) == budget
        assert bool((masks.covered[number] <= whole[number]).all())
        if budget == count:
            assert torch.equal(masks.covered[number], masks.hidden[number])
    if draw == "per_batch":
        assert len(set(regions.tolist())) == 1


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_mask_does_not_depend_on_its_neighbours_in_the_batch(name):
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.integers(0, 11, (6, 64, 64), dtype=np.uint8))
    parts, seeds = patch_parts(maps, 8), seeds_of(6)
    options = {"region_draw": "per_image"} if name in COVERING else {}
    masking = build_masking(name, **options)
    whole = masking(parts, seeds, 48)
    for number in range(6):
        alone = masking(parts[number : number + 1], seeds[number : number + 1], 48)
        assert torch.equal(alone.hidden[0], whole.hidden[number])


def test_regions_are_drawn_evenly_and_absent_ones_can_be_skipped():
    parts = torch.full((6000, 16), 1 << 1 | 1 << 6, dtype=torch.int16)  # skin and nose everywhere
    masking = build_masking("crfr_p", region_draw="per_image")
    counts = torch.bincount(masking.regions(parts, seeds_of(6000)), minlength=COVERABLE)
    assert bool(((counts - 1000).abs() < 5 * (1000 * 5 / 6) ** 0.5).all())
    per_batch = build_masking("crfr_p")
    batches = torch.cat([per_batch.regions(parts[:4], seeds_of(4, 9 * n))[:1] for n in range(1200)])
    counts = torch.bincount(batches, minlength=COVERABLE)
    assert bool(((counts - 200).abs() < 5 * (200 * 5 / 6) ** 0.5).all())
    present = build_masking("crfr_p", region_draw="per_image", skip_absent=True).regions(parts, seeds_of(6000))
    assert set(present.tolist()) == {REGION_NAMES.index("nose")}
    assert set(build_masking("crfr_r", skip_absent=True).regions(parts, seeds_of(50)).tolist()) == {2}


def test_an_absent_region_covers_nothing_and_masks_in_proportion():
    maps = torch.zeros(2, 64, 64, dtype=torch.uint8)
    maps[:, 32:] = 1
    parts = patch_parts(maps, 8)
    masks = build_masking("crfr_p", region="nose")(parts, seeds_of(2), 48)
    check(masks.hidden, masks.covered, 48)
    assert not masks.covered.any()
    assert masks.hidden[:, :32].sum(1).tolist() == [24, 24]


def test_fasking_shows_background_and_skin_first():
    rng = np.random.default_rng(1)
    ids = np.zeros((64, 64), np.uint8)
    ids[16:56, 8:56] = 1
    for label, place in zip((2, 3, 4, 5, 6, 7, 8, 9, 10), rng.permutation(36)[:9], strict=True):
        y, x = divmod(int(place), 6)
        ids[8 + 8 * y : 16 + 8 * y, 8 + 8 * x : 16 + 8 * x] = label
    parts = patch_parts(torch.from_numpy(ids)[None].repeat(40, 1, 1), 8)
    only_components = (parts & 0b11) == 0
    for variant in ("marlin", "components_first"):
        masks = build_masking("fasking_i", variant=variant)(parts, seeds_of(40), 48)
        check(masks.hidden, masks.covered, 48)
        assert bool(masks.hidden[only_components].all()), variant
        assert bool((masks.hidden.float().std(0) > 0).any()), "not random"
    scarce = torch.where(torch.arange(64)[None] < 60, 1 << 6, 1).to(torch.int16).repeat(40, 1)
    masks = build_masking("fasking_i")(scarce, seeds_of(40), 48)  # 4 background patches, 16 may be seen
    check(masks.hidden, masks.covered, 48)


def test_marginals_of_the_simple_strategies():
    rng = np.random.default_rng(2)
    maps = torch.from_numpy(np.kron(rng.integers(0, 11, (8, 8)), np.ones((8, 8))).astype(np.uint8))[None]
    parts, draws = patch_parts(maps, 8).repeat(2000, 1), 2000

    def frequency(name, **options):
        return build_masking(name, **options)(parts, seeds_of(draws), 48).hidden.float().mean(0)

    limit = 5.5 * (0.75 * 0.25 / draws) ** 0.5
    assert (frequency("random") - 0.75).abs().max() < limit
    inside = region_patches(parts[:1], torch.tensor([0]))[0]
    covered = frequency("crfr_r", region="eyebrows")
    assert bool((covered[inside] == 1).all())
    outside = (48 - inside.sum()) / (64 - inside.sum())
    assert (covered[~inside] - outside).abs().max() < limit * 1.1
    plan = plan_regions(parts[:1], torch.tensor([-1]), 48)
    quota = plan.quotas[0, plan.groups[0]] / plan.sizes[0, plan.groups[0]]
    assert (frequency("frp") - quota).abs().max() < limit + 4 / 64


def test_random_bits_are_uniform_and_streams_differ():
    bits = random_bits(seeds_of(4000), 64, 0)
    assert bits.min() >= 0
    assert bits.max() < 2**27
    values = bits.double() / 2**27
    assert abs(values.mean().item() - 0.5) < 5 / (12 * values.numel()) ** 0.5
    assert abs(values.var().item() - 1 / 12) < 1e-3
    correlation = torch.corrcoef(values.T).fill_diagonal_(0).abs().max().item()
    assert correlation < 6 / 4000**0.5
    other = random_bits(seeds_of(4000), 64, 1).double() / 2**27
    assert abs(torch.corrcoef(torch.stack([values.flatten(), other.flatten()]))[0, 1].item()) < 0.012
    near = random_bits(torch.arange(4000), 64, 0).double().flatten()  # consecutive seeds
    assert abs(torch.corrcoef(torch.stack([near[:-64], near[64:]]))[0, 1].item()) < 0.012


def test_hidden_count_is_not_moved_by_rounding():
    assert hidden_count(196, 0.75) == 147
    assert hidden_count(100, 0.9) == 90  # 100 * (1 - 0.9) is 9.999999999999998
    assert hidden_count(9, 0.7) == 7
    assert hidden_count(49, 0.75) == 37


def test_messages():
    with pytest.raises(
        ConfigError, match=r"Masking region 'nos' cannot be covered\. Did you mean nose\? Allowed: eyebr"
    ):
        build_masking("crfr_p", region="nos")
    with pytest.raises(ConfigError, match="cannot be covered"):
        build_masking("crfr_p", region="skin")
    with pytest.raises(RegistryError, match=r"No masking named 'crfrp'\. Closest: crfr_p"):
        build_masking("crfrp")
    with pytest.raises(ConfigError, match=r"masking\.region_drw is not a known key\. Did you mean"):
        build_masking("crfr_p", region_drw="per_image")
    with pytest.raises(ValueError, match="do not divide into patches of 16"):
        patch_parts(torch.zeros(1, 60, 64, dtype=torch.uint8), 16)
