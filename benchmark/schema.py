"""The settings of a run: every key a YAML file may hold, with its default and one sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from benchmark.config import PluginSpec, Section, Settings

Level = Literal["frame", "video"]
FrameCount = Annotated[int, Field(ge=1)] | Literal["all"]


class FrameCounts(Section):
    """Frames used per video, per split; ``all`` keeps every frame of the index."""

    train: FrameCount = 32
    """Frames of every training video."""
    train_real: FrameCount | None = None
    """Frames of real training videos when they differ (FSFM's FF++ uses 128 against 32 to balance classes)."""
    val: FrameCount = 32
    """Frames of every validation video."""
    test: FrameCount = 32
    """Frames of every test video."""


class ClipConfig(Section):
    """How clips are cut from the selected frames of a video."""

    length: int = Field(8, ge=2)
    """Frames per clip (T)."""
    resample_each_epoch: bool = True
    """Draw new training starts every epoch; false draws them once, as published loaders do."""
    eval_starts: Literal["fixed", "random"] = "fixed"
    """fixed: the same evenly spaced clips in every evaluation; random: drawn once, as StA's and DF40's tests do."""
    short_videos: Literal["error", "skip", "repeat_last"] = "skip"
    """What happens to a video with fewer frames than a clip; skipped ones are counted in the report."""


class DataConfig(Section):
    """What is read, and in which form samples reach the detector."""

    train: list[str] = []
    """Dataset words, e.g. FF++, FF++/Deepfakes@c40, demo/FF++; their train splits are joined."""
    val: list[str] | None = None
    """Dataset words whose val split selects the checkpoint; null = those of train. Never test data."""
    holdout: float | None = Field(None, gt=0, lt=0.5)
    """Share of the training subjects (videos, where subjects are not known) that is not trained on but selects the
    checkpoint and the threshold, in training sets without a val split, such as MCIO's; those that have one use it."""
    test: list[str] = []
    """Dataset words whose test split is scored; one result file each."""
    image_size: int | None = Field(None, ge=8)
    """Side of the square input in pixels; null = what the backbone was built for."""
    resize: Literal[
        "pil_bicubic",
        "pil_bilinear",
        "pil_lanczos",
        "cv2_cubic",
        "cv2_linear",
        "cv2_area",
        "torch_bicubic",
        "torch_bilinear",
    ] = "pil_bicubic"
    """Library and filter of the resize in evaluation; part of the number."""
    eval_transform: Literal["direct", "center_crop"] = "direct"
    """direct: the whole crop to image_size; center_crop: the middle 87.5 %."""
    normalize: (
        Literal["backbone", "dataset", "imagenet", "vggface2", "clip", "half", "none"] | dict[str, list[float]]
    ) = "backbone"
    """Mean and std: the backbone's own, those of the training images (measured once), a named set, or
    {mean: [..], std: [..]}."""
    frames: FrameCounts = FrameCounts()
    """Frames per video."""
    frame_select: Literal["uniform", "first"] = "uniform"
    """uniform: spread over the video; first: the earliest ones, as DeepfakeBench's loader does."""
    clip: ClipConfig | None = None
    """Cut clips instead of frames; set by detectors that need them."""
    balance: Literal["natural", "class", "manipulation", "kind", "dataset"] = "natural"
    """natural: every sample once an epoch; class: as many real as fake draws; manipulation: equal per class string;
    kind: equal per kind (real, deepfake, diffusion, spoof); dataset: equal per dataset word."""
    allow_overlap: bool = False
    """Permit the same videos in training and test."""
    on_error: Literal["fail", "skip"] = "fail"
    """A training sample that cannot be read: stop, or leave it out of its batch and count it."""
    workers: int = Field(2, ge=0)
    """Data-loader processes per training process."""
    labels: dict[str, int] = {}
    """Extra class strings: 0 real, 1 fake."""


class OptimizerConfig(Section):
    """Optimiser and its parameter groups."""

    name: Literal["adamw", "adam", "sgd", "lars"] = "adamw"
    """Update rule."""
    lr: float | None = Field(None, gt=0)
    """Learning rate; wins over base_lr."""
    base_lr: float | None = Field(None, gt=0)
    """Learning rate per 256 samples of the global batch."""
    weight_decay: float = Field(0.05, ge=0)
    """Not applied to 1-D tensors and to what the detector exempts."""
    decay_vectors: bool = False
    """Apply weight decay to biases, norms and tokens too (plain torch optimisers, as in DeepfakeBench and FAS)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's moment decay rates."""
    eps: float = 1e-8
    """Adam's epsilon."""
    momentum: float = 0.9
    """Momentum of SGD and LARS."""
    layer_decay: float | None = Field(None, ge=0, le=1)
    """Learning-rate factor per layer of depth below the head; null = none."""

    @model_validator(mode="after")
    def _one_rate(self) -> OptimizerConfig:
        if self.lr is None and self.base_lr is None:
            raise ValueError("give optimizer.lr, or optimizer.base_lr (per 256 samples)")
        return self


class ScheduleConfig(Section):
    """Length of the run and the learning rate over it, evaluated at every optimiser step."""

    name: Literal["cosine", "constant", "linear"] = "cosine"
    """Shape after the warm-up."""
    epochs: int | None = Field(None, ge=1)
    """Passes over the training set; give this or steps."""
    steps: int | None = Field(None, ge=1)
    """Optimiser steps; give this or epochs."""
    warmup_epochs: float = Field(0, ge=0)
    """Linear warm-up from 0, in epochs (runs counted in epochs)."""
    warmup_steps: int = Field(0, ge=0)
    """Linear warm-up from 0, in steps (runs counted in steps)."""
    hold_epochs: float = Field(0, ge=0)
    """Epochs at the full rate between warm-up and decay (runs counted in epochs)."""
    min_lr: float = Field(0.0, ge=0)
    """Final learning rate of cosine and linear."""

    @model_validator(mode="after")
    def _consistent(self) -> ScheduleConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either schedule.epochs or schedule.steps")
        if self.epochs is not None and self.warmup_steps:
            raise ValueError("schedule.warmup_steps goes with schedule.steps; use warmup_epochs")
        if self.steps is not None and self.warmup_epochs:
            raise ValueError("schedule.warmup_epochs goes with schedule.epochs; use warmup_steps")
        if self.steps is not None and self.hold_epochs:
            raise ValueError("schedule.hold_epochs goes with schedule.epochs")
        length = self.epochs or self.steps or 0
        warmup = self.warmup_epochs or self.warmup_steps
        unit = "epochs" if self.epochs else "steps"
        if warmup >= length:
            raise ValueError(
                f"schedule.warmup_{unit} is {warmup:g} but schedule.{unit} is {length}; "
                "warm-up must be shorter than the run"
            )
        if self.hold_epochs and warmup + self.hold_epochs >= length:
            raise ValueError(
                f"schedule.warmup_epochs {warmup:g} and hold_epochs {self.hold_epochs:g} leave nothing of "
                f"schedule.epochs {length} for the decay"
            )
        return self


class SelectConfig(Section):
    """Which checkpoint is tested. Only validation data is looked at."""

    metric: Literal["loss", "auc", "eer", "ap", "acc", "hter", "last", "train_loss"] = "auc"
    """Criterion on the validation set (loss = cross entropy over all samples, hter = at the set's own equal-error
    point, always per video); last = the final weights; train_loss = lowest mean training loss of an epoch after the
    first (pre-training stages, which have no validation score)."""
    level: Level = "video"
    """Level of auc, eer, ap and acc."""
    rule: Literal["validation", "published"] = "validation"
    """validation: only development data is looked at. published: the best of all evaluations ON THE TEST SET, as
    published FAS tables do; such results are marked and the last weights are reported beside them."""


class TrainerConfig(Section):
    """How the run is executed."""

    batch_size: int = Field(32, ge=1)
    """Samples per optimiser step, over all processes and accumulation steps together."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches per optimiser step."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto = bf16 where the GPU has it, fp32 on the CPU."""
    clip_grad: float | None = Field(None, gt=0)
    """Largest global gradient norm; null = no clipping."""
    seed: int = Field(0, ge=0)
    """Seed of initial weights, sample order and augmentation."""
    save_every_steps: int | None = Field(None, ge=1)
    """Extra checkpoints inside an epoch; null = at the end of each epoch."""
    keep_every_epochs: int | None = Field(None, ge=1)
    """Keep the checkpoint of every such epoch for good; null = only the last and the best are kept."""
    validate_every_steps: int | None = Field(None, ge=1)
    """Validation interval; null = at the end of each epoch."""
    log_every_steps: int = Field(10, ge=1)
    """Interval of log lines; also when device values are read."""
    picture_every_steps: int | None = Field(None, ge=1)
    """Interval of pictures, for methods that draw any; null = at the end of each epoch."""
    compile: bool = False
    """torch.compile the training step."""
    sync_batchnorm: bool = False
    """Share batch statistics over processes."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""


class EvaluationConfig(Section):
    """How predictions are made and summarised."""

    batch_size: int = Field(64, ge=1)
    """Samples per forward pass and process."""
    allow_missing: bool = False
    """Score what can be read when frames are missing, and record how many are."""
    select: SelectConfig = SelectConfig()
    """Checkpoint selection."""
    metrics: Literal["detection", "fas"] = "detection"
    """fas adds HTER, TPR@FPR=1 % and the APCER family to the result files."""


class PathsConfig(Section):
    """Where things are, relative to the working directory."""

    data: Path = Path("data")
    """Stores and image folders (also DeepfakeBench's datasets/rgb and datasets/lmdb)."""
    indexes: Path = Path("datasets_json")
    """JSON indexes."""
    runs: Path = Path("runs")
    """Run folders."""


class ProtocolRef(Section):
    """Which protocol a run belongs to."""

    name: str
    """Its name."""
    version: int
    """Its version."""
    fold: str = ""
    """Which of its runs, when it has several."""
    world: str | None = None
    """World its dataset words were moved into (demo), or null for the real datasets."""
    changes: dict[str, str | None] = {}
    """Dataset words that the world replaces by another one, or leaves out (null)."""


class RunConfig(Section):
    """A whole run."""

    name: str | None = None
    """Name of the run folder; null = the file's stem."""
    protocol: ProtocolRef | None = None
    """Set by --protocol."""
    detector: PluginSpec
    """The method and its options: python -m benchmark list detectors."""
    backbone: PluginSpec | None = None
    """The network and its options: python -m benchmark list backbones."""
    augmentation: PluginSpec = PluginSpec(name="none")
    """Training augmentation and its options."""
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-4)
    schedule: ScheduleConfig = ScheduleConfig(epochs=10)
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    paths: PathsConfig = PathsConfig()

    @field_validator("name")
    @classmethod
    def _inside_runs(cls, value: str | None) -> str | None:
        if value is not None and any(part in {"", ".", ".."} for part in value.replace("\\", "/").split("/")):
            raise ValueError(f"name '{value}' is not a folder below paths.runs; give the run a plain name")
        return value

    def resolved(self) -> dict[str, Any]:
        """Everything, defaults included, as plain YAML/JSON values."""
        return self.model_dump(mode="json")


def load_run_config(path: Path, overrides: list[str] | None = None) -> tuple[RunConfig, Settings]:
    """Read, merge and validate a run's YAML; the plugins' own options are checked when they are built.

    Raises:
        ConfigError: see ``Settings.from_file`` and ``Settings.validate``.
    """
    settings = Settings.from_file(path, overrides or [])
    settings.values.setdefault("name", path.stem)
    return settings.validate(RunConfig), settings
