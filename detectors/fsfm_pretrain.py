"""FSFM / FS-VFM self-supervised pre-training on unlabelled real faces.

FSFM (CVPR 2025, arXiv 2412.12032), FS-VFM (arXiv 2510.10663): a masked auto-encoder whose mask follows the parts of the
face (CRFR-P), with an extra pixel loss on the covered region and a comparison of the masked view's feature with that
of the whole face, seen by a slowly moving copy of the network. The encoder is what fine-tuning starts from.

Differences from the official code, whose multi-GPU runs never moved the target (``docs/pretraining.md``): the target
follows by EMA; a region that no image of a batch shows gives a region loss of 0 instead of NaN; every image hides
exactly the same number of patches; masks are drawn on the device.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from loguru import logger
from pydantic import Field
from torch import distributed

from backbones.base import Backbone
from backbones.fsfm_checkpoints import PretrainingCheckpoint, read_pretraining, target_file
from backbones.fsfm_networks import OnlineNetwork, PretrainingShape, TargetNetwork, patchify, unpatchify
from backbones.fsfm_vit import PUBLISHED, FSFMViT
from backbones.weights import check_fit, resolve_weights
from benchmark.config import PluginSpec
from benchmark.errors import CheckpointError, ConfigError
from benchmark.registry import DETECTORS
from benchmark.schema import OptimizerConfig
from detectors.base import Batch, Detector, DetectorConfig, ImportedTraining, Losses, ParameterGroup
from detectors.contrastive import ContrastiveName, Samples, contrastive_loss
from detectors.masking import Masks, build_masking, hidden_count, patch_parts

_SHOWN = 4  # images in a picture
_GREY = 0.5


class FSFMPretrainConfig(DetectorConfig):
    """Settings of the pre-training; the defaults are the published recipe."""

    masking: PluginSpec = PluginSpec(name="crfr_p")
    """Which patches are hidden: python -m benchmark list maskings."""
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    """Share of the patches that is hidden."""
    norm_pix: bool = True
    """Predict patches normalised by their own mean and standard deviation."""
    region_weight: float = Field(0.007, ge=0)
    """Weight of the extra pixel loss on the covered region."""
    contrast_weight: float = Field(0.1, ge=0)
    """Weight of the comparison with the target; 0 switches it off (a plain masked auto-encoder)."""
    contrast: ContrastiveName = "simsiam"
    """How the two features are compared."""
    contrast_samples: Samples = "all"
    """infonce and simclr: contrast with all other samples, or with the positive alone."""
    contrast_gather: bool = True
    """infonce, mocov3, simclr: others are those of all processes (the official code: of one process)."""
    target_update: Literal["ema", "frozen", "frozen_per_rank"] = "ema"
    """frozen keeps the initial target; frozen_per_rank gives every process its own, as the published runs had."""
    target_momentum: float = Field(0.996, ge=0, le=1)
    """Momentum of the target at the start; it rises to 1 by a half cosine."""
    ema_every: Literal["micro_step", "optimizer_step"] = "micro_step"
    """When the target moves."""
    networks: PretrainingShape = PretrainingShape()
    """Sizes of decoders and heads."""
    weights: str | None = None
    """Both networks start from here: a published checkpoint (its -te- file beside it) or a run folder."""
    target_weights: str | None = None
    """The target's file, when it is not beside ``weights``."""


