"""The command lines: exit status, where messages go, words and overrides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.__main__ import main
from benchmark.cli import guarded, split_overrides
from benchmark.data.cards import builtin_cards
from benchmark.data.index import read_index
from benchmark.errors import DataError

ROOT = Path(__file__).parents[2]


def test_overrides_may_stand_anywhere():
    words = ["optimizer.lr=1e-4", "--train", "FF++", "DF=x/y", "trainer.seed=3", "--name", "a", "./p=q.json", "a b=c"]
    rest, overrides = split_overrides(words)
    assert overrides == ["optimizer.lr=1e-4", "DF=x/y", "trainer.seed=3"]
    assert rest == ["--train", "FF++", "--name", "a", "./p=q.json", "a b=c"]


def test_user_errors_are_one_message_and_status_2(capsys):
    def fail() -> int:
        raise DataError("the data is gone")

    assert guarded(fail) == 2
    assert capsys.readouterr().err == "error: the data is gone\n"


def test_bugs_are_not_hidden():
    def fail() -> int:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        guarded(fail)


def test_interrupt_is_130(capsys):
    def stop() -> int:
        raise KeyboardInterrupt

    assert guarded(stop) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    "kind", ["backbones", "detectors", "datasets", "protocols", "augmentations", "maskings", "readers"]
)
def test_list_shows_each_kind(kind, tmp_path, capsys):
    expected = {
        "backbones": "fsfm_vit_base_patch16",
        "detectors": "fsfm",
        "datasets": "CDFv2",
        "protocols": "dfd",
        "augmentations": "deepfakebench",
        "maskings": "crfr_p",
        "readers": "folder",
    }
    assert main(["list", kind, "--indexes", str(tmp_path)]) == 0
    assert expected[kind] in capsys.readouterr().out


def test_list_knows_the_users_own_data_and_plugins(toy_world, tmp_path, capsys):
    plugin = tmp_path / "listed_plugin.py"
    plugin.write_text(
        "from benchmark.registry import DETECTORS\n\n@DETECTORS.register('listed_plugin')\nclass Mine:\n"
        "    '''A detector of my own.'''\n"
    )
    assert main(["list", "--indexes", str(toy_world.indexes), "--plugins", str(plugin)]) == 0
    out = capsys.readouterr().out
    assert "A detector of my own." in out
    toy = next(line for line in out.splitlines() if line.strip().startswith("Toy "))
    assert "yes" in toy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere.csv"], "error: Cannot read predictions nowhere.csv: No such file or directory."),
        (["list", "detectors", "--plugins", "nowhere.py"], "error: --plugins nowhere.py: no such file."),
    ],
)
def test_verbs_fail_with_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip() == message


def test_wrong_arguments_are_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["lits"])
    assert stop.value.code == 2
    assert "invalid choice: 'lits'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train.py", ["--detector", "configs/fsmf.yaml", "--train", "FF++"], "No configuration file at"),
        (
            "train.py",
            ["--detector", "fsfm", "--train", "FF++", "trainer.bach_size=3"],
            "command line: trainer.bach_size is",
        ),
        ("test.py", ["--detector", "fsfm", "--weights", "w", "--protocol", "dfdd"], "No protocol named 'dfdd'"),
        ("train.py", ["--detector", "fsfm", "--protocol", "dfd", "--train", "FF++"], "leave out --train"),
    ],
)
def test_scripts_fail_with_one_message_and_no_traceback(script, arguments, message, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "training" / script), *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_help_of_the_scripts_imports_nothing_heavy(script):
    code = (
        "import runpy, sys\nsys.argv = ['x', '--help']\n"
        f"try:\n    runpy.run_path({str(ROOT / 'training' / script)!r}, run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print('HEAVY', [name for name in ('torch', 'timm', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("HEAVY []")
    assert "example: python training/" in done.stdout


def test_demo_builds_the_worlds_asked_for_at_the_scale_asked_for(tmp_path):
    places = ["--data", str(tmp_path / "data"), "--indexes", str(tmp_path / "indexes")]
    main(["demo", "--world-only", "--worlds", "demo/CDFv2", "--scale", "0.05", "--seed", "3", *places])
    assert [path.name for path in (tmp_path / "indexes" / "demo").iterdir()] == ["CDFv2.json"]
    index = read_index(tmp_path / "indexes" / "demo" / "CDFv2.json", builtin_cards()["demo/CDFv2"].labels)
    assert len(index.records) == 4
    assert (index.meta["settings"]["scale"], index.meta["settings"]["seed"]) == (0.05, 3)


@pytest.mark.parametrize("words", [["--scale", "2"], ["--seed", "1"], ["--worlds", "demo/CDFv2"]])
def test_demo_refuses_other_worlds_for_its_table(words, capsys):
    assert main(["demo", *words]) == 2
    assert "--world-only" in capsys.readouterr().err


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf", "many"])
def test_demo_refuses_a_scale_that_is_none(scale, capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--world-only", "--scale", scale])
    assert "--scale" in capsys.readouterr().err
