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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchmarkError, ConfigError

if TYPE_CHECKING:
    from preprocessing.layouts.base import Item, Layout, Remark
    from preprocessing.report import PrepareReport
    from preprocessing.settings import Settings
    from preprocessing.task import ItemResult, Task
    from preprocessing.writer import DatasetWriter, Header

DATA_DIR = Path("data")
INDEX_DIR = Path("datasets_json")


def prepare(
    layout_name: str,
    root: Path,
    *,
    data_dir: Path = DATA_DIR,
    index_dir: Path = INDEX_DIR,
    frames: int | str | None = None,
    frames_real: int | str | None = None,
    levels: Sequence[str] = (),
    layout_options: Mapping[str, Any] | None = None,
    face_finder: str = "dlib",
    face_options: Mapping[str, Any] | None = None,
    face_choice: str = "first",
    margin: float = 1.3,
    size: int | None = None,
    image_format: str = "png",
    quality: int | None = None,
    align: str | None = None,
    legacy_bgr: bool = False,
    landmarks: str | Path | None = None,
    parser: str | None = None,
    parse_options: Mapping[str, Any] | None = None,
    masks: bool = True,
    store_kind: str = "lmdb",
    engine: str = "local",
    report_dir: Path | None = None,
    workers: int | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    plugins: Sequence[str] = (),
) -> PrepareReport:
    """Make or complete the store and index of one dataset.

    Finished items are not done again; an interrupted run goes on where it stopped and gives the same result as an
    uninterrupted one, whatever the number of workers. A finished store grows when the copy under ``root`` has grown.

    Args:
        layout_name: registered layout, e.g. ``FF++``.
        root: the user's copy of the dataset.
        data_dir: the store goes to ``data_dir/<name>_lmdb``, or to ``data_dir/<name>`` as plain files.
        index_dir: the index goes to ``index_dir/<name>.json``.
        frames: frames per video, ``all``, or ``stride:N``; None for the layout's own rule.
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
        store_kind: ``lmdb``, or ``folder`` for plain files.
        engine: ``local`` processes, or ``ray``.
        report_dir: where the report goes; None for ``data_dir/<name>_report``.
        workers: processes; None for one per core.
        limit: at most so many videos of each class, split and level, for a taste.
        overwrite: replace a store made with other settings.
        plugins: files or modules with layouts or face finders from elsewhere.

    Raises:
        BenchmarkError: wrong settings or root, another store in the way, a library that is not installed.
    """
    from loguru import logger

    from benchmark.data.index import fingerprint_of
    from benchmark.registry import LAYOUTS, load_plugin
    from preprocessing.engine import find_engine
    from preprocessing.settings import Settings
    from preprocessing.task import build_tools
    from preprocessing.video import FrameRule, decoder_versions
    from preprocessing.writer import DatasetWriter, Header, exclusive, store_path

    start = time.monotonic()
    for plugin in plugins:
        load_plugin(plugin)
    layout = _build_layout(LAYOUTS.get(layout_name), layout_name, layout_options or {})
    settings = Settings(
        frames=FrameRule.parse(layout.frames if frames is None else frames),
        frames_real=None if frames_real is None else FrameRule.parse(frames_real),
        face_finder=face_finder, face_options=tuple(sorted((face_options or {}).items())), face_choice=face_choice,
        margin=margin, size=size, image_format=image_format, quality=quality, align=align, legacy_bgr=legacy_bgr,
        predictor=_predictor(landmarks, align, parser, face_finder), landmarks=landmarks is not None,
        parser=parser, parse_options=tuple(sorted((parse_options or {}).items())), masks=masks,
    )  # fmt: skip
    for flag, value in (("--limit", limit), ("--workers", workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} {value} must be at least 1.")
    run_engine = find_engine(engine)
    tools = build_tools(settings)
    record = settings.record(layout.name, tools)
    if layout_options:
        record["layout"] = dict(sorted(layout_options.items()))
    header = Header(layout.name, record, fingerprint_of(record), {**decoder_versions(), **tools.versions()})
    scan = layout.scan(root, levels)
    items = _take(scan.items, limit)
    store = store_path(data_dir, layout.name, store_kind)
    with exclusive(store):
        writer = DatasetWriter(store, header, overwrite=overwrite, kind=store_kind)
        tasks = _tasks(items, layout, settings, root, writer)
        if tasks or not writer.is_published:
            logger.info(
                "{}: {} videos to prepare, {} finished before", layout.name, len(tasks), len(items) - len(tasks)
            )
            _run_tasks(writer, run_engine(tasks, workers, plugins), len(tasks))
        else:
            logger.info("{}: all {} videos are prepared in {}; nothing to do", layout.name, len(items), store)
        pages = report_dir or data_dir / f"{layout.name}_report"
        return _finish(writer, layout, scan.remarks, index_dir, pages, (len(tasks), len(items) - len(tasks), start))


def _build_layout(maker: Callable[..., Layout], name: str, options: Mapping[str, Any]) -> Layout:
    try:
        return maker(**options)
    except TypeError as error:
        raise ConfigError(f"Layout '{name}' does not take these options ({error}).") from error


def _predictor(landmarks: str | Path | None, align: str | None, parser: str | None, face_finder: str) -> str | None:
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


def _run_tasks(writer: DatasetWriter, results: Iterator[ItemResult], count: int) -> None:
    """Take the results of what is left and publish the store; whatever stops it, finished items are kept."""
    from loguru import logger

    from preprocessing.progress import Progress

    writer.begin()
    try:
        with Progress(writer.header.dataset, count) as progress:
            for result in results:
                progress.update(result)
                writer.add(result)
    except BaseException:
        writer.abort()
        logger.info("Stopped; {} finished videos are kept. The same command goes on from there.", len(writer.results))
        raise
    writer.publish()


def _finish(
    writer: DatasetWriter,
    layout: Layout,
    remarks: Sequence[Remark],
    index_dir: Path,
    pages: Path,
    work: tuple[int, int, float],
) -> PrepareReport:
    """Write the index and gather the report."""
    from preprocessing.report import PrepareReport, Trouble, count_rows, list_missing, list_troubles
    from preprocessing.report_pages import write_pages
    from preprocessing.writer import content_digest, write_dataset_index

    new, kept, start = work
    results = list(writer.results.values())
    rows = count_rows(results, layout)
    report = PrepareReport(
        dataset=layout.name,
        store=writer.store,
        index=index_dir / f"{layout.name}.json",
        fingerprint=writer.header.fingerprint,
        content=content_digest(results),
        rows=rows,
        troubles=list_troubles(results),
        left_out=tuple(Trouble(remark.place, remark.reason) for remark in remarks if remark.kind == "left out"),
        missing=list_missing(rows, layout, remarks),
        new=new,
        kept=kept,
        seconds=time.monotonic() - start,
        pages=pages,
    )
    is_new = write_dataset_index(report.index, writer, _meta(report, writer.header, writer.versions))
    if layout.parts and report.rows:
        from preprocessing.layouts.derived import derive_all

        derive_all(report.index)
    if is_new or new or not (pages / "report.html").is_file():
        write_pages(report, writer)
    return report


def _meta(report: PrepareReport, header: Header, versions: Mapping[str, str]) -> dict[str, Any]:
    """The ``meta`` block: a function of the copy, the settings and the versions, so equal runs give equal files."""
    names = ("videos", "frames", "faceless", "dropped", "unreadable", "empty")
    return {
        "tool": f"face-security-benchmark {_tool_version()}",
        "settings": dict(header.settings),
        "fingerprint": header.fingerprint,
        "versions": dict(versions),
        "content": report.content,
        "counts": {name: sum(getattr(row, name) for row in report.rows) for name in names},
        "skipped": [trouble.record() for trouble in report.troubles],
        "left_out": [trouble.record() for trouble in report.left_out],
        "missing": list(report.missing),
    }


def _tool_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("face-security-benchmark")
    except PackageNotFoundError:
        return "(not installed)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``prepare`` on a parser."""
    parser.add_argument("dataset", metavar="DATASET", help="layout name, e.g. FF++")
    parser.add_argument("--root", type=Path, required=True, help="folder of your copy of the dataset")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of LMDB stores (default: %(default)s)")
    parser.add_argument("--index", type=Path, default=INDEX_DIR, help="folder of indexes (default: %(default)s)")
    parser.add_argument(
        "--compression", nargs="+", default=[], metavar="LEVEL", help="c23 c40 raw (default: all there)"
    )
    parser.add_argument("--layout-option", action="append", default=[], metavar="KEY=VALUE", help="e.g. name=mine")
    which = parser.add_argument_group("which frames")
    which.add_argument("--frames", metavar="N|all|stride:N", help="per video, evenly spread (default: the dataset's)")
    which.add_argument("--frames-real", metavar="N", help="another number for real videos, to balance classes")
    which.add_argument("--limit", type=int, metavar="N", help="at most N videos per class, split and level")
    crops = parser.add_argument_group("which crops")
    crops.add_argument("--face-finder", default="dlib", metavar="NAME", help="(default: %(default)s)")
    crops.add_argument("--face-option", action="append", default=[], metavar="KEY=VALUE", help="e.g. upsample=0")
    crops.add_argument(
        "--face-choice", default="first", help="first (best score, as published), largest, largest_mask_overlap"
    )
    crops.add_argument("--margin", type=float, default=1.3, help="crop side over box side (default: %(default)s)")
    crops.add_argument("--size", type=int, metavar="PIXELS", help="resize crops (default: keep them as they are)")
    crops.add_argument("--format", default="png", help="png or jpeg (default: %(default)s)")
    crops.add_argument("--quality", type=int, help="of JPEG, 1-100 (default: 95)")
    crops.add_argument("--align", metavar="NAME", help="five_point (DeepfakeBench, 256) or chip (anti-spoofing, 224)")
    crops.add_argument("--legacy-bgr", action="store_true", help="five_point: second search as DeepfakeBench did it")
    parts = parser.add_argument_group("what is stored besides")
    parts.add_argument("--landmarks", nargs="?", const="auto", metavar="FILE", help="landmarks by this dlib model")
    parts.add_argument("--parse", metavar="NAME", help="parsing maps: facer, landmarks, template, import")
    parts.add_argument("--parse-option", action="append", default=[], metavar="KEY=VALUE", help="e.g. folder=maps")
    parts.add_argument("--no-masks", action="store_true", help="leave the dataset's manipulation masks out")
    parser.add_argument("--store", default="lmdb", choices=("lmdb", "folder"), help="one file, or a file per image")
    parser.add_argument("--report", type=Path, metavar="DIR", help="report pages (default: beside the store)")
    parser.add_argument("--engine", default="local", help="local, or ray for several machines")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--plugins", nargs="+", default=[], metavar="P", help="own layouts, face finders, parsers")
    parser.add_argument("--overwrite", action="store_true", help="replace a store made with other settings")


def run(args: argparse.Namespace) -> int:
    """Prepare as the parsed arguments say and print the table.

    Returns:
        0 when every file could be read; 1 when the store is complete but some files are broken (they are listed).

    Raises:
        BenchmarkError: see ``prepare``.
    """
    from preprocessing.report import print_report

    report = prepare(
        args.dataset,
        args.root,
        data_dir=args.data,
        index_dir=args.index,
        frames=args.frames,
        frames_real=args.frames_real,
        levels=args.compression,
        layout_options=dict(_option("--layout-option", text) for text in args.layout_option),
        face_finder=args.face_finder,
        face_options=dict(_option("--face-option", text) for text in args.face_option),
        face_choice=args.face_choice,
        margin=args.margin,
        size=args.size,
        image_format=args.format,
        quality=args.quality,
        align=args.align,
        legacy_bgr=args.legacy_bgr,
        landmarks=args.landmarks,
        parser=args.parse,
        parse_options=dict(_option("--parse-option", text) for text in args.parse_option),
        masks=not args.no_masks,
        store_kind=args.store,
        engine=args.engine,
        report_dir=args.report,
        workers=args.workers,
        limit=args.limit,
        overwrite=args.overwrite,
        plugins=args.plugins,
    )
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
