"""Face anti-spoofing runs: balanced domains, folds, held-out development data, both threshold rules, bad input."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import yaml

from benchmark.data.readers import load_word
from benchmark.errors import ConfigError, DataError
from benchmark.predictions import Predictions
from benchmark.results import read_result
from benchmark.schema import PathsConfig
from training import train
from training.checkpoint import CheckpointStore

DOMAINS = ("A", "B", "C")
PROTOCOL = """\
name: three
title: leave one of three domains out
folds:
  AB->C: {train: [A, B], test: [C]}
  BC->A: {train: [B, C], test: [A]}
holdout: 0.25
metrics: fas
select: {metric: hter}
"""
RECIPE = ("detector={name: fas, head_dropout: 0.0}", "optimizer={name: sgd, lr: 0.01}", "schedule={steps: 8}")


@pytest.fixture(scope="module")
def world(make_world, tmp_path_factory):
    """Three domains with train and test splits only, as those of MCIO."""
    root = tmp_path_factory.mktemp("domains")
    for number, name in enumerate(DOMAINS):
        world = make_world(root, {"train": (8, 8), "test": (4, 5)}, name=name, frames=3, seed=number)
    return world


@pytest.fixture
def arguments(toy_config, world, tmp_path):
    """Command line of a run on the domains; the protocol has two folds."""
    protocol = tmp_path / "three.yaml"
    protocol.write_text(PROTOCOL)

    def make(name, *extra, words=("--protocol", str(protocol))):
        own = ["--detector", str(toy_config), "--name", name, *words, *world.overrides(), "data.frames.train=1"]
        return [*own, *RECIPE, *extra]

    return make


def run_here(arguments):
    return train.run(*train.parse(arguments))


TWO = ("--train", "A", "B", "--test", "C")
HOLDOUT = "data.holdout=0.25"


# ------------------------------------------------------------------ folds and rules


def test_every_fold_is_a_run_and_the_mean_is_printed_and_written(arguments, tmp_path, capsys):
    assert run_here(arguments("fas")) == 0
    run = tmp_path / "runs" / "fas"
    results = [
        read_result(run / folder / "results" / f"{target}.json") for folder, target in (("AB2C", "C"), ("BC2A", "A"))
    ]
    for result, sources in zip(results, ("A, B", "B, C"), strict=True):
        point = result["operating_point"]
        assert point["origin"] == f"equal error rate of the videos in the development part of {sources}"
        assert point["fas"]["hter@dev"] == (point["far"] + point["frr"]) / 2
        assert 0 <= point["fas"]["hter@target_eer"] <= 1
        assert {"apcer", "bpcer", "acer", "tpr@fpr1"} <= point["fas"].keys()
        assert result["protocol"]["name"] == "three"
        assert result["selection"]["rule"] == "validation"
    assert [result["protocol"]["fold"] for result in results] == ["AB->C", "BC->A"]
    summary = json.loads((run / "summary.json").read_text())
    for name in ("hter@dev", "hter@target_eer"):
        values = [result["operating_point"]["fas"][name] for result in results]
        assert summary["mean"]["selected"][name] == pytest.approx(np.mean(values))
        assert [fold[name] for fold in summary["folds"].values()] == values
    assert list(summary["folds"]) == ["AB->C: C", "BC->A: A"]
    out = capsys.readouterr().out
    assert "mean, selected" in out
    assert "HTER" in out
    assert f"{100 * summary['mean']['selected']['hter@dev']:.2f}" in out


def test_the_published_rule_reports_the_last_weights_and_the_mean_of_the_last_evaluations_too(
    arguments, tmp_path, capsys
):
    published = ("evaluation.select.rule=published", "trainer.validate_every_steps=2")
    assert run_here(arguments("fas", *published)) == 0
    run = tmp_path / "runs" / "fas"
    best, last = (read_result(run / "AB2C" / part / "C.json") for part in ("results", "last_weights/results"))
    journal = [json.loads(line) for line in (run / "AB2C" / "log.jsonl").read_text().splitlines()]
    evaluations = [record["hter"] for record in journal if record["kind"] == "val"]
    assert len(evaluations) == 4
    assert best["operating_point"]["fas"]["hter@target_eer"] == pytest.approx(min(evaluations), abs=1e-6)
    assert last["operating_point"]["fas"]["hter@target_eer"] == pytest.approx(evaluations[-1], abs=1e-6)
    assert best["selection"]["mean_of_last_evaluations"] == pytest.approx(np.mean(evaluations), abs=1e-6)
    assert best["operating_point"]["fas"]["hter@dev"] is None, "there is no development data under this rule"
    assert len(read_training_set(best)) == 2 * 16, "and nothing is held out"
    summary = json.loads((run / "summary.json").read_text())
    assert {"selected", "last"} == summary["mean"].keys()
    assert "C (last)" in capsys.readouterr().out


def read_training_set(result):
    paths = PathsConfig.model_validate(result["config"]["paths"])
    return [
        record
        for word in result["config"]["data"]["train"]
        for record in load_word(word, "train", paths, {})[1].records
    ]


def test_apcer_is_that_of_the_worst_attack_type(session, make_world, world, tmp_path):
    """Types come from the index's facts; live videos have none."""
    target = make_world(world.data.parent, {"test": (4, 6)}, name="T")
    index = target.indexes / "T.json"
    content = json.loads(index.read_text())
    for number, record in enumerate(content["T"]["T_fake"]["test"].values()):
        record["facts"] = {"attack": ("print", "replay")[number % 2]}
    index.write_text(json.dumps(content))
    options = ("data.train=[A, B]", "data.test=[T]", HOLDOUT, "evaluation.metrics=fas", *RECIPE)
    assert session(*world.overrides(), *options).train_and_test(resume=False) == 0
    point = read_result(tmp_path / "runs" / "toy" / "results" / "T.json")["operating_point"]["fas"]
    assert point["apcer"] == max(point["apcer_print"], point["apcer_replay"])
    assert {name for name in point if name.startswith("apcer_")} == {"apcer_print", "apcer_replay"}


