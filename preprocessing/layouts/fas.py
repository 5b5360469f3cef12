"""What face anti-spoofing domains have in common: two ways to read them, names and facts.

A domain is read from its raw release, or from ready frames in the folders of few_shot_fas
(``ROOT/frame/msu/{train,test}/{real,fake}/VIDEO_frame{0,1}.png``). Names of videos are the same both ways, and so are
folders in the store.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from preprocessing.frame_rules import FAS_PAIR
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.few_shot import SPLIT_OF_PARTITION, shots
from preprocessing.layouts.files import Found, each, find_images, find_videos, place, present
from preprocessing.layouts.fsfm_tree import FsfmTree, own_name
from preprocessing.video import FrameSource, ImageFiles


class Domain(Layout):
    """One domain of a face anti-spoofing protocol.

    Class attributes:
        domain: its short name in the protocol, which begins its class strings.
    """

    domain: ClassVar[str]
    frames = FAS_PAIR
    fsfm = FsfmTree(
        video=own_name,
        stem=lambda entry, number, position: f"{entry.video}_frame{position}",
        folders=lambda entry: (f"frame/{entry.facts['domain']}/{entry.folder}",),
    )

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        ready = root / "frame" / self.domain
        yield from self.ready(root, ready) if ready.is_dir() else self.raw(root)

    def raw(self, root: Path) -> Iterator[Item | Remark]:
        """Items of the raw release."""
        raise NotImplementedError

    def ready(self, root: Path, folder: Path) -> Iterator[Item | Remark]:
        """Items of ready frames, two images a video."""
        videos: dict[tuple[str, str, str], list[Path]] = {}
        for found in find_images(root, folder):
            if isinstance(found, Remark):
                yield found
                continue
            *partitions, kind = found.inner or ("",)
            partition = partitions[0] if partitions else "train"  # celeb has no partition
            if kind not in ("real", "fake") or partition not in SPLIT_OF_PARTITION:
                yield Remark("left out", place(found.path, root), "not in a folder {train,test}/{real,fake}")
                continue
            name = re.sub(r"_frame\d+$", "", found.name)
            videos.setdefault((partition, kind, name), []).append(found.path)
        for (partition, kind, name), paths in videos.items():
            yield self.item(partition, kind == "fake", name, ImageFiles(tuple(paths)), is_cropped=True)

    def item(
        self, partition: str, is_attack: bool, name: str, source: FrameSource, *, is_cropped: bool = False
    ) -> Item:
        """One video with the facts that its name tells."""
        folder = f"{partition}/{'fake' if is_attack else 'real'}"
        facts = {"domain": self.domain, **self.facts(name, is_attack, partition)}
        if f"{folder}/{name}" in shots(self.domain):
            facts["shot"] = True
        cls = f"{self.domain}_{'spoof' if is_attack else 'live'}"
        return Item(cls, SPLIT_OF_PARTITION[partition], folder, name, source, is_cropped=is_cropped, facts=facts)

    def facts(self, name: str, is_attack: bool, partition: str) -> dict[str, Any]:
        """Subject and attack type, as far as the name tells them."""
        return {}


class PartitionedDomain(Domain):
    """A domain whose raw release has a folder of videos per partition.

    Class attributes:
        partitions: ``train``, ``devel``, ``test`` to their folders.
    """

    partitions: ClassVar[Mapping[str, str]]

    def raw(self, root: Path) -> Iterator[Item | Remark]:
        """See ``Domain.raw``."""
        there, missing = present(self.name, root, self.partitions.values())
        yield from missing
        for partition, folder in self.partitions.items():
            ignore = {".face", ".txt", ".facebox"}
            if folder in there:
                yield from each(find_videos(root, root / folder, ignore=ignore), partial(self._raw_item, partition))

    def _raw_item(self, partition: str, found: Found) -> Item | Remark:
        known = self.read_name(found)
        if isinstance(known, Remark):
            return known
        name, is_attack = known
        return self.item(partition, is_attack, name, found.source, is_cropped=found.is_cropped)

    def read_name(self, found: Found) -> tuple[str, bool] | Remark:
        """Name of a raw video and whether it is an attack, or a remark that it cannot be used."""
        raise NotImplementedError


def first(pattern: str, name: str) -> str:
    """The first group of a pattern in a name, or an empty string."""
    match = re.search(pattern, name)
    return match[1] if match else ""
