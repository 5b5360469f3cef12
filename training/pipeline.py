"""From settings to objects, and from a trained detector to result files; shared by train.py and test.py."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from loguru import logger

from backbones.base import NORMALIZATIONS, Normalization
from backbones.weights import STATISTICS_FILE, write_statistics
from benchmark import metrics_fas
from benchmark.build import create_detector
from benchmark.config import Settings
from benchmark.data.augmentation import build_augmentation
from benchmark.data.cards import Word
from benchmark.data.datasets import FaceDataset, Video, check_overlap, corruptions_of, origins, select_videos
from benchmark.data.holdout import Loaded, training_and_development
from benchmark.data.readers import Listing, load_words
from benchmark.data.store import file_hash
from benchmark.data.transforms import EvalTransform
from benchmark.errors import ConfigError, DataError
from benchmark.evaluation import flat_metrics, metrics_of, summarise, video_scores
from benchmark.metrics_classes import class_summary
from benchmark.metrics_fas import equal_error_point, error_rates
from benchmark.predictions import Predictions
from benchmark.registry import BACKBONES
from benchmark.results import (
    SCHEMA,
    confusion_table,
    file_name,
    now,
    provenance,
    result_path,
    result_table,
    write_result,
)
from benchmark.schema import ClipConfig, RunConfig
from detectors.base import Detector
from training.dataset_statistics import measure_dataset
from training.distributed import Processes
from training.evaluate import score_dataset
from training.inputs import InputFormat
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
    loaded = _load(config, config.data.train, "train") if not holds_out(config, detector) else _divide(config)[0]
    if corruptions_of(loaded):
        raise ConfigError(f"Corruptions ({', '.join(corruptions_of(loaded))}) are for evaluation; train without '~'.")
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
    """Mean and std of all training images at a size (see ``training.dataset_statistics``)."""
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
        evaluation_transform(config, inputs),
        augmentation=augmentation,
        needs=detector.needs,
        clip=clip_config(config, detector),
        seed=config.trainer.seed,
        origin=chosen.origin,
    )


def evaluation_set(
    config: RunConfig, detector: Detector, inputs: InputFormat, words: Sequence[str], split: str
) -> FaceDataset:
    """Samples of the val or test split of some dataset words, without augmentation."""
    return _evaluation_set(config, detector, inputs, _load(config, words, split), split)


def validation_set(config: RunConfig, detector: Detector, inputs: InputFormat) -> FaceDataset | None:
    """The data that selects the checkpoint and gives the threshold; None when the last weights are taken as they are.

    It is the val split of ``data.val`` (or of the training sets), what ``data.holdout`` keeps out of training, or,
    under the published rule, the test set.
    """
    select = config.evaluation.select
    if select.rule == "published":
        logger.warning("evaluation.select.rule is 'published': the checkpoint is chosen on the TEST set.")
        return evaluation_set(config, detector, inputs, config.data.test, "test")
    if holds_out(config, detector):
        return _evaluation_set(config, detector, inputs, _divide(config)[1], "val")
    if select.metric in {"last", "train_loss"}:
        return None
    return evaluation_set(config, detector, inputs, validation_words(config), "val")


def holds_out(config: RunConfig, detector: Detector) -> bool:
    """Whether part of the training data is development data (see ``data.holdout``)."""
    wanted = config.data.holdout is not None and config.data.val is None and bool(config.data.train)
    return wanted and detector.can_predict and config.evaluation.select.rule == "validation"


def _divide(config: RunConfig) -> tuple[Loaded, Loaded]:
    assert config.data.holdout is not None
    return training_and_development(config.data.train, config.data.holdout, config.paths, config.data.labels)


def _evaluation_set(
    config: RunConfig, detector: Detector, inputs: InputFormat, loaded: list[tuple[Word, Listing]], split: str
) -> FaceDataset:
    counts = config.data.frames
    videos = select_videos(loaded, counts.val if split == "val" else counts.test, config.data.frame_select)
    return FaceDataset(
        videos,
        evaluation_transform(config, inputs),
        needs=detector.needs,
        clip=clip_config(config, detector),
        seed=config.trainer.seed,
        origin=origins(loaded),
        corruptions=corruptions_of(loaded),
    )


def _load(config: RunConfig, words: Sequence[str], split: str) -> list[tuple[Word, Listing]]:
    if not words:
        raise ConfigError(f"No {split} data: give --{split} DATASET ... or data.{split} in the configuration.")
    return load_words(words, split, config.paths, config.data.labels)


def validation_words(config: RunConfig) -> list[str]:
    """Datasets whose val split selects the checkpoint."""
    return list(config.data.train if config.data.val is None else config.data.val)


def selection_rule(config: RunConfig, detector: Detector) -> str:
    """Which data select the checkpoint and by what, in words."""
    select = config.evaluation.select
    if select.metric == "last":
        return "the last weights"
    if select.metric == "train_loss":
        return "lowest mean training loss of an epoch after the first"
    criterion = f"{select.metric} ({'video' if select.metric == 'hter' else select.level})"
    if select.rule == "published":
        return f"{criterion} on the TEST set (published rule)"
    if holds_out(config, detector):
        return f"{criterion} on the val split of the training sets, or {config.data.holdout:.0%} of their subjects"
    return f"{criterion} on the val split of {', '.join(validation_words(config))}"


def refuse_overlap(config: RunConfig, train: FaceDataset, others: dict[str, FaceDataset]) -> None:
    """Raise when evaluation videos are trained on, unless ``data.allow_overlap`` permits it."""
    for what, dataset in others.items():
        if not config.data.allow_overlap:
            check_overlap(train.videos, dataset.videos, what)


def evaluation_transform(config: RunConfig, inputs: InputFormat) -> EvalTransform:
    """What happens to a crop before it is scored."""
    return EvalTransform(inputs.size, config.data.resize, config.data.eval_transform == "center_crop")


def clip_config(config: RunConfig, detector: Detector) -> ClipConfig | None:
    """How clips are cut; None for a detector of frames."""
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
    part = "development part" if holds_out(config, detector) else "val split"
    return Threshold(1.0 - point.threshold, f"equal error rate of the videos in the {part} of {names}")


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
    trained = training_facts(weights)
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
            **summarise(scored.predictions),
            "counts": {
                **dataset.summary(),
                "samples": len(scored.predictions),
                "videos": len(set(scored.predictions.video)),
                "missing": len(scored.missing),
            },
            "missing": list(scored.missing[:100]),
            "data": {"fingerprint": dataset.fingerprint(), "origin": dataset.origin},
            "selection": selection or trained.get("selection"),
            "trained_on": trained.get("datasets"),
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
        types = attack_types(scored.predictions, dataset)
        result["operating_point"] = _operating_point(scored.predictions, types, threshold, config)
        if scored.predictions.classes:
            result["classes"] = class_summary(scored.predictions)
        if config.evaluation.metrics == "fas":
            result["intervals"]["fas"] = _fas_intervals(scored.predictions, types, threshold)
        write_result(result_path(run, word), result)
        results.append(result)
    return results


def attack_types(predictions: Predictions, dataset: FaceDataset) -> list[str]:
    """Attack type of every video in first-seen order: what its index says (``facts.attack``), else its class string."""
    records = {video.record.video_id: video.record for video in dataset.videos}
    videos = [records[video] for video in dict.fromkeys(predictions.video)]
    return [str(record.extra.get("facts", {}).get("attack") or record.cls) for record in videos]


def _operating_point(
    predictions: Predictions, types: Sequence[str], threshold: Threshold | None, config: RunConfig
) -> dict[str, Any] | None:
    """Video-level error rates at the development threshold; the FAS block when the protocol asks for it."""
    video = video_scores(predictions)
    live_threshold = None if threshold is None else 1.0 - threshold.value
    point: dict[str, Any] = {}
    if threshold is not None and live_threshold is not None:
        rates = error_rates(1.0 - video.scores, video.labels == 0, live_threshold)
        point = {"threshold": threshold.value, "origin": threshold.origin, "far": rates.far, "frr": rates.frr}
    if config.evaluation.metrics == "fas":
        point["fas"] = metrics_fas.summary(video, types, live_threshold)
    return point or None


def _fas_intervals(predictions: Predictions, types: Sequence[str], threshold: Threshold | None) -> dict[str, Any]:
    live_threshold = None if threshold is None else 1.0 - threshold.value
    return metrics_fas.intervals(video_scores(predictions), types, live_threshold)


def report(results: Sequence[dict[str, Any]], run: Path) -> None:
    """Print the result table and where the files are."""
    if results:
        tables = [result_table(results), *(confusion_table(result) for result in results if "classes" in result)]
        print(*tables, sep="", end="")  # noqa: T201 - the program's output, not a log line
        logger.info("Predictions: {}  Results: {}", run / "predictions", run / "results")


def weights_metadata(
    config: RunConfig, detector: Detector, inputs: InputFormat, origin: Mapping[str, Any]
) -> dict[str, str]:
    """Facts stored inside a weights file: what it is, its input, its classes, how its training data was prepared.

    Args:
        config, detector, inputs: of the run.
        origin: of the training set, see ``benchmark.data.datasets.origins``.
    """
    prepared = {
        word: {"index_sha256": facts["index_sha256"], "settings": facts["preprocessing"].get("settings")}
        for word, facts in origin.items()
    }
    return {
        "training_data": json.dumps(prepared),
        "detector": json.dumps({"name": config.detector.name, **config.detector.options}),
        "backbone": json.dumps({"name": config.backbone.name, **config.backbone.options} if config.backbone else None),
        "input": json.dumps({"size": inputs.size, "mean": inputs.mean, "std": inputs.std}),
        "training": json.dumps({"datasets": config.data.train, "selection": config.evaluation.select.model_dump()}),
        **detector.metadata(),
    }


def training_facts(weights: Path | None) -> dict[str, Any]:
    """What a weights file of this project says about its training: ``datasets`` and ``selection``; else nothing."""
    if weights is None or weights.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        facts: dict[str, Any] = json.loads((file.metadata() or {}).get("training", "{}"))
    return facts


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
        if facts["videos_with_fewer_frames"]:
            lines.append(f"    {facts['videos_with_fewer_frames']} videos have fewer frames than asked for")
    groups = detector.parameter_groups(config.optimizer)
    lines += [f"parameters, trained in {len(groups)} groups", parameter_table(detector)]
    lines += [
        f"  lr x {group['lr_scale']:.6g}, weight decay {group['weight_decay']:g}: {len(group['params'])} tensors, "
        f"{sum(p.numel() for p in group['params']):,} parameters"
        for group in groups
    ]
    batch = config.trainer.batch_size
    own = detector.batch_plan(train, batch, config.trainer.seed)
    per_epoch = (own or train.default_plan(batch, config.trainer.seed, config.data.balance)).steps_per_epoch
    steps = config.schedule.steps or per_epoch * (config.schedule.epochs or 0)
    lines += [
        f"plan: {steps} steps of {batch} samples ({per_epoch} per epoch), precision {config.trainer.precision}",
        f"selection: {selection_rule(config, detector)}",
    ]
    return "\n".join(lines)


def parameter_table(detector: Detector) -> str:
    """Numbers of parameters and of trained ones by part, as aligned text."""
    counts = detector.parameter_counts()
    total, trained = (sum(column) for column in zip(*counts.values(), strict=True))
    rows = [(part, f"{all_:,}", f"{own:,}") for part, (all_, own) in counts.items()]
    rows = [("part", "parameters", "trained"), *rows, ("total", f"{total:,}", f"{trained:,}")]
    table = [f"  {part:<20}{all_:>14}{own:>14}" for part, all_, own in rows]
    return "\n".join([*table[:-1], f"{table[-1]}  ({trained / total:.1%})"])
