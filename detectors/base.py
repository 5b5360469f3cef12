"""The contract of a detector, and the plain classifier that most of them are.

The trainer calls, in this order: ``parameter_groups`` / ``optimizers`` once; for every optimiser step
``optimize`` (which by default runs ``training_step`` on each micro-batch) and ``after_step``; and for validation
and tests ``predict``. Whatever a method needs beyond that is a hook here with a default, never a case in the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import Field, field_validator
from torch import nn
from torch.nn import functional as F

from backbones.base import Backbone, Normalization
from backbones.weights import (
    check_fit,
    read_checkpoint,
    resolve_weights,
    state_dict_of,
    stored_normalization,
)
from benchmark.config import Section
from benchmark.data.cards import REAL_KIND
from benchmark.data.datasets import FaceDataset, collate
from benchmark.data.sampling import BatchPlan
from benchmark.errors import CheckpointError, DataError, TrainingError
from benchmark.schema import OptimizerConfig

Batch = dict[str, Any]
Losses = dict[str, torch.Tensor]
ParameterGroup = dict[str, Any]


class Engine(Protocol):
    """What the trainer offers a method that runs its own order of steps."""

    total_steps: int

    @property
    def step_number(self) -> int:
        """Optimiser steps done."""
        ...

    def forward(self, batch: Batch) -> Losses:
        """``training_step`` under autocast, through DDP."""
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate gradients (scaled under fp16)."""
        ...

    def draw_alike(self) -> None:
        """Let the next forward pass make the same draws for a whole batch (mixup's lambda) as the step's first one."""
        ...

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged between processes only in the last micro-batch."""
        ...

    def step(self, optimizer: str = "main") -> None:
        """Clip, update and clear gradients of one optimiser."""
        ...


class ImportedTraining(NamedTuple):
    """What continues a run besides the weights.

    Attributes:
        epochs: finished epochs.
        optimizers: state dicts by name.
        scaler: state dict of the gradient scaler, or None.
    """

    epochs: int
    optimizers: dict[str, Mapping[str, Any]]
    scaler: Mapping[str, Any] | None


class DetectorConfig(Section):
    """Settings of a detector; each method adds its own."""


class Detector(nn.Module):
    """Base of all methods. Subclasses take ``(config)`` or ``(config, backbone)``.

    Attributes:
        Config: the method's settings.
        needs: optional sample parts it asks for: parsing, mask, landmarks.
        learns_from: ``real`` when fakes in the training data are to be left out.
        uses_clips: True when samples are clips (``batch["clip"]``), False for frames (``batch["image"]``).
        has_unused_parameters: some trainable parameters may get no gradient in a step (DDP must look for them).
        input_size: side of its square input in pixels.
        memory_format: layout of its 4-D tensors (channels_last for CNNs).
        normalization: mean and std of its input; None when its weights do not tell.
        class_names: the classes a sample is sorted into, the first one real; more than two get a confusion matrix.
    """

    Config: ClassVar[type[DetectorConfig]] = DetectorConfig
    needs: frozenset[str] = frozenset()
    learns_from: ClassVar[Literal["all", "real"]] = "all"
    uses_clips: ClassVar[bool] = False
    has_unused_parameters: ClassVar[bool] = False
    input_size: int = 224
    memory_format: torch.memory_format = torch.contiguous_format
    normalization: Normalization | None = ((0.5,) * 3, (0.5,) * 3)
    class_names: tuple[str, ...] = ("real", "fake")

    def training_step(self, batch: Batch) -> Losses:
        """Losses of one micro-batch.

        Args:
            batch: ``image`` (B, 3, S, S) or ``clip`` (B, T, 3, S, S) float, normalised; ``label`` (B,) int64;
                ``video``, ``frame`` lists of strings; the parts in ``needs``.

        Returns:
            ``loss`` (scalar, minimised) and its parts, which are logged.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define training_step().")

    def predict(self, batch: Batch) -> torch.Tensor:
        """P(fake) per sample, (B,) float32 in [0, 1]. Self-supervised stages do not define it."""
        raise NotImplementedError(f"{type(self).__name__} makes no predictions; it is a pre-training stage.")

    def class_probabilities(self, batch: Batch) -> torch.Tensor:
        """Probability of every class in ``class_names``, (B, C) float32; P(fake) is what is not the first one's."""
        fake = self.predict(batch)
        return torch.stack([1.0 - fake, fake], dim=1)

    def check_training_data(self, dataset: FaceDataset) -> None:
        """Called once before training; raise when the method cannot learn from these samples."""

    @property
    def can_predict(self) -> bool:
        """Whether the method scores samples."""
        return type(self).predict is not Detector.predict

    def optimize(self, engine: Engine, micro_batches: Sequence[Batch]) -> Losses:
        """One optimiser step; methods with several optimisers or an order of their own override it.

        Returns:
            Mean of every loss part over the micro-batches, on the device.
        """
        losses = self.accumulate_gradients(engine, micro_batches)
        engine.step()
        self._finish_micro_batch(engine, len(micro_batches), len(micro_batches))
        return losses

    def accumulate_gradients(self, engine: Engine, micro_batches: Sequence[Batch]) -> Losses:
        """Forward and backward of every micro-batch, without an update.

        Returns:
            Mean of every loss part over the micro-batches, on the device.
        """
        sums: Losses = {}
        for number, batch in enumerate(micro_batches, 1):
            engine.draw_alike()
            with engine.accumulating(last=number == len(micro_batches)):
                losses = engine.forward(batch)
                engine.backward(losses["loss"] / len(micro_batches))
            for name, value in losses.items():
                part = value.detach().float() / len(micro_batches)
                sums[name] = sums[name] + part if name in sums else part
            if number < len(micro_batches):
                self._finish_micro_batch(engine, number, len(micro_batches))
        return sums

    def _finish_micro_batch(self, engine: Engine, number: int, count: int) -> None:
        self.after_micro_batch(engine.step_number * count + number - 1, engine.total_steps * count)

    def after_micro_batch(self, micro_batch: int, total: int) -> None:
        """Called after every micro-batch; after the last one of a step the weights are updated already.

        Args:
            micro_batch: number of this one in the whole run, from 0.
            total: micro-batches of the whole run (of one process).
        """

    def after_step(self, step: int, total_steps: int) -> None:
        """Called after every optimiser step (a momentum network is updated here)."""

    def process_local_state(self) -> set[str]:
        """Names of parameters and buffers that differ between processes on purpose; DDP leaves them alone."""
        return set()

    def parameter_groups(self, settings: OptimizerConfig) -> list[ParameterGroup]:
        """Trainable parameters grouped by learning-rate factor (``lr_scale``) and weight decay."""
        named = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return group_parameters(named, {}, set(), settings)

    def optimizers(
        self, settings: OptimizerConfig, build: Callable[[list[ParameterGroup]], torch.optim.Optimizer]
    ) -> dict[str, torch.optim.Optimizer]:
        """Optimisers by name; the default has one, ``main``, over ``parameter_groups``."""
        return {"main": build(self.parameter_groups(settings))}

    def batch_plan(self, dataset: FaceDataset, batch_size: int, seed: int) -> BatchPlan | None:
        """A sample order of the method's own (pairs, domains); None = shuffled, balanced as configured."""
        return None

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        """Samples to a batch, in the data-loader worker."""
        return collate(samples)

    def visualize(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Pictures (3, H, W) in [0, 1] for TensorBoard, from one training batch."""
        return {}

    def part_of(self, name: str) -> str:
        """The part of the method a parameter belongs to, for tables; by default its first component."""
        return name.split(".", 1)[0]

    def parameter_counts(self) -> dict[str, tuple[int, int]]:
        """Numbers of parameters and of trained ones, by part."""
        counts: dict[str, tuple[int, int]] = {}
        for name, parameter in self.named_parameters():
            size, part = parameter.numel(), self.part_of(name)
            total, trained = counts.get(part, (0, 0))
            counts[part] = (total + size, trained + size * parameter.requires_grad)
        return counts

    def metadata(self) -> dict[str, str]:
        """Facts stored inside the weights file."""
        return {}

    def import_training(self, reference: str) -> ImportedTraining:
        """Load the weights of a training checkpoint that another program wrote, to continue its run here.

        Raises:
            CheckpointError: the method knows no such format, or the file does not fit.
        """
        raise CheckpointError(f"{type(self).__name__} cannot continue runs of other programs (asked for {reference}).")

    def load_weights(self, reference: str) -> Path:
        """Load weights of this detector, strictly, and the normalisation they were trained with.

        Args:
            reference: file, run folder or hub reference.

        Returns:
            The file that was read.

        Raises:
            CheckpointError: missing, unsafe, or of another architecture.
        """
        path = resolve_weights(reference, {})
        content = read_checkpoint(path)
        own = self.state_dict()
        self.load_state_dict(
            check_fit(own, self.adapt_state(state_dict_of(content, path), content), path, may_miss=set())
        )
        self.normalization = stored_normalization(content, path)
        return path

    def adapt_state(self, state: dict[str, torch.Tensor], content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Published key layouts to this detector's own; the default changes nothing."""
        return state


class ClassifierConfig(DetectorConfig):
    """Settings of a classifier on a pooled feature."""

    classes: list[str] = Field(["real", "fake"], min_length=2)
    """Output classes in order; the first is the real / bona fide one, P(fake) = 1 - P(first). With more than two, the
    others are kinds of fakes as dataset cards name them, e.g. [real, deepfake, diffusion, spoof]."""
    weights_classes: list[str] | None = None
    """Output order of a weights file that does not say it itself (FSFM's published files: [fake, real])."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Probability mass moved from the true class to all classes."""
    mixup: float = Field(0.0, ge=0)
    """Mixup alpha; 0 = off."""
    cutmix: float = Field(0.0, ge=0)
    """CutMix alpha; 0 = off. With both on, each batch uses one of them, at even odds."""
    head_init_std: float = Field(0.02, gt=0)
    """Standard deviation of the head's initial weights (truncated normal); the bias starts at 0."""
    head_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the head."""

    @field_validator("weights_classes")
    @classmethod
    def _same_classes(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError(f"detector.weights_classes names a class twice: {value}")
        return value


class Classifier(Detector):
    """A backbone, a linear head, cross entropy; the base of frame-level detectors.

    Args:
        config: see ``ClassifierConfig``.
        backbone: gives the pooled feature (B, D).

    Attributes:
        class_rows: parameters with one row per class, reordered when a weights file has another class order.
    """

    Config: ClassVar[type[DetectorConfig]] = ClassifierConfig
    class_rows: ClassVar[tuple[str, ...]] = ("head.weight", "head.bias")
    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.class_names = tuple(config.classes)
        self.backbone = backbone
        self.input_size = backbone.input_size
        self.normalization = backbone.normalization
        self.memory_format = backbone.memory_format
        self.dropout = nn.Dropout(config.head_dropout)
        head = nn.Linear(backbone.embed_dim, len(config.classes))
        nn.init.trunc_normal_(head.weight, std=config.head_init_std)
        nn.init.zeros_(head.bias)
        self.head: nn.Module = head
        self._mixer: Any = None

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores (B, C) of images (B, 3, S, S), or of clips (B, T, 3, S, S) for a method that uses them."""
        out: torch.Tensor = self.head(self.dropout(self.backbone.extract(images).pooled))
        return out

    def training_step(self, batch: Batch) -> Losses:
        """Cross entropy, with mixup / CutMix and label smoothing when configured."""
        images, targets = self.mix(self.pixels(batch), self.class_of(batch))
        return {"loss": self.classification_loss(self.logits(images), targets)}

    def predict(self, batch: Batch) -> torch.Tensor:
        """1 - P(real)."""
        return probability_of_fake(self.class_probabilities(batch))

    def class_probabilities(self, batch: Batch) -> torch.Tensor:
        """See ``Detector.class_probabilities``; the softmax in float32."""
        return F.softmax(self.logits(self.pixels(batch)).float(), dim=-1)

    def class_of(self, batch: Batch) -> torch.Tensor:
        """Class index of every sample, (B,) int64: its label, or with several kinds of fakes its kind's place."""
        index: torch.Tensor = batch["label"] if len(self.class_names) == 2 else batch["class"]
        return index

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        """See ``Detector.collate``; several kinds of fakes add ``class`` (B,) int64, -1 for an unknown kind."""
        batch = super().collate(samples)
        if len(self.class_names) > 2 and "kind" in batch:
            places = {name: place for place, name in enumerate(self._kinds())}
            batch["class"] = torch.tensor([places.get(kind, -1) for kind in batch["kind"]])
        return batch

    def check_training_data(self, dataset: FaceDataset) -> None:
        """With several kinds of fakes: every sample's kind must be one of them, and every kind must be there.

        Raises:
            DataError: it is not so; names the dataset and what to add to its card, or the kind without samples.
        """
        if len(self.class_names) == 2:
            return
        for video in dataset.videos:
            if video.kind not in self._kinds():
                raise DataError(
                    f"{video.dataset}: the kind of its class {video.record.cls} is {video.kind or 'not given'}, but "
                    f"the detector sorts into {', '.join(self._kinds())}. Say it in the dataset's card, e.g. "
                    f"kind: {self.class_names[1]} (or kinds: {{{video.record.cls}: ..}} for single classes)."
                )
        for kind in self._kinds():
            if all(video.kind != kind for video in dataset.videos):
                raise DataError(f"The training set has no sample of the class {kind}; add data, or change its classes.")

    def _kinds(self) -> tuple[str, ...]:
        """Kinds of samples in the order of the classes; the first class, whatever it is called, is the real one."""
        return (REAL_KIND, *self.class_names[1:])

    def pixels(self, batch: Batch) -> torch.Tensor:
        """Frames (B, 3, S, S) of a batch, or clips (B, T, 3, S, S) for a method that uses them."""
        images: torch.Tensor = batch["clip" if self.uses_clips else "image"]
        return images

    def mix(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixup or CutMix of a batch with its own reverse (timm's, mode "batch").

        Args:
            images: (B, 3, S, S), or clips (B, T, 3, S, S) whose frames are all mixed alike; B even, which the
                symmetric batch shares of ``sampling.chunk`` keep.
            labels: (B,) int64.

        Returns:
            Images and targets: (B,) labels when mixing is off, else (B, C) soft targets with smoothing inside.
        """
        if not (self.config.mixup or self.config.cutmix) or not self.training:
            return images, labels
        if len(images) % 2:
            raise TrainingError(
                f"Mixup and CutMix pair the samples of a batch, and this share of it has {len(images)}. Choose "
                "trainer.batch_size so that every process and micro-batch gets an even number."
            )
        if self._mixer is None:
            from timm.data.mixup import Mixup

            self._mixer = Mixup(
                mixup_alpha=self.config.mixup,
                cutmix_alpha=self.config.cutmix,
                label_smoothing=self.config.label_smoothing,
                num_classes=len(self.config.classes),
            )
        planes = images.clone().flatten(1, -3)  # timm cuts boxes out of the last two of four axes
        mixed, targets = self._mixer(planes, labels)
        return mixed.view(images.shape), targets

    def classification_loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy of (B, C) logits against (B,) labels (smoothed) or (B, C) soft targets."""
        smoothing = self.config.label_smoothing if targets.ndim == 1 else 0.0
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def parameter_groups(self, settings: OptimizerConfig) -> list[ParameterGroup]:
        """Groups with layer-wise learning-rate decay over the backbone's depth; the head is at full rate."""
        layers = {f"backbone.{name}": layer for name, layer in self.backbone.layer_ids().items()}
        exempt = {f"backbone.{name}" for name in self.backbone.no_weight_decay()}
        named = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return group_parameters(named, layers, exempt, settings)

    def metadata(self) -> dict[str, str]:
        """Class order, so that a score can never be read the wrong way round."""
        return {"classes": ",".join(self.config.classes)}

    def adapt_state(self, state: dict[str, torch.Tensor], content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Published flat layout (``blocks.*`` beside ``head.*``) to ours, head rows in our class order."""
        if not any(key.startswith("backbone.") for key in state):
            own = {name for name, _ in self.named_children()}
            state = {key if key.split(".")[0] in own else f"backbone.{key}": value for key, value in state.items()}
        inner = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
        outer = {key: value for key, value in state.items() if not key.startswith("backbone.")}
        state = {**outer, **{f"backbone.{key}": value for key, value in self.backbone.own_keys(inner).items()}}
        stored = content.get("metadata", {}).get("classes")
        order = stored.split(",") if stored else self.config.weights_classes
        if order is None:
            raise CheckpointError(
                "The weights file does not say which output is real and which is fake. Say it: "
                "detector.weights_classes='[fake, real]' (FSFM's published files) or '[real, fake]' (DeepfakeBench's)."
            )
        if sorted(order) != sorted(self.config.classes):
            raise CheckpointError(f"The weights are for classes {order}, the detector has {self.config.classes}.")
        rows = [order.index(name) for name in self.config.classes]
        for key in self.class_rows:
            if key in state and len(state[key]) == len(rows):
                state[key] = state[key][rows]
        return state


def probability_of_fake(probabilities: torch.Tensor) -> torch.Tensor:
    """(B, C) class probabilities, the first class real, to P(fake) (B,); the sum may round to just above 1."""
    return probabilities[:, 1:].sum(-1).clamp(max=1.0)


def group_parameters(
    named: Mapping[str, nn.Parameter], layers: Mapping[str, int], exempt: set[str], settings: OptimizerConfig
) -> list[ParameterGroup]:
    """Optimiser groups keyed by (layer, weight decay or not), in order of first appearance.

    Args:
        named: trainable parameters.
        layers: depth per name; names without one (heads) are at the top.
        exempt: names without weight decay besides 1-D tensors.
        settings: ``layer_decay`` d gives a group at layer i of n the factor d^(n - i); null gives 1 everywhere.

    Returns:
        Groups with ``params``, ``names``, ``lr_scale``, ``weight_decay``.
    """
    top = max(layers.values(), default=0)
    groups: dict[tuple[int, bool], ParameterGroup] = {}
    for name, parameter in named.items():
        layer = layers.get(name, top) if settings.layer_decay is not None else top
        decays = settings.decay_vectors or (parameter.ndim > 1 and name not in exempt)
        scale = 1.0 if settings.layer_decay is None else settings.layer_decay ** (top - layer)
        group = groups.setdefault(
            (layer, decays),
            {"params": [], "names": [], "lr_scale": scale, "weight_decay": settings.weight_decay * decays},
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())
