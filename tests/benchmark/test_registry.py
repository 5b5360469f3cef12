"""Finding plugins: by scanning source, by file, by module, by entry point; and what happens when one is broken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark import registry
from benchmark.errors import RegistryError
from benchmark.registry import AUGMENTATIONS, BACKBONES, DATASETS, DETECTORS, Registry, load_plugin

HEADER = "from thousand_plugins import THINGS\n\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry[object]]:
    """Makes an importable package ``thousand_plugins`` from file texts, and the registry over it."""

    def make(**files: str) -> Registry[object]:
        folder = tmp_path / "thousand_plugins"
        folder.mkdir()
        (folder / "__init__.py").write_text(
            "from benchmark.registry import Registry\nTHINGS = Registry('thing', 'THINGS', 'thousand_plugins')\n"
        )
        for name, text in files.items():
            (folder / f"{name}.py").write_text(HEADER + text)
        monkeypatch.syspath_prepend(tmp_path)
        for name in [name for name in sys.modules if name.startswith("thousand_plugins")]:
            monkeypatch.delitem(sys.modules, name)
        import thousand_plugins

        return thousand_plugins.THINGS

    return make


GOOD = '@THINGS.register("good")\nclass Good:\n    """A good one.\n\n    More text."""\n'
LACKING = 'import no_such_package_anywhere\n\n@THINGS.register("lacking")\nclass Lacking:\n    """Needs more."""\n'


def test_a_missing_package_breaks_only_the_plugin_that_needs_it(package):
    things = package(good=GOOD, lacking=LACKING)
    assert [(entry.name, entry.summary) for entry in things.entries()] == [
        ("good", "A good one."),
        ("lacking", "Needs more."),
    ]
    assert "thousand_plugins.good" not in sys.modules, "listing imported a plugin"
    assert things.get("good").__name__ == "Good"
    with pytest.raises(RegistryError, match=r"thing 'lacking' cannot be loaded from .*lacking\.py:6: No module named"):
        things.get("lacking")


def test_unknown_name_lists_near_matches_and_how_to_go_on():
    with pytest.raises(RegistryError) as error:
        DETECTORS.get("fsmf")
    assert str(error.value).startswith("No detector named 'fsmf'. Closest: fsfm")
    assert "See all: python -m benchmark list detectors. Own plugin? --plugins path.py" in str(error.value)


def test_the_hint_names_a_list_the_command_line_has():
    from benchmark.__main__ import KINDS

    for kind in (BACKBONES, DETECTORS, DATASETS, AUGMENTATIONS, registry.LAYOUTS):
        with pytest.raises(RegistryError) as error:
            kind.get("nothing like it")
        assert str(error.value).partition("benchmark list ")[2].partition(".")[0] in KINDS


def test_a_name_without_near_match_gets_no_guess(package):
    with pytest.raises(RegistryError, match=r"^No thing named 'xyzzy'\. See all"):
        package(good=GOOD).get("xyzzy")


def test_duplicate_name_in_two_files_shows_both(package):
    things = package(good=GOOD, other=GOOD)
    with pytest.raises(RegistryError, match=r"'good' is registered twice: .*good\.py:4 and .*other\.py:4\. Rename"):
        things.get("good")


def test_duplicate_name_inside_one_file_is_refused(package):
    things = package(good=GOOD + "\n" + GOOD.replace("class Good", "class Better"))
    with pytest.raises(RegistryError, match=r"thing name 'good' is registered twice: .*Good.* and .*Better"):
        things.get("good")


def test_registering_the_same_object_again_is_fine(package):
    things = package(good=GOOD)
    kept = things.get("good")
    assert things.register("good")(kept) is kept


def test_contains_and_iteration_use_the_same_names(package):
    things = package(good=GOOD, lacking=LACKING)
    assert list(things) == ["good", "lacking"]
    assert "good" in things
    assert "bad" not in things


PLUGIN = """
from benchmark.registry import AUGMENTATIONS

@AUGMENTATIONS.register("{name}")
def build(size, mean):
    \"\"\"{name}: from outside.\"\"\"
    return lambda sample, seed: sample