def test_a_run_killed_before_its_last_weights_were_scored_is_not_finished(session, world):
    import shutil

    options = ("data.train=[A, B]", "data.test=[C]", "evaluation.select.rule=published", *RECIPE)
    run = session(*world.overrides(), *options)
    assert run.train_and_test(resume=False) == 0
    assert run.is_finished()
    shutil.rmtree(run.run / "last_weights")
    assert not run.is_finished()


def test_held_out_videos_are_not_trained_on(session, world):
    run = session(*world.overrides(), "data.train=[A, B]", "data.test=[C]", HOLDOUT)
    trained, held = ({video.key for video in part.videos} for part in (run.train, run.val))
    assert not trained & held
    assert len(held) == 2 * (2 + 2)
    assert len(trained) == 2 * (6 + 6)
    everything = session(*world.overrides(), "data.train=[A, B]", "data.test=[C]", "evaluation.select.metric=last")
    assert trained | held == {video.key for video in everything.train.videos}
    again = session(*world.overrides(), "data.train=[A]", "data.test=[C]", HOLDOUT, "trainer.seed=7")
    assert {video.key for video in again.val.videos} <= held, "who is held out depends on the dataset alone"


def test_subjects_are_held_out_with_all_their_videos(session, make_world, tmp_path):
    world = make_world(tmp_path / "w", {"train": (8, 8), "test": (2, 2)}, name="S")
    index = world.indexes / "S.json"
    content = json.loads(index.read_text())
    for splits in (content["S"]["S_real"], content["S"]["S_fake"]):
        for number, record in enumerate(splits["train"].values()):
            record["facts"] = {"subject": f"person{number // 2}"}
    index.write_text(json.dumps(content))
    run = session(*world.overrides(), "data.train=[S]", "data.test=[S]", HOLDOUT)
    people = [{video.record.extra["facts"]["subject"] for video in part.videos} for part in (run.train, run.val)]
    assert len(people[0]) == 3
    assert len(people[1]) == 1
    assert not people[0] & people[1]
    assert len(run.val.videos) == 4