@DETECTORS.register("fsfm_pretrain")
class FSFMPretrain(Detector):
    """FSFM / FS-VFM pre-training: masked auto-encoder with facial-region masks and a momentum target (CVPR 2025)."""

    Config: ClassVar[type[DetectorConfig]] = FSFMPretrainConfig
    learns_from: ClassVar[Literal["all", "real"]] = "real"

    def __init__(self, config: FSFMPretrainConfig, backbone: Backbone) -> None:
        super().__init__()
        if not isinstance(backbone, FSFMViT):
            raise ConfigError(
                f"Detector fsfm_pretrain trains the encoders fsfm_vit_*; {type(backbone).__name__} is none of them."
            )
        self.config = config
        self.input_size, self.normalization = backbone.input_size, None
        self.num_heads = backbone.num_heads
        self.patch_size = backbone.patch_embed.patch_size[0]
        self.patches = backbone.patch_embed.num_patches
        self.hidden = hidden_count(self.patches, config.mask_ratio)
        self.masking = build_masking(config.masking.name, **config.masking.options)
        self.needs = frozenset({"parsing"}) if self.masking.needs_parsing else frozenset()
        self.compare = contrastive_loss(config.contrast, config.contrast_samples, config.contrast_gather)
        self.target = TargetNetwork(copy.deepcopy(backbone), config.networks)
        self.online = OnlineNetwork(backbone, config.networks)
        self._pairs: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None
        self._start(keep_encoder=backbone.loaded_from is not None)

    def _start(self, *, keep_encoder: bool) -> None:
        """Initial weights of both networks."""
        self.online.initialise(keep_encoder=keep_encoder)
        self.target.requires_grad_(False)
        self._copy_online_to_target(self.online)
        if self.config.weights is not None:
            self._load_checkpoint(self._read(self.config.weights))
        if self._has_own_target:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch.initial_seed() + distributed.get_rank())
                stranger = copy.deepcopy(self.online)
                stranger.initialise(keep_encoder=False)
            self._copy_online_to_target(stranger)
        if not self.config.contrast_weight:
            unused = ("projector", "predictor", "rep_decoder_")
            for name, parameter in self.online.named_parameters():
                parameter.requires_grad_(parameter.requires_grad and not name.startswith(unused))

    @property
    def _has_own_target(self) -> bool:
        """Whether this process keeps a target that no other one has and no checkpoint holds."""
        per_rank = self.config.target_update == "frozen_per_rank"
        return per_rank and distributed.is_initialized() and distributed.get_rank() > 0

    # ------------------------------------------------------------------ one step

    def masks(self, batch: Batch) -> Masks:
        """Hidden and covered patches of a batch, (B, L) bool each."""
        if self.masking.needs_parsing:
            parts = patch_parts(batch["parsing"], self.patch_size)
        else:
            shape = (len(batch["image"]), self.patches)
            parts = torch.zeros(shape, dtype=torch.int16, device=batch["image"].device)
        return self.masking(parts, batch["seed"], self.hidden)

    def training_step(self, batch: Batch) -> Losses:
        """Pixel loss, region loss and comparison.

        Args:
            batch: ``image`` (B, 3, S, S) normalised; ``parsing`` (B, S, S) uint8 LaPa ids when the masking looks at it;
                ``seed`` (B,) int64.

        Returns:
            ``loss`` = ``rec_all`` + w * ``rec_sfr`` + w * ``cl``; ``target_spread`` is the standard deviation of the
            target's features over the batch (times the root of their width): 0 means that they have collapsed.
        """
        images, masks = batch["image"], self.masks(batch)
        visible = visible_patches(masks.hidden, self.patches - self.hidden)
        latent = self.online.encode(images, visible)
        errors = patch_errors(self.online.reconstruct(latent, visible), images, self.patch_size, self.config.norm_pix)
        losses = {"rec_all": masked_mean(errors, masks.hidden), "rec_sfr": masked_mean(errors, masks.covered)}
        losses["loss"] = losses["rec_all"] + self.config.region_weight * losses["rec_sfr"]
        if self.config.contrast_weight:
            with torch.no_grad():
                target = self.target(images)
            losses["cl"] = self.compare(self.online.compare(latent, visible), target)
            losses["loss"] = losses["loss"] + self.config.contrast_weight * losses["cl"]
            losses["target_spread"] = target.std(0, correction=0).mean() * target.shape[1] ** 0.5
        return losses

    def after_micro_batch(self, micro_batch: int, total: int) -> None:
        """Move the target (``ema_every: micro_step``)."""
        if self.config.ema_every == "micro_step":
            self._move_target(micro_batch, total)

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the target (``ema_every: optimizer_step``)."""
        if self.config.ema_every == "optimizer_step":
            self._move_target(step, total_steps)

    @torch.no_grad()
    def _move_target(self, step: int, total: int) -> None:
        if self.config.target_update != "ema" or not self.config.contrast_weight:
            return
        if self._pairs is None:
            online = dict(self.online.named_parameters())
            named = dict(self.target.named_parameters())
            self._pairs = list(named.values()), [online[name] for name in named]
        weight = 1.0 - target_momentum(step, total, self.config.target_momentum)
        torch._foreach_lerp_(*self._pairs, weight)

    def parameter_groups(self, settings: OptimizerConfig) -> list[ParameterGroup]:
        """Without, then with weight decay: the order of the published optimiser states."""
        return sorted(super().parameter_groups(settings), key=lambda group: float(group["weight_decay"]))

    # ------------------------------------------------------------------ checkpoints

    def process_local_state(self) -> set[str]:
        """The targets of ``frozen_per_rank``."""
        if self.config.target_update != "frozen_per_rank":
            return set()
        return {f"target.{name}" for name, _ in self.target.named_parameters()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As usual; a process with a target of its own keeps it."""
        if self._has_own_target:
            own = {f"target.{key}": value for key, value in self.target.state_dict().items()}
            state_dict = {**state_dict, **own}
        return super().load_state_dict(state_dict, strict, assign)

    def metadata(self) -> dict[str, str]:
        """Attention heads, which the weights do not show."""
        return {"num_heads": str(self.num_heads)}

    def import_training(self, reference: str) -> ImportedTraining:
        """Continue a published run: both networks, AdamW's state, the gradient scaler and the epoch."""
        found = self._read(reference)
        if found.optimizer is None or found.epoch is None:
            raise CheckpointError(
                f"{reference}: holds no optimiser state or epoch to continue from. "
                f"To start a new run from its weights: detector.weights={reference}"
            )
        self._load_checkpoint(found)
        return ImportedTraining(found.epoch + 1, {"main": found.optimizer}, found.scaler)

    def _read(self, reference: str) -> PretrainingCheckpoint:
        target = self.config.target_weights or target_on_hub(reference)
        path = resolve_weights(reference, PUBLISHED)
        return read_pretraining(path, None if target is None else Path(resolve_weights(target, {})))

    def _load_checkpoint(self, found: PretrainingCheckpoint) -> None:
        own = self.online.state_dict()
        self.online.load_state_dict(check_fit(own, found.online, "online network", may_miss=set()))
        if found.target is None:
            logger.warning("There is no target network beside the weights; it starts as a copy of the online network.")
            self._copy_online_to_target(self.online)
        else:
            fit = check_fit(self.target.state_dict(), found.target, "target network", may_miss=set())
            self.target.load_state_dict(fit)
        self.normalization = found.normalization

    def _copy_online_to_target(self, online: OnlineNetwork) -> None:
        state = online.state_dict()
        self.target.load_state_dict({key: state[key] for key in self.target.state_dict()})

    # ------------------------------------------------------------------ pictures

    @torch.no_grad()
    def visualize(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Rows of input, hidden patches (covered region tinted) and reconstruction, (3, H, W) in [0, 1]."""
        few = {key: value[:_SHOWN] for key, value in batch.items()}
        images, masks = few["image"].float(), self.masks(few)
        visible = visible_patches(masks.hidden, self.patches - self.hidden)
        pixels = self.online.reconstruct(self.online.encode(images, visible), visible).float()
        patches = patchify(images, self.patch_size)
        if self.config.norm_pix:
            pixels = pixels * patch_deviation(patches) + patches.mean(-1, keepdim=True)
        rebuilt = torch.where(masks.hidden[..., None], pixels, patches)
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in self._input_scale())
        shown, rebuilt = (unpatchify(values, self.patch_size) * std + mean for values in (patches, rebuilt))
        rows = torch.stack([shown, cover(shown, masks, self.patch_size), rebuilt], 1)
        return {"reconstruction": torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).clamp(0, 1).cpu()}

    def _input_scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.normalization or ((0.0,) * 3, (1.0,) * 3)


def target_on_hub(reference: str) -> str | None:
    """Where the hub has the target of an online network: its -te- file; None for what is not on the hub or has none."""
    if reference in PUBLISHED and not Path(reference).exists():
        reference = f"hf-hub:{PUBLISHED[reference].repo}/{PUBLISHED[reference].file}"
    folder, _, name = reference.rpartition("/")
    found = target_file(Path(name)).name
    return f"{folder}/{found}" if reference.startswith("hf-hub:") and found != name else None


def visible_patches(hidden: torch.Tensor, count: int) -> torch.Tensor:
    """Places of ``count`` visible patches per image in rising order, (B, count) int64, from (B, L) bool."""
    return hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :count]


def patch_deviation(patches: torch.Tensor) -> torch.Tensor:
    """Standard deviation of every patch, (B, L, 1) from (B, L, V): unbiased variance, plus 1e-6 (MAE)."""
    return (patches.var(-1, keepdim=True) + 1e-6).sqrt()


def patch_errors(predicted: torch.Tensor, images: torch.Tensor, patch_size: int, norm_pix: bool) -> torch.Tensor:
    """Mean squared error of every patch, float32.

    Args:
        predicted: (B, L, 3 * P * P).
        images: (B, 3, S, S) normalised.
        patch_size: P.
        norm_pix: the target is each patch normalised by its own mean and deviation.

    Returns:
        (B, L).
    """
    wanted = patchify(images, patch_size).float()
    if norm_pix:
        wanted = (wanted - wanted.mean(-1, keepdim=True)) / patch_deviation(wanted)
    return (predicted.float() - wanted).square().mean(-1)


def masked_mean(errors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of errors (B, L) where mask (B, L) is set, over the whole batch; 0 when it is set nowhere."""
    chosen = mask.to(errors.dtype)
    return (errors * chosen).sum() / chosen.sum().clamp(min=1)


def target_momentum(step: int, total: int, start: float) -> float:
    """Momentum of the target at a step of the run: a half cosine from ``start`` towards 1 (BYOL)."""
    return 1.0 + 0.5 * (start - 1.0) * (1.0 + math.cos(math.pi * step / total))


def cover(images: torch.Tensor, masks: Masks, patch_size: int) -> torch.Tensor:
    """Images (B, 3, S, S) in [0, 1] with hidden patches grey and the covered region reddish."""
    patches = patchify(images, patch_size)
    tint = patches.new_tensor([0.75, 0.35, 0.35]).repeat(patch_size**2)
    patches = torch.where(masks.hidden[..., None], _GREY, patches)
    return unpatchify(torch.where(masks.covered[..., None], tint, patches), patch_size)
