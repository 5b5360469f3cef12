"""Protocols on the command line: words, worlds, folds, development data."""

from __future__ import annotations

import pytest

from benchmark.config import CONFIG_DIR
from benchmark.data.cards import builtin_cards, parse_word
from benchmark.errors import ConfigError
from benchmark.protocols import builtin_protocols, get_protocol
from training import train
from training.settings import runs_from, say_changes

MCIO = {"M": "msu", "C": "casia", "I": "replay", "O": "oulu"}


def runs(*arguments, detector="demo"):
    return runs_from(*train.parse(["--detector", str(CONFIG_DIR / f"{detector}.yaml"), *arguments]))


def test_mcio_leaves_one_domain_out_and_adds_celeba_spoof():
    folds = get_protocol("fas_mcio").runs()
    assert len(folds) == 4
    for name, fold in folds.items():
        sources, target = name.split("->")
        assert fold.test == [f"MCIO/{MCIO[target]}"]
        assert fold.train[-1] == "MCIO/celeb"
        assert set(fold.train[:-1]) == {f"MCIO/{MCIO[letter]}" for letter in sources}
        assert set(sources) | {target} == set(MCIO)


def test_mcio_runs_have_their_own_folders_rules_and_metrics():
    configs = [run.config for run in runs("--protocol", "fas_mcio", detector="fas_fsfm_base")]
    assert [config.name for config in configs] == [f"fas_fsfm_base/{n}" for n in ("OCI2M", "OMI2C", "OCM2I", "ICM2O")]
    assert {config.protocol.fold for config in configs} == set(get_protocol("fas_mcio").folds)
    for config in configs:
        assert (config.data.holdout, config.evaluation.metrics) == (0.1, "fas")
        assert (config.evaluation.select.metric, config.evaluation.select.rule) == ("hter", "validation")
    published = runs("--protocol", "fas_mcio", "evaluation.select.rule=published", detector="fas_fsfm_base")
    assert published[0].config.evaluation.select.rule == "published"


def test_wcs_leaves_one_of_three_out():
    folds = get_protocol("fas_wcs").runs()
    assert [fold.test for fold in folds.values()] == [["WCS/wmca"], ["WCS/cefa"], ["WCS/surf"]]
    assert all(len(fold.train) == 3 and not set(fold.train) & set(fold.test) for fold in folds.values())


def test_diff_trains_on_deepfakes_and_never_selects_on_test_images():
    [(config, _)] = runs("--protocol", "diff", detector="fsfm_diff")
    assert (config.data.train, config.data.val) == (["FF++/Deepfakes@c23"], ["DiFF"])
    assert config.data.test == ["DiFF/T2I", "DiFF/I2I", "DiFF/FS", "DiFF/FE"]
    assert get_protocol("diff_source").runs()[""].val is None
    per_kind = get_protocol("diff_per_kind").runs()
    assert all(fold.val == fold.test == [f"DiFF/{kind}"] for kind, fold in per_kind.items())


def test_diff_and_ffpp_agree_on_what_is_fake():
    """The published folders of DiFF sorted the other way round than those of FF++; here labels go by name."""
    cards = builtin_cards()
    assert cards["DiFF"].labels == {"DiFF_real": 0, **{f"DiFF_{kind}_fake": 1 for kind in ("T2I", "I2I", "FS", "FE")}}
    from benchmark.data.index import label_of

    assert [label_of(cls, cards["DiFF"].labels, "") for cls in sorted(["DiFF_real", "DiFF_FS_fake"])] == [1, 0]
    assert [label_of(cls, {}, "") for cls in ("FF-real", "FF-DF")] == [0, 1]


@pytest.mark.parametrize("name", builtin_protocols())
def test_words_of_every_protocol_are_known(name, tmp_path):
    for fold in get_protocol(name).runs().values():
        for text in (*fold.train, *(fold.val or ()), *fold.test):
            parse_word(text, tmp_path)


def test_a_world_moves_words_replaces_them_and_says_what_it_lacks(capsys):
    from benchmark.cli import setup_logging

    setup_logging()
    [(config, _)] = runs("--protocol", "dfd", "--world", "demo")
    assert config.data.train == ["demo/FF++@c23"]
    assert config.data.test == ["demo/CDFv2", "demo/DFDC"]
    assert config.protocol.world == "demo"
    assert config.protocol.changes == {"CDFv2-NYR": None, "DFDCP": None, "WDF": None}
    say_changes(config)
    said = capsys.readouterr().err
    assert "World demo: DFDCP is left out." in said
    assert "World demo: WDF is left out." in said
    folds = [config for config, _ in runs("--protocol", "fas_wcs", "--world", "demo")]
    assert folds[0].data.train == ["demo/MCIO/casia", "demo/MCIO/replay", "demo/MCIO/celeb"]
    say_changes(folds[0])
    assert "World demo: MCIO/msu stands for WCS/wmca." in capsys.readouterr().err
    assert runs("--protocol", "dfd")[0].config.protocol.changes == {}


def test_an_undeclared_gap_in_a_world_is_an_error_not_a_smaller_test():
    from benchmark.errors import DataError

    [(config, _)] = runs("--protocol", "dfd", "--world", "moon")
    with pytest.raises(DataError, match="No dataset named 'moon/CDFv2'"):
        parse_word(config.data.test[0], config.paths.indexes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [FF++]\ntest: [WDF]\nworlds: {demo: {WDF: null}}\n", "world demo has none of its test data sets"),
        ("train: [FF++]\ntest: [WDF]\nworlds: {demo: {DFDC: null}}\n", "worlds.demo names DFDC, which it does not use"),
        ("train: [FF++]\nfolds: {a: {train: [FF++], test: [WDF]}}\n", "either train and test, or folds"),
        ("train: [FF++]\ntest: [WDF]\nholdout: 0.9\n", "holdout"),
    ],
)
def test_broken_protocol_files(tmp_path, text, message):
    path = tmp_path / "p.yaml"
    path.write_text(f"name: p\n{text}")
    with pytest.raises(ConfigError, match=message):
        runs("--protocol", str(path), "--world", "demo")


def test_the_page_about_protocols_names_every_protocol():
    page = (CONFIG_DIR.parent / "docs" / "protocols.md").read_text(encoding="utf-8")
    assert [name for name in builtin_protocols() if f"`{name}`" not in page] == []
