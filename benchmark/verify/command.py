"""The verb ``verify``; heavy libraries are imported when it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmark.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``verify`` on a parser."""
    parser.add_argument("dataset", metavar="DATASET", help="dataset word, or path of an index, list or class folder")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of stores or files (default: data)")
    parser.add_argument("--index", type=Path, default=Path("datasets_json"), help="folder of indexes")
    parser.add_argument("--allow-overlap", action="store_true", help="equal videos in several splits are no problem")
    parser.add_argument("--prune", type=Path, metavar="OUT.json", help="write an index without unreadable frames")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every finding to a file")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")


def run(args: argparse.Namespace) -> int:
    """Verify as the parsed arguments say and print what was found.

    Returns:
        0 without problems, else 1.

    Raises:
        BenchmarkError: see ``verify``; or --prune on something that is not a JSON index.
    """
    from benchmark.data.cards import parse_word
    from benchmark.data.store import atomic_write_text
    from benchmark.verify.check import index_path, verify
    from benchmark.verify.prune import prune_index
    from benchmark.verify.report import print_report

    report = verify(
        args.dataset, data_dir=args.data, index_dir=args.index, allow_overlap=args.allow_overlap, workers=args.workers
    )
    print_report(report)
    if args.json:
        atomic_write_text(args.json, json.dumps(report.record(), indent=1, ensure_ascii=False) + "\n")
    if args.prune:
        word = parse_word(args.dataset, args.index)
        source = index_path(word, args.data, args.index)
        if source is None:
            raise ConfigError(f"--prune works on JSON indexes; {args.dataset} is read as {word.card.reader.name}.")
        frames, videos = prune_index(source, args.prune, report.bad_frames, word.card.folders)
        sys.stdout.write(f"{args.prune}: written without {frames} frames; {videos} videos had none left\n")
    return 1 if report.has_problems else 0
