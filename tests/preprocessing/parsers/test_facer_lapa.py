"""facer's parser with a stand-in module: how it is fed and read is ours to test, its weights are not here."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.errors import RegistryError
from preprocessing.parsers.base import FrameName
from preprocessing.tools import build_parser

NAME = FrameName("f", "v", 0)


class StubFacer(ModuleType):
    """Two faces (or none); logits whose highest class is a column pattern for the first face."""

    def __init__(self) -> None:
        super().__init__("facer")
        self.calls: list[Any] = []
        self.images: list[torch.Tensor] = []
        self.num_faces = 2

    def hwc2bchw(self, image: torch.Tensor) -> torch.Tensor:
        return image.permute(2, 0, 1)[None]

    def face_detector(self, name: str, device: str, **options: Any) -> Any:
        self.calls.append(("detector", name, device, options))

        def detect(images: torch.Tensor) -> dict[str, torch.Tensor]:
            self.images.append(images)
            count = self.num_faces
            return {"rects": torch.zeros(count, 4), "points": torch.zeros(count, 5, 2), "scores": torch.ones(count),
                    "image_ids": torch.zeros(count, dtype=torch.long)}  # fmt: skip

        return detect

    def face_parser(self, name: str, device: str, **options: Any) -> Any:
        self.calls.append(("parser", name, device, options))

        def parse(images: torch.Tensor, faces: dict[str, torch.Tensor]) -> dict[str, Any]:
            assert len(faces["rects"]) == len(faces["points"]) == 1, "only the first face is parsed"
            classes = torch.arange(224).remainder(11).expand(224, 224)
            logits = torch.nn.functional.one_hot(classes, 11).permute(2, 0, 1)[None].float()
            return {**faces, "seg": {"logits": logits}}

        return parse


@pytest.fixture
def facer(monkeypatch: pytest.MonkeyPatch) -> StubFacer:
    module = StubFacer()
    monkeypatch.setitem(sys.modules, "facer", module)
    build_parser.cache_clear()
    return module


def test_published_procedure(facer: StubFacer) -> None:
    parser = build_parser("facer", (("device", "cpu"),))
    assert facer.calls == [
        ("detector", "retinaface/mobilenet", "cpu", {"threshold": 0.3}),
        ("parser", "farl/lapa/448", "cpu", {}),
    ]
    image = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    parsing = parser.parse(image, None, NAME)
    assert parsing is not None
    assert parsing.dtype == np.uint8
    assert parsing.shape == (224, 224)
    assert parsing[0, :12].tolist() == [*range(11), 0]
    [given] = facer.images
    assert given.dtype == torch.uint8
    bicubic = np.array(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC))
    assert (given[0].permute(1, 2, 0).numpy() == bicubic).all()
    assert parser.settings()["threshold"] == 0.3
    assert set(parser.versions()) == {"pyfacer", "torch", "Pillow"}


def test_no_face_gives_no_map(facer: StubFacer) -> None:
    facer.num_faces = 0
    assert build_parser("facer", (("device", "cpu"),)).parse(np.zeros((64, 64, 3), np.uint8), None, NAME) is None


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facer", None)
    build_parser.cache_clear()
    with pytest.raises(RegistryError, match=r"Face parser 'facer' needs .* pip install pyfacer"):
        build_parser("facer")
