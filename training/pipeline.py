"""From settings to objects, and from a trained detector to result files; shared by train.py and test.py."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from loguru import logger

from backbones.base import NORMALIZATIONS, Normalization
from backbones.weights import STATISTICS_FILE, file_hash, write_statistics
from benchmark import metrics_fas
from benchmark.build import create_detector
from benchmark.config import Settings
from benchmark.data.augmentation import build_augmentation
from benchmark.data.cards import Word
from benchmark.data.datasets import FaceDataset, Video, check_overlap, origins, select_videos
from benchmark.data.readers import Listing, load_words
from benchmark.data.transforms import EvalTransform
from benchmark.errors import ConfigError, DataError
from benchmark.evaluation import flat_metrics, metrics_of, video_classes, video_scores
from benchmark.metrics_fas import equal_error_point, error_rates
from benchmark.predictions import Predictions
from benchmark.registry import BACKBONES
from benchmark.results import SCHEMA, file_name, now, provenance, result_path, result_table, write_result
from benchmark.schema import ClipConfig, RunConfig
from detectors.base import Detector
from training.distributed import Processes
from training.evaluate import score_dataset
from training.inputs import InputFormat
from training.statistics import measure_dataset
from training.trainer import Validator


def build_detector(config: RunConfig, settings: Settings) -> Detector:
    """The detector of a run; ``data.image_size`` reaches a backbone that is built for one size.

    Raises:
        ConfigError, RegistryError: see ``create_detector``.
    """
    backbone = None
    if config.backbone is not None:
        backbone = {"name": config.backbone.name, **config.backbone.options}
        size = config.data.image_size
        if size is not None and "img_size" not in backbone and _takes_size(config.backbone.name):
            backbone["img_size"] = size
    return create_detector(config.detector.name, backbone, settings, **config.detector.options)


def input_format(
    config: RunConfig, detector: Detector, measure: Callable[[int], Normalization] | None = None
) -> InputFormat:
    """Input size and normalisation of a run.

    Args:
        config: the run's settings.
        detector: knows its size and what its weights were trained with.
        measure: mean and std of the training images at a size, for ``data.normalize: dataset``; without it (in a
            test) the weights know.

    Raises:
        ConfigError: ``data.image_size`` is not what the backbone was built for, or a broken ``data.normalize``.
    """
    size = config.data.image_size or detector.input_size
    if size != detector.input_size:
        raise ConfigError(
            f"data.image_size is {size} but the backbone was built for {detector.input_size}; "
            f"set backbone.img_size={size}."
        )
    if config.data.normalize == "dataset" and measure is not None:
        return InputFormat(size, *measure(size))
    mean, std = _normalization(config, detector)
    return InputFormat(size, mean, std)


def _normalization(config: RunConfig, detector: Detector) -> Normalization:
    rule = config.data.normalize
    if rule in ("backbone", "dataset"):
        if detector.normalization is None:
            raise ConfigError(
                f"The weights do not say how their input was normalised: {STATISTICS_FILE} is not beside them. Put it "
                "there, or set data.normalize: vggface2 (published FSFM weights), imagenet, or {mean: .., std: ..}."
            )
        return detector.normalization
    if isinstance(rule, str):
        return NORMALIZATIONS[rule]
    if set(rule) != {"mean", "std"} or any(len(values) != 3 for values in rule.values()):
        raise ConfigError("data.normalize: expected {mean: [r, g, b], std: [r, g, b]} or a name.")
    return tuple(rule["mean"]), tuple(rule["std"])


class TrainingVideos(NamedTuple):
    """Selected training videos, and facts about the indexes they come from (see ``datasets.origins``)."""

    videos: list[Video]
    origin: dict[str, Any]


def training_videos(config: RunConfig, detector: Detector) -> TrainingVideos:
    """Videos of the training words with their frames chosen; fakes left out for methods that learn from real faces.

    Raises:
        DataError: see ``load_words``; or there are only fakes.
    """
    loaded = _load(config, config.data.train, "train")
    counts = config.data.frames
    videos = select_videos(loaded, counts.train, config.data.frame_select, counts.train_real)
    if detector.learns_from == "real":
        real = [video for video in videos if video.record.label == 0]
        if not real:
            raise DataError(f"{config.detector.name} learns from real faces, and {config.data.train} holds only fakes.")
        if len(real) < len(videos):
            left_out = len(videos) - len(real)
            logger.info("{} fake videos left out: {} learns from real faces.", left_out, config.detector.name)
        videos = real
    return TrainingVideos(videos, origins(loaded))


def measured_normalization(
    config: RunConfig, chosen: TrainingVideos, size: int, group: Processes, cache: Path
) -> Normalization:
    """Mean and std of all training images at a size (see ``training.statistics``)."""
    transform = EvalTransform(size, config.data.resize)
    return measure_dataset(FaceDataset(chosen.videos, transform, origin=chosen.origin), config, group, cache)


def training_set(
    config: RunConfig, detector: Detector, inputs: InputFormat, settings: Settings, chosen: TrainingVideos
) -> FaceDataset:
    """Training samples with augmentation."""
    augmentation = build_augmentation(
        config.augmentation.name,
        inputs.size,
        inputs.mean,
        settings.section("augmentation"),
        **config.augmentation.options,
    )
    return FaceDataset(
        chosen.videos,
        _transform(config, inputs),
        augmentation=augmentation,
        needs=detector.needs,
        clip=_clip(config, detector),
        seed=config.trainer.seed,
        origin=chosen.origin,
    )


def evaluation_set(
    config: RunConfig, detector: Detector, inputs: InputFormat, words: Sequence[str], split: str
) -> FaceDataset:
    """Samples of the val or test split of some dataset words, without augmentation."""
    loaded = _load(config, words, split)
    counts = config.data.frames
    videos = select_videos(loaded, counts.val if split == "val" else counts.test, config.data.frame_select)
    return FaceDataset(
        videos,
        _transform(config, inputs),
        needs=detector.needs,
        clip=_clip(config, detector),
        origin=origins(loaded),
    )


def _load(config: RunConfig, words: Sequence[str], split: str) -> list[tuple[Word, Listing]]:
    if not words:
        raise ConfigError(f"No {split} data: give --{split} DATASET ... or data.{split} in the configuration.")
    return load_words(words, split, config.paths, config.data.labels)


def validation_words(config: RunConfig) -> list[str]:
    """Datasets whose val split selects the checkpoint."""
    return list(config.data.train if config.data.val is None else config.data.val)


def refuse_overlap(config: RunConfig, train: FaceDataset, others: dict[str, FaceDataset]) -> None:
    """Raise when evaluation videos are trained on, unless ``data.allow_overlap`` permits it."""
    for what, dataset in others.items():
        if not config.data.allow_overlap:
            check_overlap(train.videos, dataset.videos, what)


def _transform(config: RunConfig, inputs: InputFormat) -> EvalTransform:
    return EvalTransform(inputs.size, config.data.resize, config.data.eval_transform == "center_crop")


def _clip(config: RunConfig, detector: Detector) -> ClipConfig | None:
    return (config.data.clip or ClipConfig(length=8)) if detector.uses_clips else None


def validator(
    detector: Detector, dataset: FaceDataset, config: RunConfig, inputs: InputFormat, group: Processes
) -> Validator:
    """A function that scores the validation set and returns its metrics."""

    def validate() -> dict[str, float | None]:
        scored = score_dataset(detector, dataset, config, inputs, group, "validation")
        video = video_scores(scored.predictions)
        hter = equal_error_point(1.0 - video.scores, video.labels == 0).hter
        return {**flat_metrics(metrics_of(scored.predictions)), "hter": hter}

    return validate


@dataclass(frozen=True)
class Threshold:
    """An operating point and where it comes from.

    Attributes:
        value: a score above it means fake.
        origin: the data and the rule it was taken from.
    """

    value: float
    origin: str


def operating_threshold(
    detector: Detector, dataset: FaceDataset, config: RunConfig, inputs: InputFormat, group: Processes
) -> Threshold:
    """Video-level threshold on P(fake) at the equal-error point of the validation set.

    The rule is that of the FAS tables (last threshold of a 1e-4 grid on P(real) with the smallest |FRR - FAR|).
    """
    scored = score_dataset(detector, dataset, config, inputs, group, "validation")
    video = video_scores(scored.predictions)
    point = equal_error_point(1.0 - video.scores, video.labels == 0)
    names = ", ".join(sorted({video.dataset for video in dataset.videos}))
    return Threshold(1.0 - point.threshold, f"equal error rate of the videos in the val split of {names}")


def score_test_sets(
    detector: Detector,
    config: RunConfig,
    inputs: InputFormat,
    datasets: dict[str, FaceDataset],
    run: Path,
    group: Processes,
    weights: Path | None,
    threshold: Threshold | None = None,
    selection: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Score every test set, write predictions and result files, return the results.

    Args:
        detector: trained; on the process's device.
        config, inputs, group: as everywhere.
        datasets: test sets by dataset word.
        run: run folder.
        weights: file the detector was loaded from.
        threshold: operating point from development data, if there is any.
        selection: how the weights were chosen.

    Files: ``run/predictions/NAME.csv`` and ``run/results/NAME.json``.
    """
    results = []
    for word, dataset in datasets.items():
        started = time.monotonic()
        scored = score_dataset(detector, dataset, config, inputs, group, word)
        seconds = time.monotonic() - started
        if not group.is_main:
            continue
        path = run / "predictions" / f"{file_name(word)}.csv"
        scored.predictions.write(path)
        result = {
            "schema": SCHEMA,
            "dataset": word,
            "detector": config.detector.name,
            "protocol": config.protocol.model_dump() if config.protocol else None,
            "metrics": metrics_of(scored.predictions),
            "counts": {
                **dataset.summary(),
                "samples": len(scored.predictions),
                "videos": len(set(scored.predictions.video)),
                "missing": len(scored.missing),
            },
            "missing": list(scored.missing[:100]),
            "data": {"fingerprint": dataset.fingerprint(), "origin": dataset.origin},
            "selection": selection,
            "weights": {"file": str(weights) if weights else None, "sha256": file_hash(weights) if weights else None},
            "parameters": sum(p.numel() for p in detector.parameters()),
            "samples_per_second": round(len(dataset) / seconds, 2),
            "predictions": {"file": str(path), "sha256": file_hash(path)},
            "input": {"size": inputs.size, "mean": list(inputs.mean), "std": list(inputs.std)},
            "seed": config.trainer.seed,
            "config": config.resolved(),
            "time": now(),
            **provenance(),
        }
        for level, values in result["metrics"].items():
            if values["auc"] is None:
                logger.warning("{}: only one class at {} level; AUC, EER and AP are undefined.", word, level)
        result["operating_point"] = _operating_point(scored.predictions, threshold, config)
        write_result(result_path(run, word), result)
        results.append(result)
    return results


