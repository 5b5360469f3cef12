"""Runs in this process: they learn, they select on validation data, they stop early and clearly."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from backbones.weights import file_hash
from benchmark.data.store import Store, StoreWriter
from benchmark.errors import ConfigError, DataError, TrainingError
from benchmark.evaluation import metrics_of
from benchmark.predictions import Predictions
from benchmark.results import read_result
from benchmark.schema import RunConfig
from training.distributed import Processes
from training.progress import better
from training.resuming import different_keys
from training.seeding import seed_step

# ------------------------------------------------------------------ the main road


@pytest.fixture(scope="module")
def trained(toy_world, tmp_path_factory):
    """A run that has learnt: (run folder, printed table)."""
    import contextlib
    import io

    from benchmark.schema import load_run_config
    from training.session import Session

    folder = tmp_path_factory.mktemp("trained")
    path = folder / "toy.yaml"
    toy = yaml.safe_load(
        "{detector: {name: fsfm, mixup: 0, cutmix: 0, label_smoothing: 0.0, head_init_std: 0.02}, backbone: {name: "
        "fsfm_vit_tiny_patch16, patch_size: 8, embed_dim: 48, depth: 3, num_heads: 4}, data: {image_size: 32, train: "
        "[Toy], test: [Toy], normalize: half, workers: 0}, optimizer: {lr: 0.002, weight_decay: 0}, schedule: {epochs: "
        "6}, trainer: {batch_size: 16, device: cpu}, augmentation: {name: flip}}"
    )
    toy["paths"] = {"data": str(toy_world.data), "indexes": str(toy_world.indexes), "runs": str(folder / "runs")}
    path.write_text(yaml.safe_dump(toy))
    config, settings = load_run_config(path)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = Session(config, settings, Processes(0, 1, torch.device("cpu"))).train_and_test(resume=False)
    assert status == 0
    return folder / "runs" / "toy", out.getvalue()


def test_it_learns(trained, helpers):
    run, table = trained
    result = read_result(run / "results" / "Toy.json")
    assert result["metrics"]["video"]["auc"] > 0.9
    losses = helpers.losses_of(run)
    assert losses[0] == pytest.approx(0.69, abs=0.15)
    assert losses[-1] < 0.35
    assert "Toy" in table
    assert f"{100 * result['metrics']['video']['auc']:.2f}" in table


def test_predictions_hold_every_test_frame_once(trained, toy_world):
    run, _ = trained
    predictions = Predictions.read(run / "predictions" / "Toy.csv")
    assert len(predictions) == 35
    index = json.loads((toy_world.indexes / "Toy.json").read_text())["Toy"]
    expected = {
        (f"{cls}/{video}", frame.rsplit("/", 1)[1].removesuffix(".png"), int(cls == "Toy_fake"))
        for cls, splits in index.items()
        for video, record in splits["test"].items()
        for frame in record["frames"]
    }
    assert set(zip(predictions.video, predictions.frame, predictions.label.tolist(), strict=True)) == expected
    assert set(predictions.dataset) == {"Toy"}


def test_the_result_can_be_recomputed_and_traced(trained):
    run, _ = trained
    result = read_result(run / "results" / "Toy.json")
    recomputed = metrics_of(Predictions.read(run / "predictions" / "Toy.csv"))
    for level, values in recomputed.items():
        for name, value in values.items():
            assert result["metrics"][level][name] == pytest.approx(value, abs=1e-6), (level, name)
    assert result["counts"]["samples"] == 35
    assert result["counts"]["videos"] == 9
    assert result["counts"]["missing"] == 0
    assert result["predictions"]["sha256"] == file_hash(run / "predictions" / "Toy.csv")
    best = json.loads((run / "checkpoints" / "best.json").read_text())
    weights = run / "checkpoints" / best["folder"] / "model.safetensors"
    assert (result["weights"]["file"], result["weights"]["sha256"]) == (str(weights), file_hash(weights))
    assert result["seed"] == 0
    assert result["input"] == {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
    assert result["parameters"] > 10_000
    assert RunConfig.model_validate(result["config"]).schedule.epochs == 6
    assert {"code", "versions", "hardware", "time", "samples_per_second"} <= set(result)


def test_the_run_folder_reads_back_to_the_same_run(trained):
    run, _ = trained
    config = RunConfig.model_validate(yaml.safe_load((run / "config.yaml").read_text()))
    assert config == RunConfig.model_validate(read_result(run / "results" / "Toy.json")["config"])
    kinds = [json.loads(line)["kind"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert kinds.count("val") == 6
    assert list((run / "tensorboard").iterdir())


def test_the_best_checkpoint_is_the_best_of_the_validations(trained):
    run, _ = trained
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    validations = [(r["step"], r["video_auc"]) for r in records if r["kind"] == "val"]
    best = json.loads((run / "checkpoints" / "best.json").read_text())
    value = max(v for _, v in validations)
    assert (best["step"], best["value"]) == (next(step for step, v in validations if v == value), value)


# ------------------------------------------------------------------ test data never matter for training


def test_training_does_not_depend_on_the_test_set(session, helpers, tmp_path, toy_world):
    """With the test set, without it, and with its pixels gone before the first step: the same weights and choice."""
    session("name=with").train_and_test(resume=False)
    session("name=without", "data.test=[]").train_and_test(resume=False)
    shutil.copytree(toy_world.data, tmp_path / "data")
    gone = session("name=gone", f"paths.data={tmp_path / 'data'}")
    store = Store(toy_world.data / "Toy_lmdb")
    values = {key: store.get(key) for key in store.keys() if "/test" not in key}  # noqa: SIM118
    with StoreWriter(tmp_path / "data" / "Toy_lmdb") as writer:
        for key, value in values.items():
            writer.put(key, value)
    with pytest.raises(DataError, match="Toy: 35 of 35 samples cannot be read"):
        gone.train_and_test(resume=False)
    runs = tmp_path / "runs"
    for other in ("without", "gone"):
        helpers.assert_same_weights(runs / "with", runs / other)
        helpers.assert_same_weights(runs / "with", runs / other, "best")
        assert (runs / "with" / "checkpoints" / "best.json").read_text() == (
            runs / other / "checkpoints" / "best.json"
        ).read_text()
    assert not (runs / "gone" / "results").exists()


def test_seeds_decide_the_weights(session, helpers, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        session(f"name={name}", f"trainer.seed={seed}", "schedule.epochs=1", "data.test=[]").train_and_test(False)
    helpers.assert_same_weights(tmp_path / "runs" / "a", tmp_path / "runs" / "b")
    with pytest.raises(AssertionError):
        helpers.assert_same_weights(tmp_path / "runs" / "a", tmp_path / "runs" / "c")


def test_selection_by_training_loss_needs_no_validation_data(session, make_world, tmp_path):
    world = make_world(tmp_path / "w", {"train": (12, 12), "test": (2, 2)})
    made = session(*world.overrides(), "evaluation.select.metric=train_loss", "schedule.epochs=3")
    assert made.train_and_test(resume=False) == 0
    records = [json.loads(line) for line in (made.run / "log.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    means = [sum(losses[6 * epoch : 6 * epoch + 6]) / 6 for epoch in range(3)]
    best = json.loads((made.run / "checkpoints" / "best.json").read_text())
    assert best["value"] == pytest.approx(min(means[1:]), abs=1e-6)
    assert best["step"] == 6 * (means.index(min(means[1:])) + 1)


def test_selection_by_last_needs_no_validation_data(session, make_world, tmp_path):
    world = make_world(tmp_path / "w", {"train": (4, 4), "test": (2, 2)})
    run = session(*world.overrides(), "evaluation.select.metric=last", "schedule.epochs=1")
    assert run.val is None
    assert run.train_and_test(resume=False) == 0
    assert not (run.run / "checkpoints" / "best.json").exists()
    assert (run.run / "results" / "Toy.json").is_file()


def test_published_selection_on_test_data_is_by_name_only_and_said(session, log_lines):
    run = session("evaluation.select.rule=published", "schedule.epochs=1")
    assert any("chosen on the TEST set" in line for line in log_lines)
    assert len(run.val) == 35
    assert len(session().val) == 32


@pytest.mark.parametrize(
    ("metric", "one", "two"),
    [("loss", 0.5, 0.4), ("eer", 0.2, 0.1), ("auc", 0.5, 0.6), ("acc", 0.5, 0.6), ("ap", 0, 1)],
)
def test_which_way_is_better(metric, one, two):
    select = RunConfig.model_validate(
        {"detector": {"name": "x"}, "evaluation": {"select": {"metric": metric}}}
    ).evaluation.select
    assert better(two, one, select)
    assert not better(one, two, select)
    assert not better(one, one, select)


# ------------------------------------------------------------------ accumulation, precision, clipping


def test_accumulation_changes_nothing(session, helpers, tmp_path):
    """With SGD: Adam's steps do not depend on the scale of the gradients, so they would hide a wrong mean."""
    sgd = ("optimizer.name=sgd", "optimizer.lr=0.05", "data.test=[]", "optimizer.weight_decay=0")
    for accumulate in (1, 2, 4):
        session(f"name=a{accumulate}", f"trainer.accumulate={accumulate}", *sgd).train_and_test(resume=False)
    first = helpers.final_weights(tmp_path / "runs" / "a1")
    for accumulate in (2, 4):
        other = helpers.final_weights(tmp_path / "runs" / f"a{accumulate}")
        for key, value in first.items():
            torch.testing.assert_close(other[key], value, atol=1e-5, rtol=1e-4, msg=key)
        losses = helpers.losses_of(tmp_path / "runs" / f"a{accumulate}")
        assert len(losses) == 12
        np.testing.assert_allclose(losses, helpers.losses_of(tmp_path / "runs" / "a1"), rtol=1e-4)


