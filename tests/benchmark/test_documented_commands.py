"""Every command in a code block of the README and of docs/ is one that the programs accept."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmark.__main__ import build_parser
from benchmark.config import CONFIG_DIR
from benchmark.data.cards import parse_word
from benchmark.protocols import get_protocol
from benchmark.schema import load_run_config
from training import test as scoring
from training import train

ROOT = CONFIG_DIR.parent
PROGRAMS = {"training/train.py": train, "training/test.py": scoring}
OWN_FILES = ("my_", "mine", "my-", "path/", "hf-hub:", "/")


def commands() -> list[str]:
    """Commands of code blocks, one string each; lines that end in a backslash are joined, shortened ones left out."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            text = re.sub(r"\s+#\s.*", "", line).strip().removeprefix("$ ")
            if "..." not in text and re.match(
                r"(python -m benchmark |(python|torchrun .*?) ?training/(train|test)\.py)", text
            ):
                found.append(text)
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_a_documented_command_is_accepted(command):
    words = [word for word in shlex.split(command) if word not in (">", "|")]
    program = next((number for number, word in enumerate(words) if word in PROGRAMS), None)
    if program is None:
        assert build_parser().parse_args(words[3:]).verb == words[3]
        return
    options, overrides = PROGRAMS[words[program]].parse(words[program + 1 :])
    if not options.detector.startswith(OWN_FILES):
        load_run_config(
            Path(options.detector) if Path(options.detector).is_file() else ROOT / options.detector, overrides
        )
    for word in [*(getattr(options, "train", None) or ()), *(options.test or ())]:
        if not word.startswith(OWN_FILES):
            parse_word(word, ROOT / "datasets_json")
    if options.protocol and not options.protocol.startswith(OWN_FILES):
        get_protocol(options.protocol)


def test_commands_are_found():
    assert len(commands()) > 40
