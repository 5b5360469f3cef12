"""From the settings of a run to its detector, its data and the facts that are stored with it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from loguru import logger

from backbones.base import NORMALIZATIONS, Normalization
from backbones.weights import STATISTICS_FILE, write_statistics
from benchmark.build import create_detector
from benchmark.config import Settings
from benchmark.data.augmentation import build_augmentation
from benchmark.data.cards import Word
from benchmark.data.datasets import FaceDataset, Video, check_overlap, corruptions_of, origins, select_videos
from benchmark.data.holdout import Loaded, training_and_development
from benchmark.data.readers import Listing, load_words
from benchmark.data.transforms import EvalTransform
from benchmark.errors import ConfigError, DataError
from benchmark.registry import BACKBONES
from benchmark.schema import ClipConfig, RunConfig
from detectors.base import Detector
from training.dataset_statistics import measure_dataset
from training.distributed import Processes
from training.inputs import InputFormat


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