@pytest.mark.parametrize("mixing", [(), ("detector.mixup=0.8", "detector.cutmix=1.0", "detector.label_smoothing=0.1")])
def test_micro_batches_mix_like_the_whole_batch(session, helpers, tmp_path, mixing):
    """Pairs are kept by the sampler, lambda and box by the seed: only the order of sums differs."""
    sgd = ("optimizer.name=sgd", "optimizer.lr=0.05", "data.test=[]", "optimizer.weight_decay=0", "schedule.epochs=1")
    for accumulate in (1, 4):
        session(f"name=a{accumulate}", f"trainer.accumulate={accumulate}", *sgd, *mixing).train_and_test(resume=False)
    first, other = (helpers.final_weights(tmp_path / "runs" / name) for name in ("a1", "a4"))
    for key, value in first.items():
        torch.testing.assert_close(other[key], value, atol=1e-5, rtol=1e-4, msg=key)


def test_unreadable_samples_of_all_processes_are_counted(session, tmp_path):
    class Second(Processes):
        def gather(self, value):
            return [value, 5]

    trainer = session()._trainer()
    trainer.group = Second(0, 1, torch.device("cpu"))
    trainer._unreadable = 2
    trainer._save()
    assert trainer.store.load_state()["progress"]["unreadable"] == 7
    trainer.progress.step = 1
    trainer._save()
    assert trainer.progress.unreadable == 12, "what was counted once is not counted again"


