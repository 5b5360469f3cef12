"""The list of datasets in the docs is made from the layouts, and its trees are trees that the layouts read."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.registry import LAYOUTS
from preprocessing.frame_rules import FrameRule
from preprocessing.layouts.base import Scan
from preprocessing.layouts.guide import BEGIN, END, render, tree_lines
from preprocessing.prepare import add_arguments
from preprocessing.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from preprocessing.words import find_target

PAGE = Path(__file__).parents[3] / "docs" / "preprocessing.md"
OURS = [name for name in LAYOUTS if LAYOUTS.get(name).__module__.startswith("preprocessing.")]
MEDIA = {*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, ".hdf5"}
CELEB_LIST = "1 Celeb-real/id0_0000.mp4\n"
PAIRS = {name: json.dumps(pairs) for name, pairs in (("train", [["000", "003"]]), ("val", []), ("test", []))}


def few_shot(domain: str, name: str) -> dict[str, str]:
    lists = {f"txt/{domain}_{kind}_{split}.txt": "" for kind in ("real", "fake") for split in ("train", "test")}
    return {**lists, f"txt/{domain}_real_test.txt": name}


LISTS: dict[str, dict[str, str]] = {
    "FF++": {f"dataset/splits/{name}.json": text for name, text in PAIRS.items()},
    "FF++_o": {f"dataset/splits/{name}.json": text for name, text in PAIRS.items()},
    **{name: {"List_of_testing_videos.txt": CELEB_LIST} for name in ("CDFv1", "CDFv2", "CDF++")},
    "DFDC": {
        "test/labels.csv": "filename,label\naassnaulhq.mp4,1\n",
        "train/dfdc_train_part_0/metadata.json": json.dumps({"owxbbpjpch.mp4": {"label": "FAKE"}}),
    },
    "DFDCP": {
        "dataset.json": json.dumps(
            {
                "original_videos/643/643_A_001.mp4": {"label": "real", "set": "train"},
                "method_A/643/1229/643_1229_A_001.mp4": {"label": "fake", "set": "train"},
                "method_B/643/1229/643_1229_B_001.mp4": {"label": "fake", "set": "test"},
            }
        )
    },
    "DF-1.0": {"lists/splits/train.txt": "000_M101.mp4\n", "lists/splits/val.txt": "", "lists/splits/test.txt": ""},
    "DF40": {
        **{f"FaceForensics++/{name}.json": text for name, text in PAIRS.items()},
        "Celeb-DF-v2/List_of_testing_videos.txt": CELEB_LIST,
    },
    "MSU-MFSD": {"train_sub_list.txt": "1\n", "test_sub_list.txt": "2\n"},
    "CelebA-Spoof": {
        "txt/celeb_real_train.txt": "celeb/real/563_live_096546.jpg\nceleb/real/10001_live_494405.png\n",
        "txt/celeb_fake_train.txt": "celeb/fake/563_spoof_348234.jpg\n",
    },
    "WMCA": few_shot("wmca", "wmca/test/real/23.05.18_012_06_000_0_00_02.jpg\n"),
    "CeFA": {
        **few_shot("cefa", "cefa/test/real/1_213_1_1_1_00.jpg\n"),
    },
    "SURF": few_shot("surf", "x/Training_real_part_CLKJ_AS0005_real.rssdk_color_31.jpg\nx/Val_0006_006102-color.jpg\n"),
}


def test_the_page_is_up_to_date() -> None:
    listed = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert listed.strip() == render(), "run: python -m preprocessing.layouts.guide docs/preprocessing.md"


def test_every_command_of_the_page_is_understood(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = PAGE.read_text(encoding="utf-8")
    fenced = "\n".join(re.findall(r"^```$(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    inline = re.findall(r"`([^`]*)`", re.sub(r"^```$.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    wanted = [line.partition("prepare ")[2] for line in [*fenced.splitlines(), *inline] if "--root" in line]
    commands = [command for command in wanted if command]
    assert len(commands) > len(OURS)
    for command in commands:
        words = parser.parse_args(command.split())
        assert find_target(words.dataset, tmp_path).layout in LAYOUTS
        for name in ("frames", "frames_real"):
            if getattr(words, name):
                FrameRule.parse(getattr(words, name))


@pytest.mark.parametrize("name", OURS)
def test_the_tree_of_every_layout_is_read(name: str, tree: Callable[..., Path], scan: Callable[..., Scan]) -> None:
    layout = LAYOUTS.get(name)
    assert layout.home
    paths = [path for path, _ in tree_lines(layout)]
    lists = LISTS.get(name, {})
    assert set(lists) <= set(paths), "the lists that decide labels and splits are shown"
    root = tree(*paths, texts=lists)
    found = scan(name, root)
    used = {path for item in found.items for path in (*item.source.files, *(item.mask.files if item.mask else ()))}
    media = {path for path in paths if Path(path).suffix in MEDIA or not Path(path).suffix}
    assert {path.relative_to(root).as_posix() for path in used} == media
    assert not [remark for remark in found.remarks if remark.kind == "left out"]
