"""Sample order: pure in (seed, epoch), balanced when asked, the same for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.sampling import SampleKey, ShardSampler, ShuffledPlan, StepSampler, chunk
from benchmark.errors import TrainingError


def test_a_plan_depends_on_seed_and_epoch_only():
    plan = ShuffledPlan(50, 8, seed=3)
    first = plan.batches(4)
    np.random.seed(0)
    for epoch in (0, 9):
        plan.batches(epoch)
    np.testing.assert_array_equal(ShuffledPlan(50, 8, seed=3).batches(4), first)
    assert not np.array_equal(plan.batches(5), first)
    assert not np.array_equal(ShuffledPlan(50, 8, seed=4).batches(4), first)


def test_an_epoch_uses_every_sample_at_most_once_and_drops_the_rest():
    plan = ShuffledPlan(50, 8, seed=0)
    batches = plan.batches(0)
    assert batches.shape == (6, 8)
    assert plan.steps_per_epoch == 6
    assert len(set(batches.ravel().tolist())) == 48
    left_out = {tuple(sorted(set(range(50)) - set(plan.batches(epoch).ravel().tolist()))) for epoch in range(5)}
    assert len(left_out) > 1, "the same samples are left out in every epoch"


@pytest.mark.parametrize("groups", [[0] * 30 + [1] * 10, ["a"] * 5 + ["b"] * 12 + ["c"] * 23])
def test_balanced_plans_fill_every_batch_equally(groups):
    kinds = sorted(set(groups))
    plan = ShuffledPlan(len(groups), 6, seed=1, groups=np.array(groups))
    for epoch in range(3):
        batches = plan.batches(epoch)
        assert batches.shape == (len(groups) // 6, 6)
        for batch in batches:
            counts = [sum(groups[i] == kind for i in batch) for kind in kinds]
            assert counts == [6 // len(kinds)] * len(kinds)
    large = [i for i, group in enumerate(groups) if groups.count(group) == max(groups.count(k) for k in kinds)]
    drawn = [i for i in plan.batches(0).ravel() if i in large]
    assert len(drawn) == len(set(drawn)), "a sample of the large group repeats although others were not drawn yet"


def test_a_small_group_is_used_evenly():
    plan = ShuffledPlan(40, 4, seed=1, groups=[0] * 36 + [1] * 4)
    drawn = [i for i in plan.batches(0).ravel().tolist() if i >= 36]
    counts = [drawn.count(i) for i in range(36, 40)]
    assert sum(counts) == 20
    assert max(counts) - min(counts) <= 1


def test_fewer_samples_than_a_batch():
    with pytest.raises(TrainingError, match=r"3 samples, fewer than one batch \(trainer\.batch_size=4\)\. Lower"):
        ShuffledPlan(3, 4, seed=0)


@given(parts=st.integers(1, 8), size=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_chunks_partition_the_batch(parts, size):
    batch = np.random.default_rng(parts * size).permutation(parts * size)
    shares = [chunk(batch, part, parts) for part in range(parts)]
    assert [len(share) for share in shares] == [size] * parts
    assert sorted(np.concatenate(shares).tolist()) == sorted(batch.tolist())


@given(parts=st.integers(1, 8), half=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_pairs_with_the_reverse_are_those_of_the_whole_batch(parts, half):
    """Mixup pairs sample i with sample B - 1 - i; a share's own pairs must be among the whole batch's."""
    batch = np.random.default_rng(half).permutation(2 * half * parts)
    whole = {frozenset(pair) for pair in zip(batch.tolist(), batch[::-1].tolist(), strict=True)}
    for part in range(parts):
        share = chunk(batch, part, parts).tolist()
        assert {frozenset(pair) for pair in zip(share, share[::-1], strict=True)} <= whole


def run_keys(plan, start, total, **options):
    return list(StepSampler(plan, start, total, **options))


def test_a_resumed_sampler_continues_with_the_tail_of_the_full_run():
    plan = ShuffledPlan(20, 4, seed=2)
    full = run_keys(plan, 0, 13)
    assert len(full) == 13
    assert [batch[0].epoch for batch in full] == [0] * 5 + [1] * 5 + [2] * 3
    for start in (0, 3, 5, 12, 13):
        sampler = StepSampler(plan, start, 13)
        assert len(sampler) == 13 - start
        assert list(sampler) == full[start:]


@pytest.mark.parametrize(("world", "accumulate"), [(1, 2), (2, 1), (2, 2), (4, 1)])
def test_processes_and_micro_batches_share_the_same_global_batches(world, accumulate):
    plan = ShuffledPlan(40, 16, seed=2)
    full = run_keys(plan, 0, 4)
    shares = [run_keys(plan, 0, 4, rank=rank, world=world, accumulate=accumulate) for rank in range(world)]
    for step, batch in enumerate(full):
        parts = [share[step * accumulate + micro] for share in shares for micro in range(accumulate)]
        assert sorted(key for part in parts for key in part) == sorted(batch)
        assert {len(part) for part in parts} == {16 // (world * accumulate)}


@given(count=st.integers(0, 40), world=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_shards_cover_every_sample_exactly_once(count, world):
    shards = [ShardSampler(count, rank, world) for rank in range(world)]
    keys = [key for shard in shards for key in shard]
    assert sorted(keys) == [SampleKey(0, index) for index in range(count)]
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]
