"""One training session: data, detector, trainer, test of the selected checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from benchmark.config import Settings
from benchmark.data.datasets import FaceDataset
from benchmark.errors import ConfigError
from benchmark.results import SCHEMA, figures, mean_figures, read_result, result_path, result_table, write_result
from benchmark.schema import RunConfig
from training.checkpoint import CheckpointStore
from training.distributed import Processes
from training.pipeline import (
    build_detector,
    describe,
    evaluation_set,
    input_format,
    measured_normalization,
    refuse_overlap,
    save_run_facts,
    training_set,
    training_videos,
    validation_set,
    weights_metadata,
)
from training.resuming import refuse_other_run
from training.scoring import operating_threshold, report, score_test_sets, validator
from training.seeding import seed_step
from training.stopping import Interrupted
from training.trainer import Trainer

LAST_WEIGHTS = "last_weights"
"""Folder of what the last weights score, under the published selection rule."""


class Session:
    """Builds everything a run needs; all data problems show up here, before the first step.

    Args:
        config, settings: the run's settings.
        group: processes of the run.
    """

    def __init__(self, config: RunConfig, settings: Settings, group: Processes) -> None:
        self.config, self.group = config, group
        self.run = config.paths.runs / str(config.name)
        seed_step(config.trainer.seed, -1 % 2**31, 0)  # the same initial weights on every process
        self.detector = build_detector(config, settings)
        with _MainFirst(group):  # the main process may have to build a demo world
            chosen = training_videos(config, self.detector)
        cache = config.paths.runs / ".statistics"
        self.inputs = input_format(
            config, self.detector, lambda size: measured_normalization(config, chosen, size, group, cache)
        )
        self.detector.normalization = (self.inputs.mean, self.inputs.std)
        with _MainFirst(group):
            self.train = training_set(config, self.detector, self.inputs, settings, chosen)
            self.val, self.tests = self._evaluation_sets()
        self.detector.check_training_data(self.train)
        others = {f"test set {word}": dataset for word, dataset in self.tests.items()}
        if self.val is not None:
            others["validation set"] = self.val
        refuse_overlap(config, self.train, others)

    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        return (self.run / "checkpoints" / "last.json").is_file()

    def is_finished(self) -> bool:
        """Whether every test set has its result file."""
        folders = [self.run]
        if self.config.evaluation.select.rule == "published":
            folders.append(self.run / LAST_WEIGHTS)
        return bool(self.tests) and all(
            result_path(folder, word).is_file() for folder in folders for word in self.tests
        )

    def report_finished(self) -> None:
        """Say that there is nothing left to do, and show the results again.

        Raises:
            ConfigError: the finished run had other settings or other data.
        """
        state = CheckpointStore(self.run).load_state("last")
        refuse_other_run(state, self.config, self._data())
        logger.info("{} is finished; there is nothing to resume.", self.run)
        if self.group.is_main:
            report([read_result(result_path(self.run, word)) for word in self.tests], self.run)

    def show_plan(self) -> None:
        """Print data, parameter groups and plan."""
        others = {} if self.val is None else {"val": self.val}
        others |= {f"test {word}": dataset for word, dataset in self.tests.items()}
        if self.group.is_main:
            print(describe(self.config, self.detector, self.train, others))  # noqa: T201 - the command's output

    def train_and_test(self, resume: bool, continue_from: str | None = None) -> int:
        """Train, then score the test sets with the selected checkpoint.

        Args:
            resume: continue this run's last checkpoint.
            continue_from: continue a published training checkpoint; a resumed run has done so already.

        Returns:
            Exit status: 0, or 128 + signal number when stopped by a signal (the run can be resumed).
        """
        trainer = self._trainer()
        if resume:
            trainer.resume()  # before anything is written: it may refuse
        elif continue_from is not None:
            trainer.continue_from(continue_from)
        if self.group.is_main:
            save_run_facts(self.run, self.config, self.inputs)
        self.group.barrier()
        try:
            trainer.fit()
        except Interrupted as stop:
            return stop.exit_code
        if trainer.progress.unreadable:
            logger.warning("{} training samples could not be read and were left out.", trainer.progress.unreadable)
        if not self.detector.can_predict:
            return 0
        which = "best" if trainer.store.pointer("best") else "last"
        results = self._test(trainer, which, self.run)
        if self.config.evaluation.select.rule == "published":
            last = self._test(trainer, "last", self.run / LAST_WEIGHTS)
            results += [{**result, "dataset": f"{result['dataset']} (last)"} for result in last]
        if self.group.is_main:
            report(results, self.run)
        return 0

    def _test(self, trainer: Trainer, which: str, folder: Path) -> list[dict[str, Any]]:
        """Score the test sets with one of the run's checkpoints."""
        weights = trainer.store.weights_path(which)
        self._load_selected(weights, which)
        select, progress = self.config.evaluation.select, trainer.progress
        selection = {**select.model_dump(), "checkpoint": which, "step": trainer.store.pointer(which).step}  # type: ignore[union-attr]
        if select.rule == "published":
            selection["mean_of_last_evaluations"] = sum(progress.recent) / max(1, len(progress.recent))
        threshold = None
        if self.val is not None and select.rule == "validation":
            threshold = operating_threshold(self.detector, self.val, self.config, self.inputs, self.group)
        return score_test_sets(
            self.detector, self.config, self.inputs, self.tests, folder, self.group, weights, threshold, selection
        )

    def _trainer(self) -> Trainer:
        config = self.config
        validate = None
        if self.val is not None:
            validate = validator(self.detector, self.val, config, self.inputs, self.group)
        metadata = weights_metadata(config, self.detector, self.inputs, self.train.origin)
        return Trainer(
            config, self.detector, self.train, self.inputs, self.run, self.group, validate, metadata, self._data()
        )

    def _data(self) -> dict[str, str]:
        """Identity of the data that the weights and their choice depend on."""
        parts = {"training": self.train, "validation": self.val}
        return {name: dataset.identity() for name, dataset in parts.items() if dataset is not None}

    def _evaluation_sets(self) -> tuple[FaceDataset | None, dict[str, FaceDataset]]:
        config = self.config
        if not self.detector.can_predict:
            if config.data.test:
                raise ConfigError(f"Detector {config.detector.name} makes no predictions; leave out --test.")
            return None, {}
        val = validation_set(config, self.detector, self.inputs)
        tests = {word: evaluation_set(config, self.detector, self.inputs, [word], "test") for word in config.data.test}
        return val, {dataset.videos[0].dataset: dataset for dataset in tests.values()}

    def _load_selected(self, weights: Path, which: str) -> None:
        from safetensors.torch import load_file

        self.group.barrier()
        self.detector.load_state_dict(load_file(weights))
        self.detector.to(self.group.device)
        if self.group.is_main:
            logger.info("Testing the {} checkpoint: {}", which, weights)


