"""Learning rates against the reference's, at every listed fractional epoch."""

from __future__ import annotations

import pytest
import torch

from benchmark.schema import OptimizerConfig, ScheduleConfig
from training.optimizer import build_optimizer, peak_learning_rate, set_learning_rate
from training.schedule import learning_rate


def test_golden_schedules(golden):
    recipes = golden("lr_schedule.json")
    assert len(recipes) == 2
    for recipe in recipes:
        schedule = ScheduleConfig(
            epochs=recipe["epochs"], warmup_epochs=recipe["warmup_epochs"], min_lr=recipe["min_lr"]
        )
        peak = peak_learning_rate(OptimizerConfig(base_lr=recipe["blr"]), recipe["effective_batch"])
        assert peak == pytest.approx(recipe["lr"], abs=1e-15)
        for point in recipe["points"]:
            rate = learning_rate(point["epoch"], peak, schedule)
            assert rate == pytest.approx(point["lr"], rel=0, abs=1e-12), point
            assert 0.65 * rate == pytest.approx(point["lr_scaled_0p65"], rel=0, abs=1e-12), point


def test_mean_rate_of_the_first_epoch_is_the_published_log_value():
    """6.2478e-6 over the steps of epoch 0 of the DfD recipe: 184,185 images in batches of 64."""
    schedule = ScheduleConfig(epochs=10, warmup_epochs=5, min_lr=1e-6)
    steps = 184185 // 64
    rates = [learning_rate(step / steps, 6.25e-5, schedule) for step in range(steps)]
    assert sum(rates) / steps == pytest.approx(6.2478e-6, abs=5e-11)


def test_a_given_rate_wins_over_the_base_rate():
    assert peak_learning_rate(OptimizerConfig(lr=0.5, base_lr=0.1), 512) == 0.5
    assert peak_learning_rate(OptimizerConfig(base_lr=0.1), 512) == 0.2


@pytest.mark.parametrize(("name", "middle", "end"), [("cosine", 0.55, 0.1), ("linear", 0.55, 0.1), ("constant", 1, 1)])
def test_shapes_in_steps(name, middle, end):
    schedule = ScheduleConfig(name=name, steps=120, warmup_steps=20, min_lr=0.1)
    assert [learning_rate(step, 1.0, schedule) for step in (0, 10, 20)] == [0.0, 0.5, 1.0]
    assert learning_rate(70, 1.0, schedule) == pytest.approx(middle)
    assert learning_rate(120, 1.0, schedule) == pytest.approx(end)


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_optimisers_take_the_groups_and_their_rates(name, kind):
    first, second = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    groups = [
        {"params": [first], "names": ["a"], "lr_scale": 0.5, "weight_decay": 0.0},
        {"params": [second], "names": ["b"], "lr_scale": 1.0, "weight_decay": 0.3},
    ]
    optimizer = build_optimizer(groups, OptimizerConfig(name=name, lr=1, betas=(0.8, 0.9), eps=1e-3, momentum=0.7), 1.0)
    assert type(optimizer) is kind
    set_learning_rate(optimizer, 0.2)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.1, 0.0), (0.2, 0.3)]
    if name == "sgd":
        assert optimizer.param_groups[0]["momentum"] == 0.7
    else:
        assert (optimizer.param_groups[0]["betas"], optimizer.param_groups[0]["eps"]) == ((0.8, 0.9), 1e-3)


def test_the_rate_is_held_before_it_falls():
    schedule = ScheduleConfig(name="linear", epochs=100, warmup_epochs=5, hold_epochs=70)
    rates = [learning_rate(epoch, 1.0, schedule) for epoch in (2.5, 5, 40, 75, 87.5, 100)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 0.5, 0])
    with pytest.raises(ValueError, match="leave nothing"):
        ScheduleConfig(name="linear", epochs=10, hold_epochs=10)
