"""Labels agree across datasets, whatever their lists, folders and class names would sort to; cards fit layouts."""

from __future__ import annotations

import json

import pytest

from benchmark.data.cards import builtin_cards, parse_word
from benchmark.data.index import LABELS, label_of
from benchmark.registry import LAYOUTS

DFD_SETS = ("FF++", "DFD", "CDFv1", "CDFv2", "CDF++", "DFDC", "DFDCP", "WDF", "UADFV", "DF-1.0", "DiFF", "DF40")


@pytest.mark.parametrize("name", DFD_SETS)
def test_real_is_0_and_fake_is_1_by_name(name):
    for cls, label in LAYOUTS.get(name).classes.items():
        assert cls.lower().endswith("real") == (label == 0)
        assert LABELS.get(cls, label) == label, "as DeepfakeBench's dictionary has it"


def test_sorted_folders_would_have_been_wrong_in_the_way_the_golden_file_says(golden):
    table = json.loads((golden / "video_names_and_classes.json").read_text())["class_index"]
    for folders in table.values():
        for folder, index in folders.items():
            label = 0 if "real" in folder.lower() else 1
            is_inverted = "DiFF_real" in folders
            assert label == (index if is_inverted else 1 - index), "ours is 1 - theirs, but for DiFF before its fix"


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "folder"])
def test_every_layout_can_be_used_by_its_word(name, tmp_path):
    layout = LAYOUTS.get(name)
    if not layout.__module__.startswith("preprocessing."):
        pytest.skip("a plugin of other tests")
    card = parse_word(name, tmp_path).card
    assert card.name == name
    assert layout.name in (*card.index, card.name), "the reader finds what prepare writes"
    assert layout.name in card.folders, "and its keys"
    for cls, label in layout.classes.items():
        assert label_of(cls, card.labels, name) == label
    if card.official and all(split != "all" for _, split in layout.official):
        for (cls, split), count in layout.official.items():
            assert count <= card.official.get(f"{split}_{'fake' if layout.classes[cls] else 'real'}", count)


def test_subsets_name_classes_of_their_layouts():
    for card in builtin_cards().values():
        known = {cls for name in LAYOUTS for cls in LAYOUTS.get(name).classes}
        if card.name.startswith("demo/"):
            continue
        for subset in card.subsets.values():
            assert set(subset.classes) <= known | {"FF-SH"}
        assert set(card.labels) <= known


def test_parts_have_words(tmp_path):
    cards = builtin_cards()
    subset_indexes = {subset.index for card in cards.values() for subset in card.subsets.values()}
    stems = {stem for card in cards.values() for stem in (*card.index, card.name)} | subset_indexes
    for name in LAYOUTS:
        assert set(LAYOUTS.get(name).parts) <= stems