def test_frames_per_split(session):
    run = session("data.frames={train: 3, train_real: 4, val: 2, test: 1}")
    assert (len(run.train), len(run.val), len(run.tests["Toy"])) == (12 * 3 + 12 * 4, 8 * 2, 9 * 1)


def test_a_batch_that_does_not_divide_is_refused(session):
    with pytest.raises(ConfigError, match=r"batch_size 16 does not divide over 1 processes x 3 micro-batches.*of 3"):
        session("trainer.accumulate=3").train_and_test(resume=False)


def test_mixup_needs_an_even_batch(session):
    with pytest.raises(TrainingError, match=r"this share of it has 15"):
        session("trainer.batch_size=15", "detector.mixup=0.8").train_and_test(resume=False)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_runs_on_the_cpu(session, helpers, tmp_path, precision):
    run = session(f"trainer.precision={precision}", "schedule.epochs=2")
    assert run.train_and_test(resume=False) == 0
    losses = helpers.losses_of(tmp_path / "runs" / "toy")
    assert all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    assert {value.dtype for value in helpers.final_weights(tmp_path / "runs" / "toy").values()} == {torch.float32}


def test_clipping_bounds_the_step(session, helpers, tmp_path):
    """With SGD the length of the first step is the learning rate times the clipped gradient norm."""
    options = ("optimizer.name=sgd", "optimizer.lr=1", "optimizer.momentum=0", "schedule.name=constant", "data.test=[]")
    run = session(*options, "schedule={steps: 1}", "trainer.clip_grad=0.01", "optimizer.weight_decay=0")
    before = {key: value.clone() for key, value in run.detector.state_dict().items()}
    run.train_and_test(resume=False)
    after = helpers.final_weights(tmp_path / "runs" / "toy")
    length = sum(((after[key] - before[key]) ** 2).sum() for key in before).sqrt().item()
    assert length == pytest.approx(0.01, rel=1e-3)


