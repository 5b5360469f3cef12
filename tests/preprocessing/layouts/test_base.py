"""The contract holds for every registered layout."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from benchmark.data.index import LEVELS, SPLITS, label_of
from benchmark.registry import LAYOUTS, Registry
from preprocessing.frame_rules import FrameRule
from preprocessing.layouts import base
from preprocessing.layouts.base import Item, Layout, natural
from preprocessing.video import VideoFile


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_layout_keeps_the_contract(name: str) -> None:
    layout = LAYOUTS.get(name)
    assert layout.classes
    for cls, label in layout.classes.items():
        assert label_of(cls, {}, name) == label, "the index reader must read the class as the layout means it"
    assert {cls for cls, _ in layout.official} <= set(layout.classes)
    assert {split for _, split in layout.official} <= {*SPLITS, "all"}
    assert set(layout.levels) <= set(LEVELS)
    FrameRule.parse(layout.frames)
    assert "/" not in layout.name
    assert layout.__doc__


def test_natural_order() -> None:
    assert sorted(["10", "2", "a10", "a2", "1b", "1"], key=natural) == ["1", "1b", "2", "10", "a2", "a10"]


class Listed(Layout):
    """A dataset whose own list names the files."""

    name = "Listed"
    classes = {"a_real": 0}

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item]:
        for index, line in enumerate((root / "list.txt").read_text().splitlines()):
            yield Item("a_real", "test", "x", str(index), VideoFile(root / line))


def test_a_list_cannot_name_files_outside_the_root(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.mp4\nsub/../../b.mp4\n/etc/passwd\n")
    found = Listed().scan(tmp_path)
    assert [item.video for item in found.items] == ["0"]
    assert [(remark.place, remark.reason) for remark in found.remarks] == [
        ("sub/../../b.mp4", "its file lies outside the root"),
        ("x/2", "its file lies outside the root"),
    ]


def test_the_example_of_the_contract_works(tmp_path: Path) -> None:
    code = (base.__doc__ or "").partition("::\n")[2].partition("\nEverything")[0]
    layouts: Registry[type[Layout]] = Registry("layout", "LAYOUTS", "preprocessing")
    exec(textwrap.dedent(code), {**vars(base), "LAYOUTS": layouts, "VideoFile": VideoFile, "VIDEO_SUFFIXES": {".mp4"}})
    for name in ("real/0000.mp4", "fake/0000_fake.mp4", "fake/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = layouts.get("MyFaces")().scan(tmp_path)
    assert [(item.cls, item.id) for item in found.items] == [
        ("MyFaces_fake", "fake/0000_fake"),
        ("MyFaces_real", "real/0000"),
    ]
    assert [remark.place for remark in found.remarks] == ["fake/notes.txt"]