"""


def test_plugin_file_registers_and_loads_once(tmp_path):
    path = tmp_path / "outside_one.py"
    path.write_text(PLUGIN.format(name="outside_one"))
    load_plugin(str(path))
    first = AUGMENTATIONS.get("outside_one")
    load_plugin(str(path))
    assert AUGMENTATIONS.get("outside_one") is first
    assert {entry.name: entry.summary for entry in AUGMENTATIONS.entries()}[
        "outside_one"
    ] == "outside_one: from outside."


def test_two_plugin_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "outside_two.py").write_text(PLUGIN.format(name=f"outside_two_{folder}"))
    load_plugin(str(tmp_path / "a" / "outside_two.py"))
    with pytest.raises(RegistryError, match=r"another plugin file named outside_two\.py is already loaded"):
        load_plugin(str(tmp_path / "b" / "outside_two.py"))


def test_plugin_module_by_name(tmp_path, monkeypatch):
    (tmp_path / "outside_three_module.py").write_text(PLUGIN.format(name="outside_three"))
    monkeypatch.syspath_prepend(tmp_path)
    load_plugin("outside_three_module")
    assert "outside_three" in AUGMENTATIONS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError"),
        ("import no_such_package_anywhere", "No module named 'no_such_package_anywhere'"),
    ],
)
def test_broken_plugin_file_says_what_failed_and_can_be_loaded_again(tmp_path, text, message):
    path = tmp_path / "outside_broken.py"
    path.write_text(text)
    with pytest.raises(RegistryError) as error:
        load_plugin(str(path))
    assert str(error.value).startswith(f"--plugins {path}: ")
    assert message in str(error.value)
    assert "benchmark_plugin_outside_broken" not in sys.modules


@pytest.mark.parametrize("reference", ["nowhere/plugin.py", "no_such_package_anywhere"])
def test_missing_plugin_is_refused(reference):
    with pytest.raises(RegistryError, match=f"--plugins {reference}: "):
        load_plugin(reference)


def test_plugin_cannot_take_a_built_in_name(tmp_path):
    """In a process of its own: the clash would stay in this one's registry."""
    path = tmp_path / "thief.py"
    path.write_text(PLUGIN.format(name="fsfm"))
    code = (
        "from benchmark.registry import AUGMENTATIONS, load_plugin\nfrom benchmark.errors import RegistryError\n"
        f"try:\n    load_plugin({str(path)!r})\n    AUGMENTATIONS.get('fsfm')\nexcept RegistryError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "augmentation name 'fsfm' is registered twice" in done.stdout
    assert "thief.py" in done.stdout
    assert "augmentation.py" in done.stdout


class FakeEntryPoint:
    def __init__(self, name: str, load: Callable[[], object]) -> None:
        self.name, self.value, self.load = name, f"{name}:plugin", load


def test_entry_points_are_loaded_and_a_broken_one_stops_nobody(monkeypatch, package):
    things = package(good=GOOD)

    def announce() -> None:
        things.register("announced")(FakeEntryPoint)

    def explode() -> None:
        raise OSError("its library is gone")

    points = [FakeEntryPoint("broken_one", explode), FakeEntryPoint("fine_one", announce)]
    groups = []
    monkeypatch.setattr(registry, "entry_points", lambda group: groups.append(group) or points)
    monkeypatch.setattr(registry, "_loaded_entry_points", False)
    monkeypatch.setattr(registry, "_failed_entry_points", {})
    assert things.get("announced") is FakeEntryPoint
    assert groups == ["face_security_benchmark.plugins"]
    with pytest.raises(RegistryError, match="Entry point broken_one failed: OSError: its library is gone"):
        things.get("nothing")


HEAVY = ("torch", "timm", "cv2", "albumentations", "pandas", "sklearn", "scipy", "dlib", "tensorboardX")


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["list"], ["list", "detectors"]])
def test_help_and_lists_import_nothing_heavy(arguments, tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['benchmark', *{arguments!r}]\n"
        "try:\n    runpy.run_module('benchmark', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip().endswith("HEAVY []")
    if arguments[0] == "list" and "--help" not in arguments:
        assert "FSFM / FS-VFM full fine-tuning" in done.stdout
