"""Score datasets with trained weights.

python training/test.py --detector configs/fsfm.yaml --weights runs/fsfm --test CDFv2 DFDC
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from benchmark.cli import guarded, split_overrides
from benchmark.config import Settings
from benchmark.errors import ConfigError
from benchmark.schema import RunConfig

if TYPE_CHECKING:
    from training.distributed import Processes


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Command line to options and ``key=value`` overrides."""
    parser = argparse.ArgumentParser(
        prog="training/test.py",
        description="Score datasets with trained weights: predictions files, result files, a table.",
        epilog="Any setting can be overridden: evaluation.batch_size=128 data.frames.test=all.\n"
        "example: python training/test.py --detector configs/demo.yaml --weights runs/demo --test demo/DFDC",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--detector", required=True, metavar="YAML", help="configuration, e.g. configs/fsfm.yaml")
    parser.add_argument("--weights", required=True, metavar="W", help="run folder, .safetensors, .pth or hf-hub:...")
    parser.add_argument("--test", nargs="+", metavar="DATASET", help="datasets to score, e.g. CDFv2 DFDC")
    parser.add_argument("--protocol", metavar="NAME", help="test sets of a protocol, by name or YAML file")
    parser.add_argument("--world", metavar="W", help="move the protocol's datasets into a world: demo")
    parser.add_argument("--plugins", nargs="+", default=[], metavar="P", help="own plugins: .py files or module names")
    parser.add_argument("--name", help="run folder to write into (default: CONFIG_test)")
    parser.add_argument(
        "--allow-missing", action="store_true", help="score although frames are missing; they are counted"
    )
    rest, overrides = split_overrides(arguments)
    return parser.parse_args(rest), overrides


def run(options: argparse.Namespace, overrides: list[str]) -> int:
    """Load weights, score, report, for every run of a protocol in turn; see ``parse``."""
    from training.settings import config_path, fold_folder, launched, without_initial_weights

    options.name = options.name or f"{config_path(options.detector).stem}_test"
    with launched(options, overrides) as (runs, group):
        from training.session import report_folds

        for config, settings in runs:
            fold = config.protocol.fold if config.protocol else ""
            weights = f"{options.weights}/{fold_folder(fold)}" if fold else options.weights
            _score(without_initial_weights(config), settings, weights, group)
        if len(runs) > 1 and group.is_main:
            report_folds([run.config for run in runs])
    return 0


def _score(config: RunConfig, settings: Settings, reference: str, group: Processes) -> None:
    from training.pipeline import build_detector, evaluation_set, input_format, save_run_facts
    from training.scoring import report, score_test_sets

    if not config.data.test:
        raise ConfigError("Nothing to score: give --test DATASET ... or --protocol NAME.")
    detector = build_detector(config, settings)
    weights = detector.load_weights(reference)
    detector.to(group.device)
    inputs = input_format(config, detector)
    sets = [evaluation_set(config, detector, inputs, [word], "test") for word in config.data.test]
    folder = config.paths.runs / str(config.name)
    if group.is_main:
        save_run_facts(folder, config, inputs)
    tests = {dataset.videos[0].dataset: dataset for dataset in sets}
    results = score_test_sets(detector, config, inputs, tests, folder, group, weights)
    if group.is_main:
        report(results, folder)


def main() -> int:
    """Entry point."""
    return guarded(lambda: run(*parse(sys.argv[1:])))


if __name__ == "__main__":
    sys.exit(main())
