"""What the tests of layouts share: trees of empty files, and a short way to say what a layout found in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Scan

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make empty files (names) and files with content (keywords cannot hold slashes, so a mapping)."""

    def make(*names: str, texts: dict[str, str] | None = None, images: tuple[str, ...] = ()) -> Path:
        for name in (*names, *(texts or {}), *images):
            (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "raw" / name).touch()
        for name, text in (texts or {}).items():
            (tmp_path / "raw" / name).write_bytes(text.encode())
        for name in images:
            picture = np.full((32, 32, 3), 90, np.uint8)
            picture[8:24, 8:24] = 255
            ok, content = cv2.imencode(Path(name).suffix, picture)
            assert ok
            (tmp_path / "raw" / name).write_bytes(content.tobytes())
        return tmp_path / "raw"

    return make


@pytest.fixture
def scan() -> Callable[..., Scan]:
    """Scan a root with a registered layout."""

    def run(layout: str, root: Path, **options: Any) -> Scan:
        return LAYOUTS.get(layout)(**options).scan(root)

    return run


@pytest.fixture
def rows() -> Callable[[Scan], set[tuple[str, str, str]]]:
    """(class, split, folder/video) of everything found."""
    return lambda found: {(item.cls, item.split, item.id) for item in found.items}


@pytest.fixture
def said() -> Callable[[Scan, str], dict[str, str]]:
    """Remarks of one kind: place -> reason."""
    return lambda found, kind: {remark.place: remark.reason for remark in found.remarks if remark.kind == kind}
