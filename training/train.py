"""Train a detector and test the selected checkpoint.

python training/train.py --detector configs/fsfm.yaml --train FF++ --test CDFv2
torchrun --nproc_per_node 8 training/train.py --detector configs/fsfm.yaml --train FF++ --test CDFv2 DFDC
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from benchmark.cli import guarded, split_overrides


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Command line to options and ``key=value`` overrides."""
    parser = argparse.ArgumentParser(
        prog="training/train.py",
        description="Train a detector and test the checkpoint that validation data selects.",
        epilog="Any setting can be overridden: optimizer.lr=1e-4 trainer.batch_size=64.\n"
        "example: python training/train.py --detector configs/demo.yaml --train demo/FF++ --test demo/CDFv2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--detector", required=True, metavar="YAML", help="configuration, e.g. configs/fsfm.yaml")
    parser.add_argument("--train", nargs="+", metavar="DATASET", help="NAME[/SUBSET][@COMPRESSION], e.g. FF++ DFDCP")
    parser.add_argument(
        "--val", nargs="+", metavar="DATASET", help="selects the checkpoint (default: those of --train)"
    )
    parser.add_argument("--test", nargs="+", metavar="DATASET", help="datasets to score, e.g. CDFv2 DFDC")
    parser.add_argument(
        "--protocol", metavar="NAME", help="train, selection and test sets by protocol name or YAML file"
    )
    parser.add_argument("--world", metavar="W", help="move the protocol's datasets into a world: demo")
    parser.add_argument("--plugins", nargs="+", default=[], metavar="P", help="own plugins: .py files or module names")
    parser.add_argument("--name", help="run name (default: the configuration's file name)")
    parser.add_argument("--resume", action="store_true", help="continue the run of this name exactly where it stopped")
    parser.add_argument(
        "--continue-from", metavar="CKPT", help="go on from a published pre-training checkpoint (checkpoint-400.pth)"
    )
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier run of this name first")
    parser.add_argument(
        "--allow-missing", action="store_true", help="score although frames are missing; they are counted"
    )
    parser.add_argument("--dry-run", action="store_true", help="show data, parameter groups and plan, then stop")
    rest, overrides = split_overrides(arguments)
    return parser.parse_args(rest), overrides


def run(options: argparse.Namespace, overrides: list[str]) -> int:
    """Train and test, every run of a protocol in turn; see ``parse``."""
    from training.settings import launched

    with launched(options, overrides) as (runs, group):
        from training.session import Session, report_folds

        for config, settings in runs:
            session = Session(config, settings, group)
            if options.dry_run:
                session.show_plan()
                continue
            if options.resume and session.is_finished():
                session.report_finished()
                continue
            _claim_folder(session.run, options, several=len(runs) > 1)
            resume = options.resume and session.has_checkpoint()
            status = session.train_and_test(resume, options.continue_from)
            if status:
                return status
        if len(runs) > 1 and not options.dry_run and group.is_main:
            report_folds([run.config for run in runs])
    return 0


def _claim_folder(folder: Path, options: argparse.Namespace, several: bool) -> None:
    """Refuse to mix two runs in one folder."""
    from benchmark.errors import ConfigError

    if int(os.environ.get("RANK", "0")) != 0:
        return
    exists = (folder / "checkpoints").exists() or (folder / "results").exists()
    if options.overwrite and exists:
        shutil.rmtree(folder)
    elif exists and not options.resume:
        raise ConfigError(
            f"{folder} holds an earlier run. Continue it with --resume, replace it with --overwrite, "
            "or give this one another --name."
        )
    elif options.resume and not several and not (folder / "checkpoints" / "last.json").is_file():
        raise ConfigError(f"--resume: {folder} has no checkpoint to continue from.")


def main() -> int:
    """Entry point."""
    return guarded(lambda: run(*parse(sys.argv[1:])))


if __name__ == "__main__":
    sys.exit(main())
