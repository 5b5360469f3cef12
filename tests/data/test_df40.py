"""DF40: every set of the benchmark has a word, the protocols use them, the authors' own index files can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.data.cards import builtin_cards, parse_word
from benchmark.data.readers import load_words
from benchmark.protocols import builtin_protocols
from benchmark.schema import PathsConfig

SWAPPING = ["fsgan", "faceswap", "simswap", "inswap", "blendface", "uniface", "mobileswap", "e4s", "facedancer"]
REENACTMENT = [
    "fomm", "facevid2vid", "wav2lip", "MRAA", "one_shot_free", "pirender", "tpsm", "lia", "danet", "sadtalker",
    "mcnet", "hyperreenact",
]  # fmt: skip
SYNTHESIS = ["VQGAN", "StyleGAN2", "StyleGAN3", "StyleGANXL", "sd2.1", "ddim", "rddm", "pixart", "DiT", "SiT"]
UNKNOWN = [
    "deepfacelab", "heygen", "whichisreal", "MidJourney", "stargan", "starganv2", "styleclip", "e4e", "CollabDiff",
]  # fmt: skip
UNIONS = ["FSAll", "FRAll", "EFSAll"]
SETS = [
    *(f"{name}_{domain}" for name in (*UNIONS, *SWAPPING, *REENACTMENT, *SYNTHESIS, "e4e") for domain in ("ff", "cdf")),
    *UNKNOWN,
    "DF40_train",
]
STA_EXAMPLE = ["DF40/simswap_ff", "DF40/blendface_ff", "DF40/uniface_ff", "DF40/fomm_ff", "DF40/deepfacelab"]
ROOT = "deepfakes_detection_datasets"
REALS = f"{ROOT}/FaceForensics++/original_sequences/youtube/c23/frames"


def test_the_forty_methods_are_all_there():
    assert (len(SWAPPING), len(REENACTMENT), len(SYNTHESIS), len(UNKNOWN)) == (9, 12, 10, 9)
    assert set(builtin_cards()["DF40"].subsets) == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_a_word_and_an_index_of_its_own(name, tmp_path):
    word = parse_word(f"DF40/{name}", tmp_path)
    assert (word.card.name, word.subset) == ("DF40", name)
    assert word.card.subsets[name].index == name
    assert parse_word(f"DF40/{name.lower()}", tmp_path).subset == name


def test_words_of_the_published_sta_command(tmp_path):
    assert [parse_word(text, tmp_path).label for text in STA_EXAMPLE] == STA_EXAMPLE
    assert parse_word("DF40/whichfaceisreal", tmp_path).subset == "whichisreal"
    assert parse_word("DF40/dagan_ff", tmp_path).subset == "danet_ff"


def test_protocols_are_the_four_of_the_paper():
    protocols = {name: protocol for name, protocol in builtin_protocols().items() if name.startswith("df40_")}
    types = {"FS": ["DF40/FSAll_ff"], "FR": ["DF40/FRAll_ff"], "EFS": ["DF40/EFSAll_ff"]}
    tests = {
        "df40_cross_forgery": ["FSAll_ff", "FRAll_ff", "EFSAll_ff"],
        "df40_cross_domain": ["FSAll_cdf", "FRAll_cdf", "EFSAll_cdf"],
        "df40_open_set": UNKNOWN,
    }
    for name, expected in tests.items():
        runs = protocols[name].runs()
        assert {fold: run.train for fold, run in runs.items()} == types
        assert all(run.test == [f"DF40/{subset}" for subset in expected] for run in runs.values())
    every = [*SWAPPING, *REENACTMENT, *SYNTHESIS]
    runs = protocols["df40_one_versus_all"].runs()
    assert {fold: run.train for fold, run in runs.items()} == {name: [f"DF40/{name}_ff"] for name in every}
    assert all(run.test == [f"DF40/{name}_ff" for name in every] for run in runs.values())


def entry(label: str, frames: list[str]) -> dict[str, object]:
    return {"label": label, "frames": frames}


@pytest.fixture
def indexes(tmp_path: Path) -> PathsConfig:
    """Index files as DF40's authors write them: labels of another method, the same fakes in every split, no
    compression level, empty frame lists, file names that are no numbers, absolute and Windows paths."""
    swapped = f"{ROOT}/DF40/simswap/ff/frames/000_003"
    fakes = {"000_003": entry("roop_Fake", [f"{swapped}/{number:03d}.png" for number in (20, 3, 100)])}
    train = {"001_002": entry("roop_Fake", [f"C:\\data\\{ROOT}\\DF40_train\\simswap\\frames\\001_002\\7.png"])}
    reals = {"000": entry("roop_Real", [f"/home/x/{REALS}/000/{number}.png" for number in (1, 0)]),
             "003": entry("roop_Real", [])}  # fmt: skip
    simswap = {"roop_Real": {"train": {"001": entry("roop_Real", [f"{REALS}/001/1.png"])}, "val": reals, "test": reals},
               "roop_Fake": {"train": train, "val": fakes, "test": fakes}}  # fmt: skip
    images = [f"{ROOT}/DF40/ddim/ff/005/{name}.png" for name in ("seed0188", "seed0020")]
    ddim = {"ddim_Real": {"train": {}, "val": {}, "test": {"000": entry("ddim_Real", [f"{REALS}/000/1.png"])}},
            "ddim_Fake": {"train": {}, "val": {}, "test": {"005": entry("ddim_Fake", images)}}}  # fmt: skip
    union = {"FSAll_Real": {"train": {}, "test": {"000": entry("FSAll_Real", [f"{REALS}/000/1.png"])}},
             "FSAll_Fake": {"train": {}, "test": {"000_003": entry("FSAll_Fake", [f"{swapped}/020.png"])}}}  # fmt: skip
    folder = tmp_path / "indexes"
    folder.mkdir()
    for name, classes in {"simswap_ff": simswap, "ddim_ff": ddim, "FSAll_ff": union}.items():
        (folder / f"{name}.json").write_text(json.dumps({name: classes}))
    (tmp_path / "data").mkdir()
    return PathsConfig(data=tmp_path / "data", indexes=folder)


def videos(word: str, split: str, paths: PathsConfig) -> dict[str, tuple[int, tuple[str, ...]]]:
    [(_, listing)] = load_words([word], split, paths)
    return {record.video_id: (record.label, record.frames) for record in listing.records if record.split == split}


def test_the_authors_indexes_are_read_as_they_are(indexes):
    reals = "FaceForensics++/original_sequences/youtube/c23/frames"
    fake = tuple(f"DF40/simswap/ff/frames/000_003/{number:03d}.png" for number in (3, 20, 100))
    assert videos("DF40/simswap_ff", "test", indexes) == {
        "roop_Real/000": (0, tuple(f"{reals}/000/{number}.png" for number in (0, 1))),
        "roop_Fake/000_003": (1, fake),
    }
    assert videos("DF40/simswap_ff", "train", indexes)["roop_Fake/001_002"] == (
        1, ("DF40_train/simswap/frames/001_002/7.png",),
    )  # fmt: skip
    assert videos("DF40/ddim_ff", "test", indexes)["ddim_Fake/005"] == (
        1, ("DF40/ddim/ff/005/seed0020.png", "DF40/ddim/ff/005/seed0188.png"),
    )  # fmt: skip
    assert {key: label for key, (label, _) in videos("DF40/FSAll_ff", "test", indexes).items()} == {
        "FSAll_Real/000": 0, "FSAll_Fake/000_003": 1,
    }  # fmt: skip


def test_empty_frame_lists_are_reported(indexes):
    [(_, listing)] = load_words(["DF40/simswap_ff"], "test", indexes)
    assert len(listing.skipped) >= 1
    assert all("003" in note for note in listing.skipped)