def _operating_point(predictions: Predictions, threshold: Threshold | None, config: RunConfig) -> dict[str, Any] | None:
    """Video-level error rates at the development threshold; the FAS block when the protocol asks for it."""
    video = video_scores(predictions)
    live_threshold = None if threshold is None else 1.0 - threshold.value
    point: dict[str, Any] = {}
    if threshold is not None and live_threshold is not None:
        rates = error_rates(1.0 - video.scores, video.labels == 0, live_threshold)
        point = {"threshold": threshold.value, "origin": threshold.origin, "far": rates.far, "frr": rates.frr}
    if config.evaluation.metrics == "fas":
        point["fas"] = metrics_fas.summary(video, video_classes(predictions), live_threshold)
    return point or None


def report(results: Sequence[dict[str, Any]], run: Path) -> None:
    """Print the result table and where the files are."""
    if results:
        print(result_table(results), end="")  # noqa: T201 - the program's output, not a log line
        logger.info("Predictions: {}  Results: {}", run / "predictions", run / "results")


def weights_metadata(config: RunConfig, detector: Detector, inputs: InputFormat) -> dict[str, str]:
    """Facts stored inside a weights file: what it is, its input, its classes."""
    return {
        "detector": json.dumps({"name": config.detector.name, **config.detector.options}),
        "backbone": json.dumps({"name": config.backbone.name, **config.backbone.options} if config.backbone else None),
        "input": json.dumps({"size": inputs.size, "mean": inputs.mean, "std": inputs.std}),
        **detector.metadata(),
    }