def test_without_a_val_split_the_error_names_the_way_out(session, world):
    with pytest.raises(DataError, match="A: the val split is empty"):
        session(*world.overrides(), "data.train=[A]", "data.test=[C]")


# ------------------------------------------------------------------ the sampler


def test_every_batch_is_balanced_over_domains_and_classes(session, world):
    run = session(*world.overrides(), "data.train=[A, B]", "data.test=[C]", "evaluation.select.metric=last", *RECIPE)
    trainer = run._trainer()
    for batch in trainer.plan.batches(0):
        members = [(run.train.dataset_name(i), int(run.train.labels[i])) for i in batch]
        assert {member: members.count(member) for member in members} == {
            (domain, label): 4 for domain in "AB" for label in (0, 1)
        }


def test_published_schedule_is_forty_evaluations_of_four_sources_by_two_classes_by_twelve():
    from benchmark.config import CONFIG_DIR
    from benchmark.schema import load_run_config

    config, _ = load_run_config(CONFIG_DIR / "fas_fsfm_base.yaml")
    assert config.schedule.steps / config.trainer.validate_every_steps == 40
    assert config.trainer.batch_size == 4 * 2 * 12
    assert (config.optimizer.name, config.optimizer.decay_vectors, config.schedule.name) == ("adam", True, "constant")


@pytest.mark.slow
def test_kill_9_and_resume_give_the_same_weights(arguments, helpers, hooked, tmp_path):
    recipe = ("detector.name=hooked_fas", "detector.head_dropout=0.5", "data.frames.train=all", HOLDOUT)
    options = ("--plugins", str(hooked), *recipe, "trainer.save_every_steps=3")
    killed = helpers.command("train.py", *arguments("killed", *options, words=TWO), HOOKED="kill:7")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    runs = tmp_path / "runs"
    assert json.loads((runs / "killed" / "checkpoints" / "last.json").read_text())["step"] == 6, (
        "inside the second epoch of 4 steps"
    )
    assert run_here(arguments("killed", "--resume", *options, words=TWO)) == 0
    assert run_here(arguments("whole", *options, words=TWO)) == 0
    helpers.assert_same_weights(runs / "killed", runs / "whole")
    helpers.assert_same_weights(runs / "killed", runs / "whole", "best")
    for file in ("predictions/C.csv", "checkpoints/best.json"):
        assert (runs / "killed" / file).read_bytes() == (runs / "whole" / file).read_bytes(), file


@pytest.mark.slow
def test_two_processes_equal_one(arguments, helpers, tmp_path):
    options = (HOLDOUT, "trainer.log_every_steps=1")
    two = helpers.command("train.py", *arguments("two", *options, words=TWO), processes=2)
    assert two.returncode == 0, two.stderr[-3000:]
    assert run_here(arguments("one", *options, words=TWO)) == 0
    runs = tmp_path / "runs"
    losses = [helpers.losses_of(runs / name) for name in ("one", "two")]
    assert len(losses[0]) == 8
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    one, other = (Predictions.read(runs / name / "predictions" / "C.csv") for name in ("one", "two"))
    assert other.frame.tolist() == one.frame.tolist()
    np.testing.assert_allclose(other.score, one.score, atol=1e-4)
    points = [read_result(runs / name / "results" / "C.json")["operating_point"]["origin"] for name in ("one", "two")]
    assert points[0] == points[1]


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("evaluation.select.metric=last",),
            r"Domain D has no fake samples, so its batches cannot be balanced\. Leave it",
        ),
        ((HOLDOUT,), r"D has no fake videos, so no development data of that class can be held out of it\. Leave"),
    ],
)
def test_a_domain_without_attacks(session, make_world, world, options, message):
    make_world(world.data.parent, {"train": (4, 0)}, name="D")
    words = ("data.train=[A, D]", "data.test=[C]")
    with pytest.raises(DataError, match=message):
        session(*world.overrides(), *words, *RECIPE, *options).train_and_test(resume=False)


