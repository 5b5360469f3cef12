"""RetinaFace and YuNet with stand-ins for what cannot be had without a network: the adapters are ours to test."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from benchmark.errors import ConfigError, RegistryError
from preprocessing.tools import build_finder


class StubDetector:
    """Answers like facer's RetinaFace; remembers what it was given."""

    seen: list[tuple[Any, ...]] = []

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.append((images.dtype, tuple(images.shape)))
        return {
            "rects": torch.tensor([[10.4, 10.6, 30.0, 40.0], [50.0, 20.0, 90.0, 70.0]]),
            "points": torch.arange(20, dtype=torch.float32).reshape(2, 5, 2),
            "scores": torch.tensor([0.6, 0.9]),
            "image_ids": torch.tensor([0, 0]),
        }


@pytest.fixture
def facer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("facer")
    calls: list[Any] = []
    module.calls = calls  # type: ignore[attr-defined]

    def face_detector(name: str, device: str, **options: Any) -> StubDetector:
        calls.append((name, device, options))
        if name == "no/weights":
            raise OSError("cannot reach the server")
        return StubDetector()

    module.face_detector = face_detector  # type: ignore[attr-defined]
    module.hwc2bchw = lambda image: image.permute(2, 0, 1)[None]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "facer", module)
    build_finder.cache_clear()
    return module


def test_retinaface(facer: ModuleType) -> None:
    finder = build_finder("retinaface", (("device", "cpu"), ("threshold", 0.4)))
    assert facer.calls == [("retinaface/mobilenet", "cpu", {"threshold": 0.4})]
    faces = finder.find(np.zeros((100, 120, 3), np.uint8))
    assert StubDetector.seen[-1] == (torch.uint8, (1, 3, 100, 120))
    assert [face.box for face in faces] == [(50, 20, 90, 70), (10, 11, 30, 40)], "best first"
    assert faces[0].points is not None
    assert faces[0].points.tolist() == np.arange(10, 20).reshape(5, 2).tolist()
    assert finder.settings() == {"model": "retinaface/mobilenet", "threshold": 0.4}
    assert set(finder.versions()) == {"pyfacer", "torch"}
    assert finder.gives_points


def test_retinaface_errors(facer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"cannot make 'no/weights'.*cannot reach the server.*downloaded once"):
        build_finder("retinaface", (("model", "no/weights"), ("device", "cpu")))
    with pytest.raises(ConfigError, match="threshold"):
        build_finder("retinaface", (("threshold", 3),))
    monkeypatch.setitem(sys.modules, "facer", None)
    with pytest.raises(RegistryError, match=r"pip install pyfacer"):
        build_finder("retinaface")


def test_yunet_needs_a_model_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--face-option model=PATH .*opencv_zoo"):
        build_finder("yunet")
    with pytest.raises(ConfigError, match=r"no model file at nowhere\.onnx"):
        build_finder("yunet", (("model", "nowhere.onnx"),))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(ConfigError, match="OpenCV cannot load"):
        build_finder("yunet", (("model", str(broken)),))


def test_yunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.arange(15, dtype=np.float32)
    weak = row.copy()
    weak[14] = 0.1
    sizes: list[tuple[int, int]] = []

    class Stub:
        def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802 - OpenCV's name
            sizes.append(size)

        def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
            assert image[0, 0].tolist() == [30, 20, 10], "OpenCV's networks take BGR"
            return 1, np.stack([weak, row])

    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"x")
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: Stub())
    finder = build_finder("yunet", (("max_side", 50), ("model", str(model))))
    image = np.empty((60, 100, 3), np.uint8)
    image[:] = (10, 20, 30)
    faces = finder.find(image)
    assert sizes == [(50, 30)]
    assert faces[0].box == (0, 2, 4, 8), "boxes are in pixels of the frame, not of the reduced picture"
    assert [face.score for face in faces] == [14, pytest.approx(0.1)]
    assert faces[0].points is not None
    assert faces[0].points[0].tolist() == [8, 10]
    settings = finder.settings()
    assert settings["model_sha256"].startswith("2d711642")
    assert "model" not in settings, "another place of the file is not another setting"
