"""``python -m benchmark masking IMAGE...``: the masking strategies on one's own face pictures, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from preprocessing.settings import Settings

_SIDE = 224
_AUTO_PARSERS = ("facer", "landmarks", "template")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="pictures with a face each")
    parser.add_argument("--out", type=Path, default=Path("masking.png"), metavar="PNG", help="the comparison picture")
    parser.add_argument("--strategies", nargs="+", metavar="S", help="default: all (python -m benchmark list maskings)")
    parser.add_argument("--region", metavar="R", help="cover this region, e.g. eyes (default: a random one)")
    parser.add_argument("--ratio", type=float, default=0.75, help="share of hidden patches (0.75)")
    parser.add_argument("--patch-size", type=int, default=16, help="side of a patch in pixels (16)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other masks")
    parser.add_argument("--face-finder", default="dlib", metavar="F", help="python -m benchmark list face_finders")
    parser.add_argument("--cropped", action="store_true", help="the pictures are face crops already")
    parser.add_argument(
        "--parse", default="auto", metavar="P", help="face parser; auto: facer, else landmarks, else a typical face"
    )
    parser.add_argument("--landmarks", type=Path, metavar="FILE", help="dlib landmark model, for the landmarks parser")
    parser.add_argument("--maps", nargs="+", type=Path, metavar="MAP", help="own parsing maps (.png, .npy) of crops")


def run(options: argparse.Namespace) -> int:
    """Find, crop and parse the faces, draw the picture, print how much of each region is hidden."""
    import cv2

    from benchmark.data.decode import encode_png
    from benchmark.data.transforms import resize_image, resize_map
    from benchmark.registry import MASKINGS
    from detectors.masking import build_masking
    from detectors.masking_picture import compare_maskings

    if not 0 < options.ratio < 1:
        raise ConfigError(f"--ratio {options.ratio:g} must lie between 0 and 1.")
    if options.patch_size < 1 or _SIDE % options.patch_size:
        raise ConfigError(f"--patch-size {options.patch_size} must divide {_SIDE}.")
    cv2.setNumThreads(1)
    faces = _own_maps(options) if options.maps else _found_faces(options)
    images = [resize_image(image, _SIDE, _SIDE) for image, _ in faces]
    maps = [resize_map(ids, _SIDE, _SIDE) for _, ids in faces]
    names = options.strategies or sorted(MASKINGS)
    maskings = {name: build_masking(name, **_region_of(name, options.region)) for name in names}
    picture, counts = compare_maskings(
        images, maps, maskings, patch_size=options.patch_size, ratio=options.ratio, seed=options.seed
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(encode_png(picture))
    _print_counts(options.images, counts)
    print(f"wrote {options.out}")  # noqa: T201 - the command's output
    return 0


def _region_of(strategy: str, region: str | None) -> dict[str, str]:
    """The option ``region``, for strategies that have it."""
    import inspect

    from benchmark.registry import MASKINGS

    has_option = "region" in inspect.signature(MASKINGS.get(strategy)).parameters
    return {"region": region} if region is not None and has_option else {}


def _own_maps(options: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    from benchmark.data.decode import decode_image, decode_map

    if len(options.maps) != len(options.images):
        raise ConfigError(f"--maps: {len(options.maps)} maps for {len(options.images)} images; give one each.")
    pairs = zip(options.images, options.maps, strict=True)
    return [(decode_image(_bytes(image), str(image)), decode_map(_bytes(ids), str(ids))) for image, ids in pairs]


def _found_faces(options: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    """Crops and maps, made by the same code as a dataset's."""
    from benchmark.data.decode import decode_image, decode_map
    from preprocessing.frames import FrameWorker, StoredFrame
    from preprocessing.parsers.base import FrameName
    from preprocessing.task import build_tools

    settings = _settings(options)
    worker = FrameWorker(settings, build_tools(settings))
    process = worker.process_crop if options.cropped else worker.process
    found = []
    for path in options.images:
        image = decode_image(_bytes(path), str(path))
        stored = process(image, None, FrameName("", path.stem, 0))
        if not isinstance(stored, StoredFrame):
            hint = "" if options.cropped else " Is it a face crop already? --cropped"
            raise DataError(f"{path}: {stored}.{hint}")
        found.append((decode_image(stored.image, str(path)), decode_map(stored.parts["parsing"], str(path))))
    return found


def _settings(options: argparse.Namespace) -> Settings:
    """Settings of the pre-processing, with the best parser that is there."""
    from loguru import logger

    from benchmark.registry import FACE_PARSERS
    from preprocessing.faces.landmarks import AUTO, find_predictor, resolve_predictor
    from preprocessing.settings import Settings

    name = options.parse
    if name == "auto":
        has_model = options.landmarks is not None or find_predictor() is not None
        there: dict[str, bool] = {"facer": _has_package("facer"), "landmarks": has_model, "template": True}
        name = next(parser for parser in _AUTO_PARSERS if there[parser])
        logger.info("Face parser: {}", name)
    predictor: str | None = None
    if FACE_PARSERS.get(name).needs_landmarks:
        predictor = str(resolve_predictor(str(options.landmarks or AUTO)))
    return Settings(face_finder=options.face_finder, face_choice="largest", parser=name, predictor=predictor)


def _has_package(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from None


def _print_counts(images: Sequence[Path], counts: Sequence[dict[str, dict[str, Any]]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for path, by_strategy in zip(images, counts, strict=True):
        table = Table(title=f"{path.name}: hidden/all patches per region", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("region", style="bold")
        for strategy in by_strategy:
            table.add_column(strategy, justify="right")
        for region in next(iter(by_strategy.values())):
            table.add_row(region, *(regions[region] for regions in by_strategy.values()))
        console.print(table)