def test_more_places_than_a_domain_has_samples(session, world):
    from benchmark.errors import TrainingError

    words = ("data.train=[A, B]", "data.test=[C]", "data.frames.train=1", "evaluation.select.metric=last")
    with pytest.raises(TrainingError, match="Group A fake has fewer samples than its 10 places in a batch"):
        session(*world.overrides(), *words, *RECIPE, "trainer.batch_size=40").train_and_test(resume=False)
    with pytest.raises(TrainingError, match=r"batch_size 18 does not divide over 4 groups \(A fake, A real, B fake"):
        session(*world.overrides(), *words, *RECIPE, "trainer.batch_size=18").train_and_test(resume=False)


def test_one_subject_cannot_be_on_both_sides(session, make_world, tmp_path):
    world = make_world(tmp_path / "w", {"train": (1, 4), "test": (2, 2)})
    with pytest.raises(DataError, match=r"Toy: holding out 25% of its subjects leaves no real video to train on"):
        session(*world.overrides(), HOLDOUT)


@pytest.fixture
def listed(tmp_path):
    """Text lists of two domains (a card each); the last file that domain Y lists is not there."""
    import cv2

    rng = np.random.default_rng(0)
    indexes = tmp_path / "lists"
    indexes.mkdir()
    for name in "XY":
        (tmp_path / name).mkdir()
        lines = []
        for number in range(16):
            file = f"v{number:02d}_frame_0.png"
            if (name, number) != ("Y", 15):
                cv2.imwrite(str(tmp_path / name / file), rng.integers(0, 255, (40, 40, 3), np.uint8))
            lines.append(f"{file} {number % 2}")
        (tmp_path / name / "train.txt").write_text("\n".join(lines) + "\n")
        reader = {"name": "list", "files": {"train": str(tmp_path / name / "train.txt")}}
        (indexes / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "reader": reader}))
    return [f"paths.indexes={indexes}", "data.train=[X, Y]", "data.test=[]", "evaluation.select.metric=last", *RECIPE]


def test_a_list_that_names_a_missing_file(session, listed, tmp_path):
    with pytest.raises(DataError, match=r"training samples of a batch cannot be read \(first: fake/v15.*on_error=skip"):
        session(*listed).train_and_test(resume=False)
    assert session(*listed, "data.on_error=skip", "name=skipping").train_and_test(resume=False) == 0
    state = CheckpointStore(tmp_path / "runs" / "skipping").load_state("last")
    assert state["progress"]["unreadable"] == 8, "in each of 4 epochs the sample and its partner"


def test_a_video_shorter_than_asked_for_is_used_and_counted(session, world, tmp_path):
    options = ("data.train=[A, B]", "data.test=[C]", HOLDOUT, "data.frames={train: 1, val: 2, test: 3}", *RECIPE)
    assert session(*world.overrides(), *options).train_and_test(resume=False) == 0
    counts = read_result(tmp_path / "runs" / "toy" / "results" / "C.json")["counts"]
    assert (counts["samples"], counts["videos"], counts["videos_with_fewer_frames"]) == (26, 9, 1)


def test_a_finished_run_says_so_and_refuses_other_settings(arguments, capsys):
    assert run_here(arguments("done", HOLDOUT, words=TWO)) == 0
    capsys.readouterr()
    assert run_here(arguments("done", HOLDOUT, "--resume", words=TWO)) == 0
    shown = capsys.readouterr()
    assert "is finished; there is nothing to resume" in shown.err
    assert "│ C " in shown.out
    with pytest.raises(ConfigError, match=r"these settings differ from the run's: schedule\.steps \(8 -> 9\)"):
        run_here(arguments("done", HOLDOUT, "--resume", "schedule.steps=9", words=TWO))


def test_a_val_split_is_used_before_anything_is_held_out(session, make_world, world):
    make_world(world.data.parent, {"train": (6, 6), "val": (2, 3)}, name="V")
    run = session(*world.overrides(), "data.train=[A, V]", "data.test=[C]", HOLDOUT)
    assert [sum(video.dataset == name for video in run.train.videos) for name in "AV"] == [12, 12]
    held = [video.key for video in run.val.videos]
    assert [sum(key.startswith(f"{name}:") for key in held) for name in "AV"] == [4, 5]
    assert all("val" in key for key in held if key.startswith("V:"))
