"""Dataset words: what users type and what it means."""

from __future__ import annotations

import json

import pytest

from benchmark.data.cards import parse_word
from benchmark.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("text", "name", "subset", "level", "label"),
    [
        ("FF++", "FF++", None, "c23", "FF++"),
        ("ff++", "FF++", None, "c23", "FF++"),
        ("FaceForensics++", "FF++", None, "c23", "FF++"),
        ("FF++@c40", "FF++", None, "c40", "FF++@c40"),
        ("FF++@c23", "FF++", None, "c23", "FF++"),
        ("FF++/Deepfakes", "FF++", "Deepfakes", "c23", "FF++/Deepfakes"),
        ("FF++/DF@raw", "FF++", "Deepfakes", "raw", "FF++/Deepfakes@raw"),
        ("FaceForensics++/neuraltextures@c40", "FF++", "NeuralTextures", "c40", "FF++/NeuralTextures@c40"),
        ("Celeb-DF-v2", "CDFv2", None, None, "CDFv2"),
        ("CDFv2", "CDFv2", None, None, "CDFv2"),
        ("FF-DF", "FF-DF", None, "c23", "FF-DF"),
        ("FF-DF_c40", "FF-DF", None, "c40", "FF-DF@c40"),
        ("FaceForensics++_c40", "FF++", None, "c40", "FF++@c40"),
        ("demo/FF++", "demo/FF++", None, "c23", "demo/FF++"),
        ("demo/FF++/Deepfakes", "demo/FF++", "Deepfakes", "c23", "demo/FF++/Deepfakes"),
        ("demo/CDFv2", "demo/CDFv2", None, None, "demo/CDFv2"),
    ],
)
def test_word(tmp_path, text, name, subset, level, label):
    word = parse_word(text, tmp_path)
    assert (word.card.name, word.subset, word.level, word.label) == (name, subset, level, label)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CDFv9", r"No dataset named 'CDFv9'\. Closest: CDFv\d"),
        ("FaceForensic++", r"No dataset named 'FaceForensic\+\+'\. Closest: FaceForensics\+\+"),
        ("Celeb-DF-v9", r"Closest: Celeb-DF-v\d"),
        ("xyzzy", r"No dataset named 'xyzzy'\. See all: python -m benchmark list datasets\. Own data\? Put NAME\.json"),
        ("FF++/Deepfake", r"'FF\+\+/Deepfake': FF\+\+ has no subset 'Deepfake'\. Closest: Deepfakes"),
        ("CDFv2/DF", r"'CDFv2/DF': CDFv2 has no subset 'DF'\. Subsets: none\."),
        ("FF++@c32", r"'FF\+\+@c32': compression 'c32' is not known; allowed: raw, c23, c40\."),
    ],
)
def test_unknown_words_name_the_near_ones(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        parse_word(text, tmp_path)


def write(path, content="{}"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def test_any_index_in_the_folder_is_a_dataset(tmp_path):
    write(tmp_path / "MySet.json")
    assert parse_word("myset", tmp_path).label == "MySet"
    assert parse_word("MySet_c40", tmp_path).level == "c40"


def test_an_index_file_named_after_a_level_stands_for_that_level(tmp_path):
    """DeepfakeBench reads FF-DF_c40.json when there is one, and takes its c40."""
    write(tmp_path / "FF-DF_c40.json")
    word = parse_word("FF-DF_c40", tmp_path)
    assert (word.card.index, word.level, word.label) == (["FF-DF_c40"], "c40", "FF-DF_c40")


def test_the_users_card_describes_and_replaces(tmp_path):
    write(
        tmp_path / "m.yaml", "name: MySet\naliases: [mine]\nsubsets: {easy: {classes: [easy_fake]}}\nlabels: {x: 1}\n"
    )
    word = parse_word("mine/easy", tmp_path)
    assert (word.card.name, word.subset, word.card.labels) == ("MySet", "easy", {"x": 1})
    write(tmp_path / "c.yaml", "name: CDFv2\ntitle: my own cut\n")
    assert parse_word("CDFv2", tmp_path).card.title == "my own cut"


def test_a_broken_card_is_not_silently_left_out(tmp_path):
    path = write(tmp_path / "m.yaml", "name: MySet\nalias: [mine]\n")
    with pytest.raises(ConfigError) as error:
        parse_word("FF++", tmp_path)
    assert str(error.value) == f"{path}, line 2: alias is not a known key. Did you mean aliases?"


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("some.json", {"file": "{path}"}),
        ("list.txt", {"files": "{path}", "delimiter": " "}),
        ("list.csv", {"files": "{path}", "delimiter": ","}),
    ],
)
def test_paths_are_words(tmp_path, name, reader):
    path = write(tmp_path / "in" / name, json.dumps({}))
    word = parse_word(str(path), tmp_path)
    assert word.label == path.stem
    assert word.card.reader.options == {key: value.format(path=path) for key, value in reader.items()}


def test_folder_and_card_paths(tmp_path):
    write(tmp_path / "faces" / "real" / "1.png")
    assert parse_word(str(tmp_path / "faces"), tmp_path).card.reader.options == {"root": str(tmp_path / "faces")}
    card = write(tmp_path / "elsewhere" / "card.yaml", "name: Elsewhere\n")
    assert parse_word(str(card), tmp_path).label == "Elsewhere"


def test_a_raw_folder_of_the_same_name_does_not_replace_a_dataset(tmp_path, monkeypatch):
    """Users work beside folders called UADFV or DFDC; those hold raw videos, not what the word means."""
    write(tmp_path / "UADFV" / "real" / "1.png")
    monkeypatch.chdir(tmp_path)
    assert parse_word("UADFV", tmp_path / "indexes").card.reader.name == "index"
    assert parse_word("./UADFV", tmp_path / "indexes").card.reader.name == "folder"
