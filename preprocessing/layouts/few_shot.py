"""The lists of the few-shot face anti-spoofing protocols: MCIO (leave one of four domains out) and WCS.

Their names are ``domain/partition/real|fake/VIDEO_frame0.png``. Every domain has ten "shot" videos per class
(``few_shot.json``, from the lists that FLIP publishes). The train list is the whole domain, test partition included;
the test list is the train list without the shots. So a domain under protocol has an index of its own (``MCIO/msu``),
made from the prepared one without touching the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.errors import DataError
from preprocessing.layouts.derived import read_json_index, videos_of, write_derived
from preprocessing.layouts.files import read_list

SPLIT_OF_PARTITION = {"train": "train", "devel": "val", "test": "test"}
KINDS = ("real", "fake")


@cache
def shots(domain: str) -> frozenset[str]:
    """``partition/real|fake/VIDEO`` of a domain's shot videos; for WCS the last part is an image."""
    table = json.loads(Path(__file__).with_name("few_shot.json").read_text(encoding="utf-8"))
    names = (name for kind in table.get(domain, {}).values() for name in kind)
    return frozenset(_video(name.partition("/")[2]) for name in names)


def _video(name: str) -> str:
    return name.rpartition(".")[0].removesuffix("_frame0").removesuffix("_frame1")


def build_lists(domain: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Lists of one MCIO domain from a listing of its frames.

    Args:
        domain: ``msu``, ``casia``, ``replay``, ``oulu`` or ``celeb``.
        names: frame names (``msu/train/real/X_frame0.png``); frame 1 and devel names are not listed.

    Returns:
        ``real_train``, ``fake_train``, ``real_test``, ``fake_test``; the two test lists lack the shots.
    """
    lists: dict[str, list[str]] = {f"{kind}_{split}": [] for kind in KINDS for split in ("train", "test")}
    for name in sorted(set(names)):
        parts = name.split("/")
        if parts[0] != domain or name.endswith("_frame1.png") or "devel" in parts:
            continue
        kind = parts[-2]
        lists[f"{kind}_train"].append(name)
        if _video(name.partition("/")[2]) not in shots(domain):
            lists[f"{kind}_test"].append(name)
    return lists


def read_lists(root: Path, domain: str, dataset: str, splits: Iterable[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Names in a domain's text lists (``txt/wmca_real_train.txt``): file name -> (real or fake, lists that name it).

    Raises:
        DataError: a list is missing, or one name is both real and fake.
    """
    folder = root / "txt" if (root / "txt").is_dir() else root
    hint = "The lists are those of github.com/hhsinping/few_shot_fas, folder txt."
    named: dict[str, tuple[str, tuple[str, ...]]] = {}
    for kind in KINDS:
        for split in splits:
            path = folder / f"{domain}_{kind}_{split}.txt"
            for line in read_list(path, dataset, hint):
                name = line.replace("\\", "/").rpartition("/")[2]
                known, lists = named.get(name, (kind, ()))
                if known != kind:
                    raise DataError(f"{path}: '{name}' is in a list of {known} images too.")
                named[name] = (kind, lists if split in lists else (*lists, split))
    return named


def build_index(name: str, data: Path, indexes: Path) -> Path:
    """Builder of the cards ``MCIO/...`` and ``WCS/...``: the protocol's train and test lists as an index.

    Raises:
        DataError: the domain is not prepared.
    """
    from benchmark.data.cards import builtin_cards

    card = builtin_cards()[name]
    source = indexes / f"{card.folders[0]}.json"
    if not source.is_file():
        raise DataError(f"{name} is made from {source}, which is not there. Prepare {card.folders[0]} first.")
    _, classes, meta, digest = read_json_index(source)
    protocol, _, domain = name.partition("/")
    kept = {cls: _protocol_splits(splits, protocol, domain) for cls, splits in classes.items()}
    return write_derived(indexes / f"{name}.json", kept, (source, digest), {**meta, "part": {"protocol": protocol}})


def _protocol_splits(splits: dict[str, Any], protocol: str, domain: str) -> dict[str, dict[str, Any]]:
    taken: dict[str, dict[str, Any]] = {"train": {}, "val": {}, "test": {}}
    for partition in ("train", "test"):
        for name, record in videos_of(splits.get(partition, {})):
            video = f"{partition}_{name}"  # CASIA-FASD counts its subjects from 1 in both partitions
            if protocol == "WCS":
                lists = record.get("facts", {}).get("lists", ())
            else:
                lists = ("train",) if record.get("facts", {}).get("shot") or domain == "celeb" else ("train", "test")
            for split in lists:
                if split in taken:
                    taken[split][video] = record
    return taken
