"""Killed at any moment, run again: the same store and index as without the kill."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import DataError
from preprocessing.prepare import prepare
from preprocessing.report import PrepareReport
from preprocessing.writer import JOURNAL, DatasetWriter, Header, read_journal

ReadStore = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def make(mini: Path, bright: str) -> Callable[..., PrepareReport]:
    def run(out: Path, **changes: Any) -> PrepareReport:
        options: dict[str, Any] = {"frames": 4, "face_finder": "bright", "workers": 1, "plugins": [bright], **changes}
        return prepare("FF++", mini, data_dir=out, index_dir=out, **options)

    return run


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in tasks.read_text().split()] if tasks.exists() else []


def is_running(pid: int) -> bool:
    """True while the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def start(mini: Path, out: Path, bright: str, delay: str = "0.25") -> subprocess.Popen[bytes]:
    words = ["FF++", "--root", str(mini), "--data", str(out), "--index", str(out), "--frames", "4", "--workers", "2"]
    command = [sys.executable, "-m", "preprocessing.prepare", *words, "--face-finder", "bright", "--plugins", bright]
    repository = Path(__file__).parents[2]
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a suite in the background hands on "ignored"
    return subprocess.Popen(command, cwd=repository, env={**os.environ, "BRIGHT_DELAY": delay}, preexec_fn=listens)


def num_finished(out: Path) -> int:
    journal = read_journal(out / "FaceForensics++_lmdb.partial")
    return len(journal.results) if journal else 0


def test_kill_and_resume(
    mini: Path, tmp_path: Path, bright: str, make: Callable[..., PrepareReport], read_store: ReadStore
) -> None:
    whole = make(tmp_path / "whole")
    out = tmp_path / "killed"
    process = start(mini, out, bright)
    wait_for(lambda: num_finished(out) > 0)
    workers = children(process.pid)
    process.kill()
    process.wait()
    finished = num_finished(out)
    assert 0 < finished < 8
    assert not (out / "FaceForensics++_lmdb").exists(), "a half-written store is never visible"
    assert not (out / "FaceForensics++.json").exists()
    wait_for(lambda: not any(map(is_running, workers)))
    resumed = make(out)
    assert (resumed.new, resumed.kept) == (8 - finished, finished)
    assert read_store(resumed.store) == read_store(whole.store)
    assert resumed.index.read_bytes() == whole.index.read_bytes()
    assert make(out).new == 0


def test_ctrl_c_keeps_what_is_finished(
    mini: Path, tmp_path: Path, bright: str, make: Callable[..., PrepareReport]
) -> None:
    out = tmp_path / "out"
    process = start(mini, out, bright)
    wait_for(lambda: num_finished(out) > 0)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    assert make(out).kept >= 1


@pytest.mark.parametrize("step", ["preprocessing.writer.StoreWriter.close", "preprocessing.writer.write_index"])
def test_stopped_between_store_and_index(
    tmp_path: Path, make: Callable[..., PrepareReport], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The process ends right before the store is moved into place, or right before the index is written."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    whole = make(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(step, stop)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "out")
    again = make(tmp_path / "out")
    assert (again.new, again.kept) == (0, 8)
    assert again.index.read_bytes() == whole.index.read_bytes()


def test_a_torn_journal_line_is_passed_over(tmp_path: Path, make: Callable[..., PrepareReport]) -> None:
    report = make(tmp_path)
    partial = report.store.with_name(f"{report.store.name}.partial")
    report.store.rename(partial)
    journal = partial / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-40])
    assert make(tmp_path).new == 1
    journal = report.store / JOURNAL
    journal.write_text(journal.read_text().replace('"folder"', '"fol', 1))
    with pytest.raises(DataError, match="broken journal"):
        make(tmp_path)


def test_an_unfinished_store_of_other_settings(tmp_path: Path, make: Callable[..., PrepareReport]) -> None:
    report = make(tmp_path)
    partial = report.store.with_name(f"{report.store.name}.partial")
    report.store.rename(partial)
    with pytest.raises(DataError, match="other settings: frame_rule was '4', now '5'"):
        make(tmp_path, frames=5)
    partial.joinpath(JOURNAL).unlink()
    assert make(tmp_path, frames=5).new == 8, "a folder without a journal holds nothing that is known to be finished"


def test_a_full_disk_is_a_clear_error(
    tmp_path: Path, make: Callable[..., PrepareReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"Cannot write to .*No space left.*make room"):
            make(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("preprocessing.writer.DatasetWriter._append_journal", lambda _: full(0))
        with pytest.raises(DataError, match=r"Cannot write to .*No space left.*make room"):
            make(tmp_path)
    assert make(tmp_path).rows


def test_a_dying_worker_is_a_clear_error(tmp_path: Path, make: Callable[..., PrepareReport]) -> None:
    plugin = tmp_path / "deadly.py"
    plugin.write_text(
        "import os\n"
        "from benchmark.registry import FACE_FINDERS\n"
        "from preprocessing.faces.base import FaceFinder\n"
        "@FACE_FINDERS.register('deadly')\n"
        "class Deadly(FaceFinder):\n"
        "    def find(self, image):\n"
        "        os._exit(1)\n"
    )
    with pytest.raises(DataError, match=r"worker process died.*manipulated_sequences"):
        make(tmp_path, face_finder="deadly", workers=2, plugins=[str(plugin)])


def test_a_large_store_is_resumed(tmp_path: Path) -> None:
    header = Header("D", {"image_format": "png"}, "f", {})
    writer = DatasetWriter(tmp_path / "D_lmdb", header)
    writer.begin()
    assert writer._writer is not None
    for index in range(5):
        writer._writer.put(f"{index}", os.urandom(1 << 24))
    writer.abort()
    again = DatasetWriter(tmp_path / "D_lmdb", header)
    again.begin()
    assert again._writer is not None
    assert len(again._writer.get("4") or b"") == 1 << 24
    again._writer.put("5", os.urandom(1 << 24))
    again.publish()
    assert again.is_published