def test_step_seeding():
    import random

    def draw(*arguments):
        seed_step(*arguments)
        return random.random(), float(np.random.rand()), torch.rand(1).item()

    assert draw(3, 5, 0) == draw(3, 5, 0)
    assert draw(3, 5, 0) != draw(3, 6, 0)
    zero, one = draw(3, 5, 0), draw(3, 5, 1)
    assert zero[:2] == one[:2], "mixup's lambda must agree between processes"
    assert zero[2] != one[2], "dropout must not repeat on every process"


# ------------------------------------------------------------------ early, clear failure


def test_one_class_training_set(session, make_world, tmp_path):
    world = make_world(tmp_path / "w", {"train": (6, 0), "val": (2, 2), "test": (2, 2)})
    with pytest.raises(TrainingError, match="The training set holds only real samples; a detector needs both classes"):
        session(*world.overrides()).train_and_test(resume=False)


def test_empty_splits(session, make_world, tmp_path):
    world = make_world(tmp_path / "w", {"train": (4, 4), "test": (2, 2)})
    with pytest.raises(DataError, match=r"Toy: the val split is empty \(videos per split: train 8, val 0, test 4\)"):
        session(*world.overrides())
    with pytest.raises(ConfigError, match=r"No train data: give --train DATASET \.\.\. or data\.train"):
        session("data.train=[]")


def test_fewer_samples_than_a_batch(session):
    with pytest.raises(TrainingError, match=r"96 samples, fewer than one batch \(trainer\.batch_size=100\)"):
        session("trainer.batch_size=100").train_and_test(resume=False)


def test_single_class_test_set_gives_undefined_not_a_crash(session, make_world, tmp_path, capsys, log_lines):
    world = make_world(tmp_path / "w", {"train": (4, 4), "val": (2, 2), "test": (0, 2)})
    assert session(*world.overrides(), "schedule.epochs=1").train_and_test(resume=False) == 0
    metrics = read_result(tmp_path / "runs" / "toy" / "results" / "Toy.json")["metrics"]
    for level in ("frame", "video"):
        assert metrics[level]["auc"] is metrics[level]["eer"] is metrics[level]["ap"] is None
        assert 0 <= metrics[level]["acc"] <= 1
    assert "undefined" in capsys.readouterr().out
    assert any("only one class at video level; AUC, EER and AP are undefined" in line for line in log_lines)


