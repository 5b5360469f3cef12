"""Any timm model as a backbone: CNNs and transformers by their timm name."""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

from backbones.base import Backbone, Features, Normalization
from backbones.fsfm_checkpoints import PRETRAINING_ONLY, network
from backbones.weights import check_fit, read_checkpoint, resolve_weights, state_dict_of, stored_normalization
from benchmark.errors import BenchmarkError, closest
from benchmark.registry import BACKBONES


@BACKBONES.register("timm")
class TimmBackbone(Backbone):
    """Any timm model by name (xception, efficientnet_b4, resnet34, vit_...), without its classifier.

    Args:
        model: timm name, with its weights tag if wanted, e.g. ``legacy_xception.tf_in1k``.
        pretrained: load the tag's weights from the hub.
        weights: file with weights instead (timm keys; a leading ``backbone.`` or ``module.`` is removed), or the run
            folder or checkpoint of an FSFM pre-training of the same shape, whose encoder has timm's keys.
        img_size: input side; None = the model's own.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth; None for models without it.
        in_chans: input channels.
        model_options: further arguments of the timm model, e.g. ``{patch_size: 8, embed_dim: 96, depth: 6}``.

    Raises:
        BenchmarkError: timm has no such model, or the model no such argument.
        CheckpointError: the weights belong to another architecture.
    """

    model: Any

    def __init__(
        self,
        model: str,
        pretrained: bool = False,
        weights: str | None = None,
        img_size: int | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float | None = None,
        in_chans: int = 3,
        model_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not timm.is_model(model):
            near = closest(model, timm.list_models())
            raise BenchmarkError(f"timm has no model '{model}'. Closest: {', '.join(near) or 'none'}.")
        options: dict[str, Any] = {"drop_rate": drop_rate, **(model_options or {})}
        if drop_path_rate is not None:
            options["drop_path_rate"] = drop_path_rate
        probe = timm.get_pretrained_cfg(model, allow_unregistered=True)
        if img_size is not None and _takes_img_size(model):
            options["img_size"] = img_size
        try:
            self.model = timm.create_model(model, pretrained=pretrained, num_classes=0, in_chans=in_chans, **options)
        except TypeError as error:
            raise BenchmarkError(f"timm cannot make {model} with {options}: {error}.") from error
        stored = None if weights is None else self._load(weights)
        config: dict[str, Any] = self.model.pretrained_cfg
        self.input_size = img_size or (probe.input_size[-1] if probe and probe.input_size else 224)
        own = (tuple(config.get("mean", (0.5,) * 3)), tuple(config.get("std", (0.5,) * 3)))
        self.normalization = stored or own
        self.embed_dim = int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)
        self.num_prefix_tokens = int(getattr(self.model, "num_prefix_tokens", 0))
        patches = getattr(self.model, "patch_embed", None)
        if patches is None:
            self.memory_format = torch.channels_last
        self.grid_size = tuple(getattr(patches, "grid_size", (0, 0)))
        self.pools_prefix = getattr(self.model, "global_pool", "") == "token"

    @property
    def token_dim(self) -> int:
        """See ``Backbone.token_dim``."""
        return int(self.model.num_features)

    def extract(self, images: torch.Tensor) -> Features:
        """See ``Backbone.extract``; a CNN's feature map becomes (B, H*W, D) tokens."""
        features = self.model.forward_features(images)
        pooled = self.model.forward_head(features, pre_logits=True)
        if features.ndim == 4:
            last = features.shape[-1] == self.token_dim and features.shape[1] != self.token_dim
            features = (features if last else features.permute(0, 2, 3, 1)).flatten(1, 2)
        return Features(features, pooled)

    def block_list(self) -> nn.ModuleList:
        """See ``Backbone.block_list``."""
        blocks = getattr(self.model, "blocks", None)
        return nn.ModuleList(blocks) if blocks is not None else super().block_list()

    def embedding_exit(self) -> nn.Module:
        """See ``Backbone.embedding_exit``."""
        pre_norm = getattr(self.model, "norm_pre", None)
        return pre_norm if isinstance(pre_norm, nn.Module) else self.block_list()[0]

    def final_norms(self) -> list[nn.Module]:
        """See ``Backbone.final_norms``."""
        found = (getattr(self.model, name, None) for name in ("norm", "fc_norm"))
        return [norm for norm in found if isinstance(norm, nn.Module)]

    def layer_ids(self) -> dict[str, int]:
        """Depth by timm's own parameter groups."""
        groups = group_parameters(self.model, self.model.group_matcher(coarse=False))
        return {f"model.{name}": int(layer) for layer, names in groups.items() for name in names}

    def no_weight_decay(self) -> set[str]:
        """What the timm model exempts."""
        exempt: set[str] = getattr(self.model, "no_weight_decay", set)()
        return {f"model.{name}" for name in exempt}

    def _load(self, weights: str) -> Normalization | None:
        """Load weights; mean and std of their input, if they say so."""
        path = resolve_weights(weights, {})
        content = read_checkpoint(path)
        state = state_dict_of(content, path)
        state = {
            key.removeprefix("backbone.").removeprefix("model."): value
            for key, value in (network(state, "online") or state).items()
        }
        heads = {f"{name}." for name in _classifier_names(self.model)}
        heads |= {"head.", "fc.", "classifier.", "last_linear.", *PRETRAINING_ONLY}
        own = self.model.state_dict()
        unused = tuple(prefix for prefix in sorted(heads) if not any(key.startswith(prefix) for key in own))
        self.model.load_state_dict(check_fit(own, state, path, may_miss=set(), may_drop=unused))
        return stored_normalization(content, path)


def _classifier_names(model: nn.Module) -> tuple[str, ...]:
    names = getattr(model, "default_cfg", {}).get("classifier", ())
    return (names,) if isinstance(names, str) else tuple(names or ())


def _takes_img_size(model: str) -> bool:
    return model.split("_")[0] in {
        "vit",
        "deit",
        "beit",
        "swin",
        "eva",
        "eva02",
        "deit3",
        "swinv2",
        "cait",
        "xcit",
        "samvit",
        "test",
    }
