"""State-dict spellings of one CLIP image tower: OpenAI / open_clip, Hugging Face transformers, timm.

The three hold the same tensors; Hugging Face keeps query, key and value apart and calls the pre-norm ``pre_layrnorm``
(its spelling), timm gives the tokens a batch axis. ``openai`` is the spelling of our own networks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch

from benchmark.errors import CheckpointError

Style = Literal["openai", "huggingface", "timm"]
State = dict[str, torch.Tensor]

_BLOCKS: dict[Style, str] = {"openai": "transformer.resblocks", "huggingface": "encoder.layers", "timm": "blocks"}
_COLUMN = {"huggingface": 0, "timm": 1}
_OUTSIDE = {
    "class_embedding": ("embeddings.class_embedding", "cls_token"),
    "conv1.weight": ("embeddings.patch_embedding.weight", "patch_embed.proj.weight"),
    "positional_embedding": ("embeddings.position_embedding.weight", "pos_embed"),
    "ln_pre.weight": ("pre_layrnorm.weight", "norm_pre.weight"),
    "ln_pre.bias": ("pre_layrnorm.bias", "norm_pre.bias"),
    "ln_post.weight": ("post_layernorm.weight", "norm.weight"),
    "ln_post.bias": ("post_layernorm.bias", "norm.bias"),
    "proj": ("visual_projection.weight", "head.weight"),
}
_IN_BLOCK = {
    f"{own}{kind}": (f"{huggingface}{kind}", f"{timm}{kind}")
    for own, huggingface, timm in (
        ("ln_1.", "layer_norm1.", "norm1."),
        ("attn.in_proj_", "self_attn.qkv.", "attn.qkv."),  # Hugging Face's three parts are joined first
        ("attn.out_proj.", "self_attn.out_proj.", "attn.proj."),
        ("ln_2.", "layer_norm2.", "norm2."),
        ("mlp.c_fc.", "mlp.fc1.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2.", "mlp.fc2."),
    )
    for kind in ("weight", "bias")
}
_PARTS = ("q_proj", "k_proj", "v_proj")
_MARKS: dict[Style, str] = {
    "openai": "conv1.weight",
    "huggingface": "embeddings.patch_embedding.weight",
    "timm": "patch_embed.proj.weight",
}
# Integers of old transformers versions, and timm's zero bias of a projection that has none.
_WITHOUT_MEANING = {"embeddings.position_ids", "head.bias"}


def tower_of(state: Mapping[str, torch.Tensor]) -> State:
    """The image tower in the state dict of a whole CLIP model, or of a detector built on one, without prefixes."""
    for prefix in ("visual.", "vision_model.", "backbone.vision_model.", "backbone."):
        if any(key.startswith(prefix) for key in state):
            tower = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            projection = {key: state[key] for key in ("visual_projection.weight",) if key in state}
            return {**tower, **projection}
    return dict(state)


def style_of(state: Mapping[str, torch.Tensor]) -> Style:
    """Which spelling a tower's state dict has.

    Raises:
        CheckpointError: none of them.
    """
    for style, mark in _MARKS.items():
        if mark in state:
            return style
    raise CheckpointError(
        f"No CLIP image tower in these weights: none of {', '.join(f'{mark} ({s})' for s, mark in _MARKS.items())}; "
        f"the first keys are {', '.join([*state][:4])}."
    )


def to_openai(state: Mapping[str, torch.Tensor]) -> State:
    """A tower's state dict in OpenAI's spelling, whatever it is spelled in; unknown keys keep their names.

    Raises:
        CheckpointError: there is no tower in it, or a block lacks a part of its query, key and value.
    """
    style = style_of(state)
    if style == "openai":
        return dict(state)
    kept = {key: value for key, value in state.items() if key not in _WITHOUT_MEANING}
    joined = _joined(kept) if style == "huggingface" else kept
    column = _COLUMN[style]
    outside = {names[column]: own for own, names in _OUTSIDE.items()}
    inside = {names[column]: own for own, names in _IN_BLOCK.items()}
    result = {_renamed(key, _BLOCKS[style], "openai", outside, inside): value for key, value in joined.items()}
    for key, batch_axes in (("class_embedding", 2), ("positional_embedding", 1)):
        if style == "timm" and key in result:
            result[key] = result[key].reshape(result[key].shape[batch_axes:])
    return _with_transposed_projection(result, "proj")


def from_openai(state: Mapping[str, torch.Tensor], style: Style) -> State:
    """The inverse of ``to_openai``: a tower in OpenAI's spelling, for another library."""
    if style == "openai":
        return dict(state)
    column = _COLUMN[style]
    outside = {own: names[column] for own, names in _OUTSIDE.items()}
    inside = {own: names[column] for own, names in _IN_BLOCK.items()}
    result = {_renamed(key, _BLOCKS["openai"], style, outside, inside): value for key, value in state.items()}
    result = _with_transposed_projection(result, outside["proj"])
    if style == "huggingface":
        return _taken_apart(result)
    return {**result, "cls_token": result["cls_token"][None, None], "pos_embed": result["pos_embed"][None]}


def _renamed(key: str, blocks: str, target: Style, outside: Mapping[str, str], inside: Mapping[str, str]) -> str:
    found = re.fullmatch(rf"{re.escape(blocks)}\.(\d+)\.(.+)", key)
    if found is None:
        return outside.get(key, key)
    return f"{_BLOCKS[target]}.{found[1]}.{inside.get(found[2], found[2])}"


def _joined(state: State) -> State:
    """Query, key and value of every block as one tensor ``self_attn.qkv``."""
    result = {key: value for key, value in state.items() if not any(f".{part}." in key for part in _PARTS)}
    for key in state:
        if ".q_proj." in key:
            parts = [key.replace("q_proj", part) for part in _PARTS]
            missing = [part for part in parts if part not in state]
            if missing:
                raise CheckpointError(f"The weights have {key} but not {', '.join(missing)}.")
            result[key.replace("q_proj", "qkv")] = torch.cat([state[part] for part in parts])
    return result


def _taken_apart(state: State) -> State:
    result: State = {}
    for key, value in state.items():
        if ".self_attn.qkv." in key:
            result |= {key.replace("qkv", part): piece for part, piece in zip(_PARTS, value.chunk(3), strict=True)}
        else:
            result[key] = value
    return result


def _with_transposed_projection(state: State, name: str) -> State:
    return {key: value.T if key == name else value for key, value in state.items()}