def test_one_class_validation_set_cannot_select_by_auc(session, make_world, tmp_path):
    world = make_world(tmp_path / "w", {"train": (4, 4), "val": (0, 2), "test": (2, 2)})
    with pytest.raises(TrainingError, match=r"video_auc is undefined on the validation set .*select\.metric=loss"):
        session(*world.overrides(), "schedule.epochs=1").train_and_test(resume=False)


def test_overlap_of_training_and_test_is_refused_unless_permitted(session, make_world, tmp_path):
    world = make_world(tmp_path / "w", {"train": (4, 4), "val": (2, 2), "test": (2, 2)})
    index = world.indexes / "Toy.json"
    content = json.loads(index.read_text())
    for splits in content["Toy"].values():
        splits["test"] = splits["train"]
    index.write_text(json.dumps(content))
    with pytest.raises(DataError, match="8 videos are in both the training set and the test set Toy"):
        session(*world.overrides())
    assert len(session(*world.overrides(), "data.allow_overlap=true").tests["Toy"]) == 32


@pytest.mark.parametrize("accumulate", [1, 2])
def test_non_finite_loss_stops_and_saves_the_batch(session, hooked, monkeypatch, tmp_path, helpers, accumulate):
    monkeypatch.setenv("HOOKED", "nan:8")
    run = session("detector.name=hooked", f"trainer.accumulate={accumulate}", "trainer.save_every_steps=1")
    with pytest.raises(TrainingError) as error:
        run.train_and_test(resume=False)
    path = tmp_path / "runs" / "toy" / "non_finite_step_8_rank_0.pt"
    assert str(error.value).startswith(
        f"The loss of step 8 is not finite. The batch is saved in {path} (first samples: "
    )
    saved = torch.load(path, weights_only=True)
    assert saved["step"] == 8
    assert len(saved["batches"]) == accumulate
    assert sum(len(batch["label"]) for batch in saved["batches"]) == 16
    assert saved["batches"][0]["image"].shape == (16 // accumulate, 3, 32, 32)
    assert saved["batches"][0]["video"][0] in str(error.value)
    assert json.loads((tmp_path / "runs" / "toy" / "checkpoints" / "last.json").read_text())["step"] == 8
    assert all(torch.isfinite(value).all() for value in helpers.final_weights(tmp_path / "runs" / "toy").values())


def test_scores_that_are_no_probabilities_are_refused(session, monkeypatch):
    run = session("schedule.epochs=1")
    monkeypatch.setattr(type(run.detector), "predict", lambda self, batch: batch["label"].float() * 3)
    with pytest.raises(
        TrainingError, match=r"validation: 16 scores are NaN or outside \[0, 1\] \(first: Toy_fake/val00"
    ):
        run.train_and_test(resume=False)


def test_wrong_size_and_unknown_normalisation(session, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.image_size is 32 but the backbone was built for 64; set backbone"):
        session("backbone.img_size=64")
    with pytest.raises(ConfigError, match=r"data\.normalize: expected \{mean: \[r, g, b\]"):
        session("data.normalize={mean: [0.5], std: [1, 1, 1]}")
    torch.save({"model": session().detector.backbone.state_dict()}, tmp_path / "w.pth")
    with pytest.raises(
        ConfigError, match=r"do not say how their input was normalised: pretrain_ds_mean_std\.txt is not"
    ):
        session(f"backbone.weights={tmp_path / 'w.pth'}", "data.normalize=backbone")


# ------------------------------------------------------------------ unreadable frames


def damaged(world, target, keys, value=b"damaged"):
    """A copy of a world's data with some frames replaced (or removed, with value None)."""
    store = Store(world.data / "Toy_lmdb")
    values = {key: store.get(key) for key in store.keys()}  # noqa: SIM118
    with StoreWriter(target / "Toy_lmdb") as writer:
        for key, good in values.items():
            if key not in keys:
                writer.put(key, good)
            elif value is not None:
                writer.put(key, value)
    return f"paths.data={target}"


TEST_KEYS = ["Toy/fake/frames/test01/010.png", "Toy/real/frames/test03/030.png"]


def test_unreadable_test_frame_fails_by_default(session, toy_world, tmp_path):
    data = damaged(toy_world, tmp_path / "data", TEST_KEYS)
    with pytest.raises(DataError) as error:
        session(data, "schedule.epochs=1").train_and_test(resume=False)
    assert str(error.value) == (
        "Toy: 2 of 35 samples cannot be read (first: Toy_fake/test01/010: 'Toy/fake/frames/test01/010.png': not a "
        "JPEG, PNG or WebP image (starts with b'damaged')). Nothing was scored. Continue anyway: --allow-missing"
    )
    assert not (tmp_path / "runs" / "toy" / "results").exists()
    assert not (tmp_path / "runs" / "toy" / "predictions").exists()


def test_allow_missing_scores_the_rest_and_records_the_gap(session, toy_world, tmp_path, capsys):
    data = damaged(toy_world, tmp_path / "data", TEST_KEYS, value=None)
    session(data, "schedule.epochs=1", "evaluation.allow_missing=true").train_and_test(resume=False)
    result = read_result(tmp_path / "runs" / "toy" / "results" / "Toy.json")
    assert (result["counts"]["samples"], result["counts"]["missing"]) == (33, 2)
    assert [line.split(":")[0] for line in result["missing"]] == ["Toy_fake/test01/010", "Toy_real/test03/030"]
    predictions = Predictions.read(tmp_path / "runs" / "toy" / "predictions" / "Toy.csv")
    assert len(predictions) == 33
    assert ("Toy_fake/test01", "010") not in set(zip(predictions.video, predictions.frame, strict=True))
    assert "33 (-2)" in capsys.readouterr().out


def test_nothing_readable_is_an_error_even_when_missing_is_allowed(session, toy_world, tmp_path):
    keys = {
        f"Toy/{kind}/frames/test{v:02d}/{f:03d}.png"
        for kind in ("real", "fake")
        for v in range(5)
        for f in (0, 10, 20, 30)
    }
    data = damaged(toy_world, tmp_path / "data", keys)
    with pytest.raises(DataError, match="Toy: none of 35 samples can be read"):
        session(data, "schedule.epochs=1", "evaluation.allow_missing=true").train_and_test(resume=False)


TRAIN_KEYS = ["Toy/fake/frames/train03/010.png", "Toy/real/frames/train07/020.png"]


def test_unreadable_training_frame_stops_by_default(session, toy_world, tmp_path):
    data = damaged(toy_world, tmp_path / "data", TRAIN_KEYS)
    with pytest.raises(
        DataError, match=r"1 training samples of a batch cannot be read \(first: Toy_\w+/train0\d/0\d0: "
    ):
        session(data, "schedule.epochs=1").train_and_test(resume=False)


@pytest.mark.parametrize("mixup", [0, 0.8])
def test_skipped_training_frames_are_counted(session, toy_world, tmp_path, log_lines, mixup):
    data = damaged(toy_world, tmp_path / "data", TRAIN_KEYS)
    run = session(data, "data.on_error=skip", "schedule.epochs=2", f"detector.mixup={mixup}")
    assert run.train_and_test(resume=False) == 0
    lines = [line for line in log_lines if "training samples could not be read and were left out" in line]
    left_out = int(lines[0].split()[0])
    assert 4 <= left_out <= 8  # two broken samples in two epochs, and a partner each where pairs are needed
    assert sum("out of a batch; first: Toy_" in line for line in log_lines) in (2, 3, 4)


# ------------------------------------------------------------------ small things


def test_different_keys_names_each_difference():
    old = {"a": 1, "b": {"c": [1, 2], "d": None}, "gone": 3}
    new = {"a": 1, "b": {"c": [1, 3], "d": None}, "new": 4}
    assert different_keys(old, new) == ["b.c ([1, 2] -> [1, 3])", "gone (3 -> None)", "new (None -> 4)"]
    assert different_keys(old, old) == []
