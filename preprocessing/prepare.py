"""Prepare a dataset: raw files to an LMDB store of face crops and a JSON index.

    python -m benchmark prepare FF++ --root FaceForensics --frames 32

From Python: ``prepare("FF++", Path("FaceForensics"), frames=32)``. Heavy libraries are imported when work begins.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchmarkError, ConfigError, DataError

if TYPE_CHECKING:
    from benchmark.data.cards import DatasetCard
    from preprocessing.layouts.base import Item, Layout, Remark
    from preprocessing.report import PrepareReport
    from preprocessing.settings import Settings
    from preprocessing.task import ItemResult, Task
    from preprocessing.writer import DatasetWriter, Header

DATA_DIR = Path("data")
INDEX_DIR = Path("datasets_json")


def prepare(
    dataset: str, root: Path, *, data_dir: Path = DATA_DIR, index_dir: Path = INDEX_DIR,
    frames: int | str | None = None, frames_real: int | str | None = None, levels: Sequence[str] = (),
    layout_options: Mapping[str, Any] | None = None, face_finder: str = "dlib",
    face_options: Mapping[str, Any] | None = None, face_choice: str = "first", margin: float = 1.3,
    size: int | None = None, image_format: str = "png", quality: int | None = None, align: str | None = None,
    legacy_bgr: bool = False, landmarks: str | Path | None = None, parser: str | None = None,
    parse_options: Mapping[str, Any] | None = None, masks: bool = True, store_kind: str = "lmdb",
    engine: str = "local", report_dir: Path | None = None, workers: int | None = None, limit: int | None = None,
    overwrite: bool = False, plugins: Sequence[str] = (),
) -> PrepareReport:  # fmt: skip
    """Make or complete the store and index of one dataset.

    Finished items are not done again; an interrupted run goes on where it stopped and gives the same result as an
    uninterrupted one, whatever the number of workers. A finished store grows when the copy under ``root`` has grown.

    Args:
        dataset: name of a layout (``FF++``) or another word for it; for a dataset made from another one
            (``CDFv2-NYR``) the other one is prepared and the index made from it.
        root: the user's copy of the dataset.
        data_dir: the store goes to ``data_dir/<name>_lmdb`` (or ``<name>``, ``<name>_fsfm``; see ``store_kind``).
        index_dir: the index goes to ``index_dir/<name>.json``.
        frames: frames per video, ``all``, ``stride:N`` or ``fas_pair``; None for the layout's own rule.
        frames_real: another number for real videos.
        levels: compression levels; empty for all that are there.
        layout_options: keyword arguments of the layout.
        face_finder: registered face finder.
        face_options: keyword arguments of the face finder.
        face_choice: which of several faces: ``first`` (the finder's best, as published) or ``largest``.
        margin: side of the square crop over the larger side of the face box.
        size: side in pixels to resize crops to; None keeps them as they are, as published.
        image_format: ``png`` or ``jpeg``.
        quality: JPEG quality.
        align: ``five_point`` (DeepfakeBench) or ``chip`` (anti-spoofing lists); None for the upright square.
        legacy_bgr: DeepfakeBench's own second search: on the BGR crop, first face.
        landmarks: store landmarks, made by this dlib model file, or ``auto`` for one of an installed package.
        parser: registered face parser; parsing maps are stored.
        parse_options: keyword arguments of the face parser.
        masks: store manipulation masks where the dataset has them.
        store_kind: ``lmdb``, or plain files: ``folder`` in DeepfakeBench's tree, ``fsfm`` in FSFM's.
        engine: ``local`` processes, or ``ray``.
        report_dir: where the report goes; None for ``data_dir/<name>_report``.
        workers: processes; None for one per core.
        limit: at most so many videos of each class, split and level, for a taste.
        overwrite: replace a store made with other settings.
        plugins: files or modules with layouts or face finders from elsewhere.

    Raises:
        BenchmarkError: wrong settings or root, another store in the way, a library that is not installed.
    """
    from benchmark.registry import LAYOUTS, load_plugin
    from preprocessing.engine import find_engine
    from preprocessing.frame_rules import FrameRule
    from preprocessing.names import FSFM, make_names
    from preprocessing.settings import Settings
    from preprocessing.tools import build_plugin
    from preprocessing.words import find_target
    from preprocessing.writer import DatasetWriter, exclusive

    start = time.monotonic()
    for plugin in plugins:
        load_plugin(plugin)
    target = find_target(dataset, index_dir)
    layout = build_plugin(LAYOUTS, target.layout, layout_options or {})
    settings = Settings(
        frames=FrameRule.parse(layout.frames if frames is None else frames),
        frames_real=None if frames_real is None else FrameRule.parse(frames_real),
        face_finder=face_finder, face_options=tuple(sorted((face_options or {}).items())), face_choice=face_choice,
        margin=margin, size=size, image_format=image_format, quality=quality, align=align, legacy_bgr=legacy_bgr,
        predictor=predictor_for(landmarks, align, parser, face_finder), landmarks=landmarks is not None,
        parser=parser, parse_options=tuple(sorted((parse_options or {}).items())),
        masks=masks and store_kind != FSFM,
    )  # fmt: skip
    _check_counts(limit=limit, workers=workers)
    names = make_names(store_kind, layout, settings)
    run_engine = find_engine(engine)
    header = _header(layout, settings, layout_options or {})
    scan = layout.scan(root, levels or target.levels)
    items, without_place = names.keep(_take(scan.items, limit))
    with exclusive(names.store(data_dir)):
        writer = DatasetWriter(names.store(data_dir), header, overwrite=overwrite, names=names)
        tasks = _tasks(items, layout, settings, root, writer)
        _run_tasks(writer, tasks, len(items), lambda: run_engine(tasks, workers, plugins))
        run = _Run(layout, (*scan.remarks, *without_place), len(tasks), len(items) - len(tasks), start)
        report = _finish(writer, run, index_dir, report_dir or data_dir / f"{layout.name}_report")
        return _with_derived(report, layout, target.part, data_dir, index_dir)


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value} must be at least 1.")


def _header(layout: Layout, settings: Settings, layout_options: Mapping[str, Any]) -> Header:
    """Settings, fingerprint and versions of a store."""
    from benchmark.data.index import fingerprint_of
    from preprocessing.tools import build_tools
    from preprocessing.video import decoder_versions
    from preprocessing.writer import Header

    tools = build_tools(settings)
    record = settings.record(layout.name, tools)
    if layout_options:
        record["layout"] = dict(sorted(layout_options.items()))
    return Header(layout.name, record, fingerprint_of(record), {**decoder_versions(), **tools.versions()})


@dataclass(frozen=True)
class _Run:
    """What one call of ``prepare`` found and did: ``start`` on the monotonic clock, counts in items."""

    layout: Layout
    remarks: tuple[Remark, ...]
    new: int
    kept: int
    start: float


def predictor_for(landmarks: str | Path | None, align: str | None, parser: str | None, face_finder: str) -> str | None:
    """File of the landmark model, when the settings need one; found in an installed package when none was named."""
    from benchmark.registry import FACE_FINDERS, FACE_PARSERS
    from preprocessing.faces.landmarks import AUTO, find_predictor, resolve_predictor

    if landmarks is not None:
        return str(resolve_predictor(str(landmarks)))
    if parser is not None and FACE_PARSERS.get(parser).needs_landmarks:
        return str(resolve_predictor(AUTO))
    if align is None:
        return None
    found = find_predictor()
    if found is None and FACE_FINDERS.get(face_finder).gives_points:
        return None
    return str(found or resolve_predictor(AUTO))


def _take(items: Sequence[Item], limit: int | None) -> list[Item]:
    """The first ``limit`` items of each class, split and level."""
    seen: Counter[tuple[str, str, str | None]] = Counter()
    taken = []
    for item in items:
        group = (item.cls, item.split, item.level)
        seen[group] += 1
        if limit is None or seen[group] <= limit:
            taken.append(item)
    return taken


def _tasks(items: Sequence[Item], layout: Layout, settings: Settings, root: Path, writer: DatasetWriter) -> list[Task]:
    from preprocessing.task import Task

    return [
        Task(item, layout.label(item), layout.place(item, root), settings)
        for item in items
        if writer.needs(item, layout.label(item))
    ]


def _run_tasks(
    writer: DatasetWriter, tasks: Sequence[Task], total: int, run: Callable[[], Iterator[ItemResult]]
) -> None:
    """Do what is left and publish the store; whatever stops it, finished items are kept."""
    from loguru import logger

    from preprocessing.progress import Progress

    name = writer.header.dataset
    if not tasks and writer.is_published:
        logger.info("{}: all {} videos are prepared in {}; nothing to do", name, total, writer.store)
        return
    logger.info("{}: {} videos to prepare, {} finished before", name, len(tasks), total - len(tasks))
    writer.begin()
    try:
        with Progress(name, len(tasks)) as progress:
            for result in run():
                progress.update(result)
                writer.add(result)
    except BaseException:
        writer.abort()
        logger.info("Stopped; {} finished videos are kept. The same command goes on from there.", len(writer.results))
        raise
    writer.publish()


def _finish(writer: DatasetWriter, run: _Run, index_dir: Path, pages: Path) -> PrepareReport:
    """Write the index and the report pages."""
    from preprocessing.report import PrepareReport, Trouble, count_rows, list_missing, list_troubles
    from preprocessing.report_pages import write_pages
    from preprocessing.writer import content_digest, write_dataset_index

    results = list(writer.results.values())
    rows = count_rows(results, run.layout)
    report = PrepareReport(
        dataset=run.layout.name,
        store=writer.store,
        index=index_dir / f"{run.layout.name}.json",
        fingerprint=writer.header.fingerprint,
        content=content_digest(results),
        rows=rows,
        troubles=list_troubles(results),
        left_out=tuple(Trouble(remark.place, remark.reason) for remark in run.remarks if remark.kind == "left out"),
        missing=list_missing(rows, run.layout, run.remarks),
        new=run.new,
        kept=run.kept,
        seconds=time.monotonic() - run.start,
        pages=pages,
    )
    is_new = write_dataset_index(report.index, writer, _meta(report, writer))
    if is_new or run.new or not (pages / "report.html").is_file():
        write_pages(report, writer)
    return report


def _with_derived(
    report: PrepareReport, layout: Layout, part: DatasetCard | None, data_dir: Path, index_dir: Path
) -> PrepareReport:
    """Write the indexes that are made from this one, and say when the one that was asked for cannot be."""
    from benchmark.data.readers import run_builder
    from preprocessing.layouts.derived import derive_all

    if not any(row.frames for row in report.rows):
        return report
    derived = derive_all(report.index) if layout.parts else []
    missing = report.missing
    if part is not None and not {path.stem for path in derived} & {part.name, *part.index}:
        try:
            derived.append(run_builder(part, data_dir, index_dir))
        except DataError as error:
            missing = (*missing, f"{part.name} cannot be made: {error}")
    return replace(report, derived=tuple(derived), missing=missing)


def _meta(report: PrepareReport, writer: DatasetWriter) -> dict[str, Any]:
    """The ``meta`` block: a function of the copy, the settings and the versions, so equal runs give equal files."""
    from preprocessing.names import FSFM
    from preprocessing.report import COUNTS

    header = writer.header
    return {
        "tool": f"face-security-benchmark {_tool_version()}",
        "settings": dict(header.settings),
        "fingerprint": header.fingerprint,
        "versions": dict(writer.versions),
        "content": report.content,
        "counts": {name: sum(getattr(row, name) for row in report.rows) for name in COUNTS},
        "skipped": [trouble.record() for trouble in report.troubles],
        "left_out": [trouble.record() for trouble in report.left_out],
        "missing": list(report.missing),
        **({"tree": FSFM} if writer.names.kind == FSFM else {}),
    }


def _tool_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("face-security-benchmark")
    except PackageNotFoundError:
        return "(not installed)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``prepare`` on a parser; each is stored under the name of the function's argument."""
    parser.epilog = "example: python -m benchmark prepare FF++ --root /data/FaceForensics --frames 32 --workers 8"
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="a layout's name or another word for it, e.g. FF++, FF++@c23, CDFv2-NYR")
    add("--root", type=Path, required=True, metavar="DIR", help="folder of your copy of the dataset")
    add(
        "--data",
        dest="data_dir",
        type=Path,
        default=DATA_DIR,
        metavar="DIR",
        help="folder of stores (default: %(default)s)",
    )
    add(
        "--index",
        dest="index_dir",
        type=Path,
        default=INDEX_DIR,
        metavar="DIR",
        help="folder of indexes (default: %(default)s)",
    )
    add("--compression", dest="levels", nargs="+", default=[], metavar="LEVEL", help="c23 c40 raw (default: all there)")
    add("--layout-option", dest="layout_options", action="append", metavar="KEY=VALUE", help="e.g. name=mine")
    add = parser.add_argument_group("which frames").add_argument
    add("--frames", metavar="N|all|stride:N|fas_pair", help="per video, evenly spread (default: the dataset's)")
    add("--frames-real", metavar="N", help="another number for real videos, to balance classes")
    add("--limit", type=int, metavar="N", help="at most N videos per class, split and level")
    add = parser.add_argument_group("which crops").add_argument
    add("--face-finder", default="dlib", metavar="NAME", help="(default: %(default)s)")
    add("--face-option", dest="face_options", action="append", metavar="KEY=VALUE", help="e.g. upsample=0")
    add(
        "--face-choice",
        default="first",
        metavar="NAME",
        help="first (best score, as published), largest, largest_mask_overlap",
    )
    add("--margin", type=float, default=1.3, metavar="X", help="crop side over box side (default: %(default)s)")
    add("--size", type=int, metavar="PIXELS", help="resize crops (default: keep them as they are)")
    add("--format", dest="image_format", default="png", metavar="F", help="png or jpeg (default: %(default)s)")
    add("--quality", type=int, metavar="Q", help="of JPEG, 1-100 (default: 95)")
    add("--align", metavar="NAME", help="five_point (DeepfakeBench, 256) or chip (anti-spoofing, 224)")
    add("--legacy-bgr", action="store_true", help="five_point: second search as DeepfakeBench did it")
    add = parser.add_argument_group("what is stored besides").add_argument
    add("--landmarks", nargs="?", const="auto", metavar="FILE", help="landmarks by this dlib model")
    add("--parse", dest="parser", metavar="NAME", help="parsing maps: facer, landmarks, template or import")
    add("--parse-option", dest="parse_options", action="append", metavar="KEY=VALUE", help="e.g. folder=maps")
    add("--no-masks", dest="masks", action="store_false", help="leave the dataset's manipulation masks out")
    add = parser.add_argument
    kinds = "one file; a file per image in DeepfakeBench's tree; in FSFM's (default: %(default)s)"
    add("--store", dest="store_kind", default="lmdb", choices=("lmdb", "folder", "fsfm"), help=kinds)
    add("--report", dest="report_dir", type=Path, metavar="DIR", help="report pages (default: beside the store)")
    add("--engine", default="local", metavar="NAME", help="local, or ray for several machines")
    add("--workers", type=int, metavar="N", help="processes (default: one per core)")
    add("--plugins", nargs="+", default=[], metavar="P", help="own layouts, face finders, parsers")
    add("--overwrite", action="store_true", help="replace a store made with other settings")


_OPTION_FLAGS = {
    "layout_options": "--layout-option", "face_options": "--face-option", "parse_options": "--parse-option",
}  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Prepare as the parsed arguments say and print the table.

    Returns:
        0 when every file could be read; 1 when the store is complete but some files are broken (they are listed).

    Raises:
        BenchmarkError: see ``prepare``.
    """
    from preprocessing.report import print_report

    known = signature(prepare).parameters
    options = {name: value for name, value in vars(args).items() if name in known}
    for name, flag in _OPTION_FLAGS.items():
        options[name] = dict(_option(flag, text) for text in options[name] or ())
    report = prepare(**options)
    print_report(report)
    return 1 if report.is_damaged else 0


def _option(flag: str, text: str) -> tuple[str, int | float | str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"{flag} {text}: expected KEY=VALUE, e.g. upsample=0.")
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m preprocessing.prepare``: the same verb without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="prepare", description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
