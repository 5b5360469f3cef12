"""``python -m benchmark VERB``: everything that is not training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmark.cli import guarded, setup_logging, split_overrides

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

    from benchmark.verify.command import add_arguments as add_verify_arguments

    check = verbs.add_parser("verify", help="re-check a prepared dataset: all readable, counts, overlap of splits")
    add_verify_arguments(check)
    check.set_defaults(run=_verify)

    evaluate = verbs.add_parser("evaluate", help="metrics of predictions files, of this project or any other tool")
    evaluate.add_argument("predictions", nargs="+", type=Path, help="CSV: dataset,video,frame,label,score (P(fake))")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the metrics to a file")
    _add_submission(evaluate)
    evaluate.set_defaults(run=_evaluate)

    samples = verbs.add_parser("samples", help="list the samples of test sets, to score them with any tool")
    samples.add_argument("datasets", nargs="+", help="dataset words, e.g. CDFv2 demo/DFDC")
    samples.add_argument("--frames", type=_frame_count, default=32, metavar="N", help="frames per video, or all (32)")
    samples.add_argument("--frame-select", choices=("uniform", "first"), default="uniform", help="which frames")
    samples.add_argument("-o", "--output", type=Path, default=Path("samples.csv"), help="CSV to write")
    _add_places(samples)
    samples.set_defaults(run=_samples)

    board = verbs.add_parser("leaderboard", help="result files and published rows to a web page, Markdown and CSV")
    board.add_argument("results", nargs="+", type=Path, help="folders with result files, searched at any depth")
    board.add_argument("-o", "--output", type=Path, default=Path("site"), help="folder to write into (site)")
    board.add_argument("--no-published", action="store_true", help="leave out the published rows")
    board.set_defaults(run=_leaderboard)

    curves = verbs.add_parser("robustness", help="curves over corruption levels as a picture (SVG)")
    curves.add_argument("results", nargs="+", type=Path, help="folders with result files of corrupted test sets")
    curves.add_argument("-o", "--output", type=Path, default=Path("robustness.svg"), help="picture to write")
    curves.add_argument("--metric", choices=("auc", "eer", "ap", "acc"), default="auc")
    curves.add_argument("--level", choices=("frame", "video"), default="video")
    curves.set_defaults(run=_robustness)

    compare = verbs.add_parser("compare", help="what differs between two results, and whether it is significant")
    compare.add_argument("first", type=Path, help="result file A")
    compare.add_argument("second", type=Path, help="result file B, of the same test set")
    compare.add_argument("--json", type=Path, metavar="FILE", help="also write it to a file")
    compare.set_defaults(run=_compare)
    summary = verbs.add_parser("summary", help="what a configuration builds: parameters in all and trained, by part")
    summary.add_argument("detector", nargs="+", metavar="YAML", help="configuration, e.g. configs/sta_clip_l14.yaml")
    summary.add_argument("--plugins", nargs="+", default=[], metavar="P", help="own plugins: .py files or module names")
    summary.set_defaults(run=_summary)
    from training.detect import add_arguments as add_detect_arguments

    detect = verbs.add_parser("detect", help="score the faces in your own videos and pictures with trained weights")
    add_detect_arguments(detect)
    detect.set_defaults(run=_detect)
    from benchmark.masking_verb import add_arguments as add_masking_arguments

    masking = verbs.add_parser(
        "masking", help="compare the masking strategies of pre-training on your own face pictures"
    )
    add_masking_arguments(masking)
    masking.set_defaults(run=_masking)

    demo = verbs.add_parser("demo", help="build the demo worlds, train on one, test on all; minutes on a CPU")
    demo.add_argument("--detector", default="configs/demo.yaml", metavar="YAML", help="configuration to run")
    demo.add_argument("--world-only", action="store_true", help="build the demo worlds, do not train")
    building = demo.add_argument_group("with --world-only")
    building.add_argument("--worlds", nargs="+", metavar="WORLD", help="which ones, e.g. demo/CDFv2 (default: all)")
    building.add_argument("--scale", type=_positive, default=1.0, metavar="X", help="times as many people (1)")
    building.add_argument("--seed", type=int, default=0, help="another seed gives other people (0)")
    demo.add_argument("--data", type=Path, default=Path("data"), help="where stores go")
    demo.add_argument("--indexes", type=Path, default=Path("datasets_json"), help="where indexes go")
    demo.set_defaults(run=_demo)
    return parser


def _add_submission(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rank a detector that never ran here (with --protocol)")
    group.add_argument("--protocol", metavar="NAME", help="name or YAML file; its test sets are checked and reported")
    group.add_argument("--fold", default="", metavar="F", help="which run of a protocol that has several")
    group.add_argument("--world", metavar="W", help="move the protocol's datasets into a world: demo")
    group.add_argument("--name", help="name of the detector (default: the file's)")
    group.add_argument("--trained-on", nargs="+", metavar="D", help="training sets (default: the protocol's)")
    group.add_argument("--selected-on", choices=("validation", "test"), help="what chose the checkpoint")
    group.add_argument("--development", type=Path, metavar="CSV", help="predictions that set the FAS threshold")
    group.add_argument(
        "--frames", type=_frame_count, metavar="N", help="frames per video that were scored, or all (32)"
    )
    group.add_argument("--allow-missing", action="store_true", help="accept samples without a prediction; counted")
    group.add_argument("-o", "--output", type=Path, default=Path("results"), help="folder of result files (results)")
    _add_places(group)


def _add_places(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--indexes", type=Path, default=Path("datasets_json"), help="folder of your JSON indexes")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of your stores")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _frame_count(text: str) -> int | str:
    if text == "all":
        return text
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number of frames nor 'all'")
    return int(text)


def _list(options: argparse.Namespace) -> int:
    from benchmark.listing import print_lists
    from benchmark.registry import load_plugin

    for plugin in options.plugins:
        load_plugin(plugin)
    print_lists([options.kind] if options.kind else list(KINDS), options.indexes)
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from preprocessing.prepare import run

    setup_logging()
    return run(options)


def _verify(options: argparse.Namespace) -> int:
    from benchmark.verify.command import run

    setup_logging()
    return run(options)


def _evaluate(options: argparse.Namespace) -> int:
    from benchmark.evaluation import evaluate_files

    setup_logging()
    if options.protocol is None:
        return evaluate_files(options.predictions, options.json)
    from benchmark.errors import ConfigError
    from benchmark.own_predictions import Submission, submit
    from benchmark.schema import PathsConfig

    if len(options.predictions) > 1:
        raise ConfigError("With --protocol give one predictions file; it holds all test sets.")
    given = {key: value for key, value in vars(options).items() if key in Submission.__dataclass_fields__}
    submission = Submission(**{**given, "predictions": options.predictions[0]})
    return submit(submission, PathsConfig(data=options.data, indexes=options.indexes))


def _samples(options: argparse.Namespace) -> int:
    from benchmark.own_predictions import write_samples
    from benchmark.schema import PathsConfig

    setup_logging()
    paths = PathsConfig(data=options.data, indexes=options.indexes)
    return write_samples(options.datasets, options.frames, options.frame_select, paths, options.output)


def _leaderboard(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.build import build_site

    setup_logging()
    return build_site(options.results, options.output, with_published=not options.no_published)


def _robustness(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.charts import write_robustness

    setup_logging()
    return write_robustness(options.results, options.output, options.metric, options.level)


def _compare(options: argparse.Namespace) -> int:
    from benchmark.compare import compare

    setup_logging()
    return compare(options.first, options.second, options.json)


def _summary(options: argparse.Namespace) -> int:
    from benchmark.registry import load_plugin
    from training.summary import print_summary

    for plugin in options.plugins:
        load_plugin(plugin)
    files, overrides = split_overrides(options.detector)
    return print_summary(files, overrides)


def _detect(options: argparse.Namespace) -> int:
    from training.detect import run

    return run(options)


def _masking(options: argparse.Namespace) -> int:
    from benchmark.masking_verb import run

    setup_logging()
    return run(options)


def _demo(options: argparse.Namespace) -> int:
    import subprocess

    from preprocessing.demo.build import build_world
    from preprocessing.demo.worlds import WORLDS

    setup_logging()
    if options.world_only:
        for name in options.worlds or WORLDS:
            build_world(name, options.data, options.indexes, scale=options.scale, seed=options.seed)
        return 0
    if options.worlds or options.scale != 1 or options.seed:
        from benchmark.errors import ConfigError

        raise ConfigError("--worlds, --scale and --seed go with --world-only; the demo's table is of the usual worlds.")
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