def report_folds(configs: Sequence[RunConfig]) -> None:
    """Print one table over the runs of a protocol with their mean, and write it as ``summary.json`` above them.

    The mean is over the folds, of the selected weights and, under the published rule, of the last ones.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for config in configs:
        assert config.protocol is not None
        folder = config.paths.runs / str(config.name)
        for weights, part in (("selected", folder), ("last", folder / LAST_WEIGHTS)):
            for path in sorted((part / "results").glob("*.json")):
                result = read_result(path)
                mark = "" if weights == "selected" else f" ({weights})"
                name = f"{config.protocol.fold}: {result['dataset']}{mark}"
                groups.setdefault(weights, []).append({**result, "dataset": name})
    if not groups:
        return
    means = {f"mean, {weights}": mean_figures(results) for weights, results in groups.items()}
    rows = [result for results in groups.values() for result in results]
    sys.stdout.write(result_table(rows, means))
    content = {
        "schema": SCHEMA,
        "protocol": {**configs[0].protocol.model_dump(), "fold": ""} if configs[0].protocol else None,
        "folds": {row["dataset"]: figures(row) for row in rows},
        "mean": {weights: mean_figures(results) for weights, results in groups.items()},
    }
    run = configs[0].paths.runs / str(configs[0].name)
    write_result(run.parent / "summary.json", content)
    logger.info("Summary of {} folds: {}", len(configs), run.parent / "summary.json")


class _MainFirst:
    """Lets the main process enter first, the others after it has left."""

    def __init__(self, group: Processes) -> None:
        self.group = group

    def __enter__(self) -> None:
        if not self.group.is_main:
            self.group.barrier()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.group.is_main and kind is None:
            self.group.barrier()
