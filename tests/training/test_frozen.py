"""FS-Adapter and linear probing train what the papers train: counts in the plan, frozen weights untouched by a run."""

from __future__ import annotations

import re

import pytest
import torch

from training import train

SWAPS = {
    "fs_adapter": ("detector={name: fs_adapter}", "optimizer={lr: 0.01, layer_decay: 0.0, weight_decay: 0}"),
    "linear_probe": ("detector={name: linear_probe}", "optimizer={name: lars, base_lr: 0.5, weight_decay: 0}"),
    "fas_adapter": ("detector={name: fas_adapter}", "optimizer={name: adam, lr: 0.01, weight_decay: 1e-6}"),
}
ADAPTER = 2 * 48 * 12 + (12 * 12 + 12)  # bottleneck and projector at width 48
TRAINED = {
    "fs_adapter": ADAPTER + 2 * 96 + 2,
    "linear_probe": 2 * 48 + 2,
    "fas_adapter": ADAPTER + (96 * 512 + 512) + (512 * 2 + 2),
}


@pytest.mark.parametrize("name", SWAPS)
def test_the_plan_prints_how_much_is_trained(toy_config, capsys, name):
    assert train.run(*train.parse(["--detector", str(toy_config), "--dry-run", *SWAPS[name]])) == 0
    total = re.search(r"total +[\d,]+ +([\d,]+)", capsys.readouterr().out)
    assert total is not None
    assert total[1] == f"{TRAINED[name]:,}"


@pytest.mark.parametrize("name", SWAPS)
def test_a_run_leaves_the_backbone_bit_for_bit(session, helpers, tmp_path, name):
    run = session(*SWAPS[name], "backbone.drop_path_rate=0.1", "schedule.epochs=1", "data.test=[]")
    before = {key: value.clone() for key, value in run.detector.state_dict().items()}
    assert run.train_and_test(resume=False) == 0
    after = helpers.final_weights(tmp_path / "runs" / "toy")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert not any(key.startswith("backbone.") for key in changed)
    trained = {name for name, p in run.detector.named_parameters() if p.requires_grad}
    assert trained <= changed
    assert all("running" in key or "num_batches" in key for key in changed - trained), "batch statistics of the probe"
