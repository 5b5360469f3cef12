"""``python -m benchmark VERB``: everything that is not training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmark.cli import guarded, setup_logging

KINDS = (
    "backbones", "detectors", "datasets", "protocols", "augmentations", "maskings",
    "layouts", "face_finders", "face_parsers", "readers",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The command line; a verb's heavy imports happen inside the verb."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark",
        description="Face-security benchmark: data, lists, evaluation, demo. Training: python training/train.py --help",
        epilog="example: python -m benchmark prepare FF++ --root /data/FaceForensics --frames 32",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    listing = verbs.add_parser("list", help="what there is: backbones, detectors, datasets, protocols, ...")
    listing.add_argument("kind", nargs="?", choices=KINDS, help="only this kind")
    listing.add_argument("--plugins", nargs="+", default=[], metavar="P", help="own plugins: .py files or module names")
    listing.add_argument("--indexes", type=Path, default=Path("datasets_json"), help="folder of your JSON indexes")
    listing.set_defaults(run=_list)

    from preprocessing.prepare import add_arguments

    prepare = verbs.add_parser("prepare", help="raw videos to face crops: LMDB store and JSON index")
    add_arguments(prepare)
    prepare.set_defaults(run=_prepare)

    from benchmark.verify import add_arguments as add_verify_arguments

    check = verbs.add_parser("verify", help="re-check a prepared dataset: all readable, counts, overlap of splits")
    add_verify_arguments(check)
    check.set_defaults(run=_verify)

    evaluate = verbs.add_parser("evaluate", help="metrics of predictions files, of this project or any other tool")
    evaluate.add_argument("predictions", nargs="+", type=Path, help="CSV: dataset,video,frame,label,score (P(fake))")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the metrics to a file")
    evaluate.set_defaults(run=_evaluate)

    from benchmark.masking_verb import add_arguments as add_masking_arguments

    masking = verbs.add_parser(
        "masking", help="compare the masking strategies of pre-training on your own face pictures"
    )
    add_masking_arguments(masking)
    masking.set_defaults(run=_masking)

    demo = verbs.add_parser("demo", help="build the demo worlds, train on one, test on all; minutes on a CPU")
    demo.add_argument("--detector", default="configs/demo.yaml", metavar="YAML", help="configuration to run")
    demo.add_argument("--world-only", action="store_true", help="build the worlds, do not train")
    demo.add_argument("--data", type=Path, default=Path("data"), help="where stores go")
    demo.add_argument("--indexes", type=Path, default=Path("datasets_json"), help="where indexes go")
    demo.set_defaults(run=_demo)
    return parser


def _list(options: argparse.Namespace) -> int:
    from benchmark.listing import print_lists
    from benchmark.registry import load_plugin

    for plugin in options.plugins:
        load_plugin(plugin)
    print_lists([options.kind] if options.kind else list(KINDS), options.indexes)
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from benchmark.data.cards import parse_word
    from benchmark.errors import DataError
    from benchmark.registry import LAYOUTS
    from preprocessing.prepare import run

    setup_logging()
    if options.dataset not in LAYOUTS:  # an alias, or a word with a compression level
        try:
            word = parse_word(options.dataset, options.index)
        except DataError:
            return run(options)  # its error lists the layouts
        options.dataset = word.card.name
        options.compression = options.compression or ([word.level] if "@" in word.text else None)
    return run(options)


def _verify(options: argparse.Namespace) -> int:
    from benchmark.verify import run

    setup_logging()
    return run(options)


def _evaluate(options: argparse.Namespace) -> int:
    from benchmark.evaluation import evaluate_files

    setup_logging()
    return evaluate_files(options.predictions, options.json)


def _masking(options: argparse.Namespace) -> int:
    from benchmark.masking_verb import run

    setup_logging()
    return run(options)


def _demo(options: argparse.Namespace) -> int:
    import subprocess

    from preprocessing.demo.build import build_world
    from preprocessing.demo.worlds import WORLDS

    setup_logging()
    for name in WORLDS:
        build_world(name, options.data, options.indexes)
    if options.world_only:
        return 0
    script = Path(__file__).resolve().parent.parent / "training" / "train.py"
    command = [sys.executable, str(script), "--detector", options.detector, "--protocol", "demo", "--overwrite"]
    paths = [f"paths.data={options.data}", f"paths.indexes={options.indexes}"]
    return subprocess.run([*command, *paths], check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    options = build_parser().parse_args(arguments)
    return guarded(lambda: int(options.run(options)))


if __name__ == "__main__":
    sys.exit(main())
