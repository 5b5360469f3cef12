"""Words for ``prepare``: layouts, aliases, compression levels, and datasets that are made from others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from benchmark.__main__ import main
from benchmark.data.cards import builtin_cards
from benchmark.data.readers import load_word
from benchmark.errors import ConfigError, RegistryError
from benchmark.registry import LAYOUTS
from benchmark.schema import PathsConfig
from preprocessing.layouts.derived import derive_all
from preprocessing.prepare import prepare
from preprocessing.words import find_target

TEST_LIST = ("1 Celeb-real/id0_0000.mp4", "1 YouTube-real/00170.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4")


@pytest.fixture
def celeb(tmp_path: Path, video_maker: Callable[..., None]) -> Path:
    root = tmp_path / "raw"
    for line in TEST_LIST:
        video_maker(root / line.partition(" ")[2], num_frames=3)
    (root / "List_of_testing_videos.txt").write_text("\n".join(TEST_LIST))
    return root


@pytest.fixture
def options(tmp_path: Path, bright: str) -> dict[str, Any]:
    return {"data_dir": tmp_path / "data", "index_dir": tmp_path / "index", "frames": 2, "face_finder": "bright",
            "workers": 1, "plugins": [bright]}  # fmt: skip


@pytest.fixture
def log() -> Any:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(str(message.record["message"])), level="INFO")
    yield lines
    logger.remove(handler)


@pytest.mark.parametrize(
    ("word", "layout", "levels", "part"),
    [
        ("FF++", "FF++", (), None),
        ("FaceForensics++", "FF++", (), None),
        ("FF++@c23", "FF++", ("c23",), None),
        ("FF++/Deepfakes@c40", "FF++", ("c40",), None),
        ("Celeb-DF-v2", "CDFv2", (), None),
        ("CDFv2-NYR", "CDFv2", (), "CDFv2-NYR"),
        ("Celeb-DF-v2-NYR", "CDFv2", (), "CDFv2-NYR"),
        ("FF-DF", "FF++", (), "FF-DF"),
        ("FaceShifter", "FF++", (), "FaceShifter"),
        ("MCIO/msu", "MSU-MFSD", (), "MCIO/msu"),
        ("WCS/surf", "SURF", (), "WCS/surf"),
    ],
)
def test_words(word: str, layout: str, levels: tuple[str, ...], part: str | None, tmp_path: Path) -> None:
    target = find_target(word, tmp_path)
    assert (target.layout, target.levels, target.part.name if target.part else None) == (layout, levels, part)


def test_every_card_leads_somewhere(tmp_path: Path) -> None:
    for name in builtin_cards():
        if name.startswith("demo/"):
            with pytest.raises(ConfigError, match="benchmark demo --world-only"):
                find_target(name, tmp_path)
        else:
            assert find_target(name, tmp_path).layout in LAYOUTS


def test_unknown_words(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="Closest: CDFv2"):
        find_target("CFDv2", tmp_path)
    (tmp_path / "mine.json").write_text(json.dumps({"mine": {"real": {"test": {}}}}))
    with pytest.raises(ConfigError, match="No layout prepares mine"):
        find_target("mine", tmp_path)


def test_a_derived_word_prepares_its_source(celeb: Path, options: dict[str, Any], log: list[str]) -> None:
    report = prepare("CDFv2-NYR", celeb, **options)
    assert any(line.startswith("CDFv2-NYR is made from CDFv2: preparing CDFv2 under --root") for line in log)
    assert report.dataset == "Celeb-DF-v2"
    assert [path.name for path in report.derived] == ["Celeb-DF-v2-NYR.json"]
    paths = PathsConfig(data=options["data_dir"], indexes=options["index_dir"])
    part = load_word("CDFv2-NYR", "test", paths, {})[1]
    assert {record.video for record in part.records} == {"id0_0000", "id0_id1_0000"}


def test_a_derived_index_is_announced_once(celeb: Path, options: dict[str, Any], log: list[str]) -> None:
    prepare("CDFv2", celeb, **options)
    paths = PathsConfig(data=options["data_dir"], indexes=options["index_dir"])
    written = "Celeb-DF-v2-NYR: index written from"
    assert sum(written in line for line in log) == 1
    for _ in range(2):
        load_word("CDFv2-NYR", "test", paths, {})
    assert sum(written in line for line in log) == 1, "using it says nothing"
    assert not any("building" in line for line in log)
    (options["index_dir"] / "Celeb-DF-v2-NYR.json").unlink()
    load_word("CDFv2-NYR", "test", paths, {})
    assert sum(written in line for line in log) == 2


def test_a_part_that_the_copy_lacks_is_named(mini: Path, options: dict[str, Any]) -> None:
    report = prepare("FaceShifter", mini, **options)
    assert [path.stem for path in report.derived] == ["FF-DF"]
    assert any("FaceShifter cannot be made" in line for line in report.missing)


def test_protocol_words_build_their_lists(tmp_path: Path, options: dict[str, Any], video_maker: Any) -> None:
    root = tmp_path / "raw"
    for name in ("train_release/1/1.avi", "test_release/1/3.avi"):
        video_maker(root / name, codec="MJPG", num_frames=14)
    report = prepare("MCIO/casia", root, **{**options, "frames": None})
    assert [path.relative_to(options["index_dir"]).as_posix() for path in report.derived] == ["MCIO/casia.json"]
    splits = json.loads(report.derived[0].read_text())["casia"]
    assert {cls: sorted(splits[cls]["train"]) for cls in splits} == {
        "casia_live": ["train_1_1"], "casia_spoof": ["test_1_3"]}  # fmt: skip


def test_parts_follow_their_source(celeb: Path, options: dict[str, Any], video_maker: Callable[..., None]) -> None:
    """``derive_all`` after every run: new videos of the source appear in the part; nothing new writes nothing."""
    first = prepare("CDFv2", celeb, **options)
    [part] = first.derived
    before = (part.stat().st_mtime_ns, part.read_bytes())
    assert prepare("CDFv2", celeb, **options).derived == (part,)
    assert (part.stat().st_mtime_ns, part.read_bytes()) == before
    video_maker(celeb / "Celeb-real/id0_0001.mp4", num_frames=3)
    prepare("CDFv2", celeb, **options)
    grown = json.loads(part.read_text())
    assert set(grown["Celeb-DF-v2-NYR"]["CelebDFv2_real"]["train"]) == {"id0_0001"}
    assert grown["meta"]["derived_from"]["index"] == "Celeb-DF-v2.json"
    assert grown["meta"]["part"] == {"classes": [], "without": ["YouTube-real"]}
    assert derive_all(first.index) == [part]


def test_the_command_line_takes_words(
    celeb: Path, tmp_path: Path, bright: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--data", str(tmp_path / "data"), "--index", str(tmp_path / "index")]
    words = ["--root", str(celeb), *places, "--frames", "2", "--face-finder", "bright", "--plugins", bright]
    assert main(["prepare", "Celeb-DF-v2-NYR", *words, "--workers", "1"]) == 0
    assert "Indexes made from it: Celeb-DF-v2-NYR" in capsys.readouterr().out
    assert main(["prepare", "demo/FF++", *words]) == 2
    assert "demo --world-only" in capsys.readouterr().err
