"""Detectors with several kinds of fakes: targets by kind, P(fake) = 1 - P(real), confusion matrix, class names kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmark import create_detector
from benchmark.data.cards import builtin_cards
from benchmark.errors import CheckpointError, DataError
from benchmark.evaluation import evaluate_files
from benchmark.metrics_classes import class_summary
from benchmark.predictions import Predictions
from benchmark.results import read_result
from training import test as scoring

CLASSES = "detector.classes=[real, deepfake, diffusion, spoof]"
KINDS = {"D": "deepfake", "E": "diffusion", "F": "spoof"}
TINY = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}


@pytest.fixture(scope="module")
def world(make_world, tmp_path_factory):
    """A dataset per kind of fake, with a card that says which; and one whose card does not."""
    root = tmp_path_factory.mktemp("kinds")
    for number, name in enumerate((*KINDS, "U")):
        world = make_world(root, {"train": (4, 8), "val": (2, 2), "test": (2, 3)}, name=name, seed=number)
        kind = f"kind: {KINDS[name]}\n" if name in KINDS else ""
        (world.indexes / f"{name}.yaml").write_text(f"name: {name}\n{kind}")
    return world


@pytest.fixture
def options(world):
    return [*world.overrides(), CLASSES, "data.train=[D, E, F]", "data.test=[D, F]", "schedule.epochs=1"]


def test_targets_are_the_kinds(session, options):
    run = session(*options, "data.balance=kind")
    sampled = [run.train[index] for index in range(len(run.train))]
    batch = run.detector.collate(sampled)
    assert {(kind, int(place)) for kind, place in zip(batch["kind"], batch["class"], strict=True)} == {
        ("real", 0), ("deepfake", 1), ("diffusion", 2), ("spoof", 3)}  # fmt: skip
    assert torch.equal(batch["class"] > 0, batch["label"] == 1)
    for indices in run._trainer().plan.batches(0):
        drawn = [run.train.kind_name(i) for i in indices]
        assert {kind: drawn.count(kind) for kind in drawn} == dict.fromkeys(("real", *KINDS.values()), 4)


def test_gradients_pull_towards_the_kind_not_the_label(session, options):
    detector = session(*options).detector.train()
    batch = {"image": torch.randn(1, 3, 32, 32), "label": torch.tensor([1]), "class": torch.tensor([3])}
    detector.training_step(batch)["loss"].backward()
    assert (detector.head.bias.grad < 0).tolist() == [False, False, False, True]


def test_a_run_reports_classes_and_the_probability_of_fake(session, options, tmp_path, capsys):
    assert session(*options).train_and_test(resume=False) == 0
    run = tmp_path / "runs" / "toy"
    predictions = Predictions.read(run / "predictions" / "F.csv")
    assert predictions.classes == ("real", "deepfake", "diffusion", "spoof")
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(predictions.score, 1 - predictions.probabilities[:, 0], atol=1e-6)
    assert set(zip(predictions.kind, predictions.label.tolist(), strict=True)) == {("real", 0), ("spoof", 1)}
    result = read_result(run / "results" / "F.json")
    assert result["classes"] == class_summary(predictions)
    assert np.sum(result["classes"]["video"]["confusion"]) == result["counts"]["videos"] == 5
    assert result["classes"]["frame"]["per_class"]["spoof"]["support"] == 3 * 4 - 1
    assert result["classes"]["frame"]["per_class"]["diffusion"]["recall"] is None
    assert result["config"]["detector"]["classes"] == list(predictions.classes)
    best = json.loads((run / "checkpoints" / "best.json").read_text())["folder"]
    from backbones.weights import read_checkpoint

    metadata = read_checkpoint(run / "checkpoints" / best / "model.safetensors")["metadata"]
    assert metadata["classes"] == "real,deepfake,diffusion,spoof"
    shown = capsys.readouterr().out
    assert "F: videos by true and called class" in shown
    assert evaluate_files([run / "predictions" / "F.csv"], tmp_path / "again.json") == 0
    assert json.loads((tmp_path / "again.json").read_text())[0]["classes"] == result["classes"]


def test_scoring_sorts_the_classes_of_a_file_into_ones_own_order(session, options, toy_config, tmp_path):
    session(*options).train_and_test(resume=False)
    arguments = ["--detector", str(toy_config), "--weights", str(tmp_path / "runs" / "toy"), "--test", "F"]
    other = [*options[:-1], "detector.classes=[real, spoof, diffusion, deepfake]", "--name", "other"]
    assert scoring.run(*scoring.parse([*arguments, *other])) == 0
    one, two = (Predictions.read(tmp_path / "runs" / name / "predictions" / "F.csv") for name in ("toy", "other"))
    np.testing.assert_allclose(two.probabilities[:, [0, 3, 2, 1]], one.probabilities, atol=1e-6)
    np.testing.assert_allclose(two.score, one.score, atol=1e-6)
    with pytest.raises(CheckpointError, match=r"for classes \['real', 'deepfake', 'diffusion', 'spoof'\]"):
        scoring.run(*scoring.parse([*arguments, *options[:2], "--name", "binary"]))


def test_a_dataset_that_does_not_say_its_kind_can_be_tested_but_not_trained_on(session, options, tmp_path):
    with pytest.raises(DataError, match=r"U: the kind of its class U_fake is not given, but the detector sorts"):
        session(*options, "data.train=[D, E, F, U]")
    with pytest.raises(DataError, match=r"no sample of the class diffusion"):
        session(*options, "data.train=[D, F]")
    assert session(*options, "data.test=[U]").train_and_test(resume=False) == 0
    level = read_result(tmp_path / "runs" / "toy" / "results" / "U.json")["classes"]["video"]
    assert level["other_kinds"] == {"unknown": 3}
    assert np.sum(level["confusion"]) == 2


def test_two_classes_do_not_ask_for_kinds(session, world, tmp_path):
    run = session(*world.overrides(), "data.train=[U]", "data.test=[U]", "schedule.epochs=1")
    assert run.train_and_test(resume=False) == 0
    assert "classes" not in read_result(tmp_path / "runs" / "toy" / "results" / "U.json")


@pytest.mark.parametrize("name", ["fsfm", "timm", "linear_probe", "fs_adapter"])
def test_every_classifier_can_tell_kinds_apart(name):
    detector = create_detector(name, TINY, classes=["real", "deepfake", "diffusion", "spoof"])
    batch = {"image": torch.randn(4, 3, 32, 32), "label": torch.tensor([0, 1, 1, 1]), "class": torch.arange(4)}
    assert torch.isfinite(detector.train().training_step(batch)["loss"])
    with torch.no_grad():
        probabilities = detector.eval().class_probabilities(batch)
        torch.testing.assert_close(detector.predict(batch), 1 - probabilities[:, 0])


def test_self_blending_turns_a_real_into_a_deepfake():
    from benchmark.data.datasets import Video, _kind_after
    from benchmark.data.index import VideoRecord

    real = Video(VideoRecord("X", "X_real", 0, "train", None, "v", ("X/1.png",)), ("X/1.png",), None, "X", "real")
    assert [_kind_after(real, label) for label in (0, 1)] == ["real", "deepfake"]


def test_class_summary_by_hand():
    """Two videos of three frames: the video's class is that of its mean probabilities."""
    rows = [("X", "real/a", str(i), 0, 0.4) for i in range(3)] + [("X", "spoof/b", str(i), 1, 0.9) for i in range(3)]
    probabilities = np.array([[0.6, 0.1, 0.3]] * 2 + [[0.1, 0.3, 0.6]] + [[0.1, 0.2, 0.7]] * 2 + [[0.1, 0.8, 0.1]])
    kinds = ["real"] * 3 + ["spoof"] * 3
    predictions = Predictions.from_rows(rows).with_classes(("bona fide", "deepfake", "spoof"), kinds, probabilities)
    summary = class_summary(predictions)
    assert summary["frame"]["confusion"] == [[2, 0, 1], [0, 0, 0], [0, 1, 2]]
    two_thirds = pytest.approx(2 / 3)
    assert summary["frame"]["per_class"]["spoof"] == {
        "recall": two_thirds, "precision": two_thirds, "f1": two_thirds, "support": 3}  # fmt: skip
    assert summary["frame"]["per_class"]["deepfake"] == {"recall": None, "precision": 0.0, "f1": None, "support": 0}
    assert summary["frame"]["accuracy"] == summary["frame"]["macro_recall"] == pytest.approx(2 / 3)
    assert summary["video"]["confusion"] == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert summary["video"]["per_class"]["spoof"]["support"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dataset,video,frame,label,score,p(real),p(x)\nA,v,0,1,0.5,0.5,0.5\n", "no column kind with the true ones"),
        (
            "dataset,video,frame,label,score,kind,p(real),p(x)\nA,v,0,1,0.5,x,0.5,1.5\n",
            "line 2: the class probabilities",
        ),
        ("dataset,video,frame,label,score,kind,p(real),p(x)\nA,v,0,1,0.5,x,0.5\n", "line 2: 7 values but 8 columns"),
    ],
)
def test_broken_class_columns(tmp_path, content, message):
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        Predictions.read(path)


def test_every_shipped_dataset_with_one_kind_of_fakes_says_which():
    silent = {name for name, card in builtin_cards().items() if card.kind is None and not name.startswith("demo/")}
    assert silent == {"DF40", "VGGFace2", "YTF", "RAVDESS", "FF++_o"}, "several kinds, or no fakes"
    assert {card.kind for card in builtin_cards().values()} == {None, "deepfake", "diffusion", "spoof"}
