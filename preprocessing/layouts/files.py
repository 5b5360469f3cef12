"""What layouts share: finding videos, images and ready crops under a folder, and reading the lists of a release."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.errors import DataError
from preprocessing.layouts.base import Item, Remark, list_files
from preprocessing.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FrameSource, ImageFiles, VideoFile

CROP_FOLDER = "frames"
_WRITTEN_BY_TOOLS = frozenset({CROP_FOLDER, "landmarks", "masks"})  # DeepfakeBench writes them beside the videos


@dataclass(frozen=True, slots=True)
class Found:
    """A video, an image, or a folder of images.

    Attributes:
        path: the file, or the folder.
        name: stem of the file, or the folder's name.
        inner: folders between the folder that was searched and this one.
        source: where the frames come from.
        is_cropped: the frames are face crops already.
    """

    path: Path
    name: str
    inner: tuple[str, ...]
    source: FrameSource
    is_cropped: bool = False

    @property
    def flat_name(self) -> str:
        """Folders and name joined by underscores: stays unique where equal stems lie in nested folders."""
        return "_".join((*self.inner, self.name))

    def item(self, cls: str, split: str, folder: str, video: str, facts: Mapping[str, Any] | None = None) -> Item:
        """An item of a dataset without compression levels and masks; ``facts`` as in ``Item``."""
        return Item(cls, split, folder, video, self.source, is_cropped=self.is_cropped, facts=facts or {})


def each(found: Iterable[Found | Remark], make: Callable[[Found], Item | Remark]) -> Iterator[Item | Remark]:
    """What ``make`` says about everything found; remarks pass through."""
    return (entry if isinstance(entry, Remark) else make(entry) for entry in found)


def place(path: Path, root: Path) -> str:
    """Slash path relative to the root."""
    return path.relative_to(root).as_posix()


def walk(root: Path, folder: Path, suffixes: Collection[str], ignore: Collection[str] = ()) -> Iterator[Path | Remark]:
    """Files of a folder and its sub-folders in natural order, with a remark about each that is not used.

    Args:
        root: what the remarks' places are relative to.
        folder: where to begin.
        suffixes: endings wanted.
        ignore: endings of companion files (annotations) that are passed over without a remark.
    """
    for path, reason in list_files(folder, suffixes):
        if path.is_dir():
            if path.name not in _WRITTEN_BY_TOOLS:
                yield from walk(root, path, suffixes, ignore)
        elif not reason:
            yield path
        elif path.suffix.lower() not in ignore:
            yield Remark("left out", place(path, root), reason)


def find_videos(
    root: Path, folder: Path, *, crops_only: bool = False, ignore: Collection[str] = ()
) -> Iterator[Found | Remark]:
    """Videos anywhere under a folder; where there are none, the crops DeepfakeBench wrote (``frames/VIDEO/*.png``).

    A sub-folder ``videos``, which some copies have between, does not count as part of ``inner``.

    Args:
        root: the user's copy of the dataset.
        folder: where to search.
        crops_only: take the crops even if the videos are there.
        ignore: endings of companion files.
    """
    any_video = False
    for path in () if crops_only else walk(root, folder, VIDEO_SUFFIXES, ignore):
        if isinstance(path, Remark):
            yield path
            continue
        any_video = True
        inner = tuple(part for part in path.parent.relative_to(folder).parts if part != "videos")
        yield Found(path, path.stem, inner, VideoFile(path))
    if not any_video:
        for crops in sorted(folder.rglob(CROP_FOLDER)):
            inner = crops.parent.relative_to(folder).parts
            for found in find_image_folders(root, crops):
                yield (
                    found
                    if isinstance(found, Remark)
                    else Found(found.path, found.name, (*inner, *found.inner), found.source, is_cropped=True)
                )


def find_images(root: Path, folder: Path, ignore: Collection[str] = ()) -> Iterator[Found | Remark]:
    """Still images anywhere under a folder, each on its own."""
    for path in walk(root, folder, IMAGE_SUFFIXES, ignore):
        if isinstance(path, Remark):
            yield path
        else:
            yield Found(path, path.stem, path.parent.relative_to(folder).parts, ImageFiles((path,)))


def find_image_folders(
    root: Path, folder: Path, ignore: Collection[str] = (), suffixes: Collection[str] = IMAGE_SUFFIXES
) -> Iterator[Found | Remark]:
    """Folders under ``folder`` that hold images themselves: each is one video, its images the frames in order."""
    for path, _ in list_files(folder, ()):
        if not path.is_dir() and path.suffix.lower() not in ignore:
            yield Remark("left out", place(path, root), "not in a folder of its own")
    yield from _image_folders(root, folder, ignore, suffixes)


def _image_folders(
    root: Path, folder: Path, ignore: Collection[str], suffixes: Collection[str]
) -> Iterator[Found | Remark]:
    for path, _ in list_files(folder, ()):
        if not path.is_dir() or path.name in _WRITTEN_BY_TOOLS - {CROP_FOLDER}:
            continue
        images: list[Path] = []
        has_folders = False
        for inside, reason in list_files(path, suffixes):
            if inside.is_dir():
                has_folders = True
            elif not reason:
                images.append(inside)
            elif inside.suffix.lower() not in ignore:
                yield Remark("left out", place(inside, root), reason)
        if images:
            yield Found(path, path.name, (), ImageFiles(tuple(images)), is_cropped=True)
        elif not has_folders:
            yield Remark("left out", place(path, root), "a folder without images")
        if has_folders:
            for found in _image_folders(root, path, ignore, suffixes):
                yield (
                    found
                    if isinstance(found, Remark)
                    else Found(found.path, found.name, (path.name, *found.inner), found.source, is_cropped=True)
                )


def present(dataset: str, root: Path, folders: Iterable[str]) -> tuple[list[str], list[Remark]]:
    """Which of a release's folders are in this copy, and a remark for each of the others.

    Raises:
        DataError: none of them is; a neighbouring folder that has one is named.
    """
    wanted = list(folders)
    there = [name for name in wanted if (root / name).is_dir()]
    if there:
        return there, [Remark("missing", name, "the whole folder") for name in wanted if name not in there]
    inner = (place for place in sorted(root.glob("*/")) if any((place / name).is_dir() for name in wanted))
    near = next(inner, None)
    hint = f" Did you mean --root {near}?" if near else ""
    raise DataError(f"{dataset}: {root} has none of the folders {', '.join(wanted)}. Give the one that has.{hint}")


def absent(listed: Collection[str], seen: Collection[str], source: str) -> Iterator[Remark]:
    """One remark about everything a list names that this copy does not have."""
    lacking = [name for name in listed if name not in seen]
    if lacking:
        yield Remark("missing", lacking[0], f"{len(lacking)} of {len(listed)} entries of {source} are not in this copy")


def read_list(path: Path, dataset: str, hint: str) -> list[str]:
    """Lines of a text list, without blank ones, surrounding spaces, carriage returns or a byte-order mark.

    Raises:
        DataError: no such file; ``hint`` says where it comes from.
    """
    return [line.strip() for line in _text(path, dataset, hint).splitlines() if line.strip()]


def read_json(path: Path, dataset: str, hint: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DataError: no such file, or not a JSON object.
    """
    try:
        data = json.loads(_text(path, dataset, hint))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected an object {{NAME: ...}}, found {type(data).__name__}.")
    return data


def read_table(path: Path, dataset: str, columns: Collection[str], hint: str) -> list[dict[str, str]]:
    """Rows of a CSV file with a header line.

    Raises:
        DataError: no such file, or a column is missing.
    """
    reader = csv.DictReader(_text(path, dataset, hint).splitlines(), skipinitialspace=True)
    names = [name.strip() for name in reader.fieldnames or ()]
    lacking = [name for name in columns if name not in names]
    if lacking:
        raise DataError(f"{path}: no column {', '.join(lacking)}; found {', '.join(names) or 'nothing'}.")
    reader.fieldnames = names
    return [{key: (value or "").strip() for key, value in row.items() if key in names} for row in reader]


def by_label(value: object, meaning: Mapping[str, int], where: str) -> int:
    """A list's own label as 0 (real) or 1 (fake).

    Raises:
        DataError: the value has no meaning there.
    """
    label = meaning.get(str(value).strip())
    if label is None:
        raise DataError(f"{where}: label '{value}' is not one of {', '.join(meaning)}.")
    return label


def without_suffix(name: str) -> str:
    """A listed path in slashes, without its ending: ``a\\b.mp4`` -> ``a/b``."""
    return str(PurePosixPath(name.replace("\\", "/").lstrip("/")).with_suffix(""))


def split_of_group(group: str) -> str:
    """A split for datasets without an official one: about 8 of 10 groups train, 1 val, 1 test.

    It depends on the group's name alone, so it is the same on every machine and for every part of a copy, and all
    videos of a group (a speaker, say) are in one split.
    """
    bucket = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") % 10
    return {0: "test", 1: "val"}.get(bucket, "train")


def _text(path: Path, dataset: str, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{dataset}: the list {path} is missing. {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}).") from error