def save_run_facts(run: Path, config: RunConfig, inputs: InputFormat) -> None:
    """Write the resolved configuration and the input statistics into the run folder."""
    import yaml

    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config.resolved(), sort_keys=False), encoding="utf-8")
    write_statistics(run / STATISTICS_FILE, inputs.mean, inputs.std)


def _takes_size(backbone: str) -> bool:
    factory = BACKBONES.get(backbone)
    target = inspect.signature(factory).parameters
    return "img_size" in target or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in target.values())


def _selection(config: RunConfig) -> str:
    select = config.evaluation.select
    if select.metric == "train_loss":
        return "selection: lowest mean training loss of an epoch after the first"
    if select.metric == "last":
        return "selection: the final weights"
    return f"selection: {select.metric} ({select.level}) on the val split of {', '.join(validation_words(config))}"


def describe(config: RunConfig, detector: Detector, train: FaceDataset, others: dict[str, FaceDataset]) -> str:
    """The plan of a run as text, for ``--dry-run``: data, class balance, parameter groups, steps."""
    lines = ["data"]
    for what, dataset in {"train": train, **others}.items():
        facts = dataset.summary()
        lines.append(
            f"  {what}: {facts['videos']} videos ({facts['real_videos']} real, {facts['fake_videos']} fake), "
            f"{facts['samples']} samples ({facts['real_samples']} real, {facts['fake_samples']} fake); "
            + ", ".join(f"{name} {count}" for name, count in facts["classes"].items())
        )
    groups = detector.parameter_groups(config.optimizer)
    trained = sum(p.numel() for group in groups for p in group["params"])
    total = sum(p.numel() for p in detector.parameters())
    lines.append(f"parameters: {total:,} in all, {trained:,} trained, in {len(groups)} groups")
    lines += [
        f"  lr x {group['lr_scale']:.6g}, weight decay {group['weight_decay']:g}: {len(group['params'])} tensors, "
        f"{sum(p.numel() for p in group['params']):,} parameters"
        for group in groups
    ]
    batch = config.trainer.batch_size
    plan = detector.batch_plan(train, batch, config.trainer.seed)
    per_epoch = plan.steps_per_epoch if plan else len(train) // batch
    steps = config.schedule.steps or per_epoch * (config.schedule.epochs or 0)
    lines += [
        f"plan: {steps} steps of {batch} samples ({per_epoch} per epoch), precision {config.trainer.precision}",
        _selection(config),
    ]
    return "\n".join(lines)
