"""Does video-level blending help a clip detector on a data set it never saw? One table over several seeds.

    python -m perf.vb_generalisation --detector configs/demo_video_blend.yaml --shares 0.5 1 --steps 250
    python -m perf.vb_generalisation --detector configs/sta_demo.yaml --shares 1 backbone.weights=runs/frames-{seed}

The same configuration is trained without blending and with it (share 0.5: half of the fakes are blended clips; share
1: all of them, and no fake of the data is seen). Everything else is equal: steps, batch size, half of every batch
real, the augmentation after the blending, test data. The last weights are tested: validation data would prefer what
resembles the fakes of the training data. ``key=value`` words change any setting of both, {seed} in them is the seed, so
a detector and backbone can be named here: detector.name=sta backbone.name=fsfm_vit_tiny_patch16.

A finished run with the same settings is not done again, so a long table can be made in several sittings, and by several
processes with other seeds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.cli import guarded, setup_logging, split_overrides
from benchmark.config import Settings
from benchmark.errors import ConfigError
from benchmark.registry import load_plugin
from benchmark.results import read_result
from benchmark.schema import RunConfig
from training.settings import config_path

WITHOUT = "without"


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Command line to options and ``key=value`` overrides."""
    parser = argparse.ArgumentParser(
        prog="perf.vb_generalisation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="configs/demo_video_blend.yaml", metavar="YAML", help="a clip detector")
    parser.add_argument("--train", nargs="+", default=["demo/FF++"], metavar="DATASET")
    parser.add_argument("--test", nargs="+", default=["demo/FF++", "demo/CDFv2"], metavar="DATASET")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.5], help="shares of blended clips among fakes")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps of every run")
    parser.add_argument("--runs", type=Path, default=Path("runs/vb_generalisation"), help="where runs and table go")
    parser.add_argument("--plugins", nargs="+", default=[], metavar="P", help="own plugins: .py files or module names")
    rest, overrides = split_overrides(arguments)
    return parser.parse_args(rest), overrides


def variants(settings: Settings, shares: Sequence[float]) -> dict[str, dict[str, Any]]:
    """The augmentation of every column of the table: the configuration's own, and video_blend before it.

    A configuration that blends already gives the options of the blending, and what follows it is the plain one.
    """
    own = dict(settings.values.get("augmentation") or {"name": "none"})
    blending: dict[str, Any] = {"name": "video_blend"}
    if own["name"] == "video_blend":
        blending, own = own, dict(own.get("then") or {"name": "none"})
    if not shares:
        raise ConfigError("--shares needs at least one number above 0 and at most 1.")
    return {WITHOUT: own} | {f"share {share:g}": {**blending, "forged_share": share, "then": own} for share in shares}


def settings_of(options: argparse.Namespace, overrides: Sequence[str], seed: int) -> Settings:
    """The configuration with the command line's changes for one seed."""
    return Settings.from_file(config_path(options.detector), [word.replace("{seed}", str(seed)) for word in overrides])


def run_config(options: argparse.Namespace, overrides: list[str], augmentation: dict[str, Any], name: str, seed: int
               ) -> tuple[RunConfig, Settings]:  # fmt: skip
    """Validated settings of one run."""
    settings = settings_of(options, overrides, seed)
    changes: dict[tuple[str, ...], Any] = {
        ("name",): name,
        ("augmentation",): augmentation,
        ("data", "train"): options.train,
        ("data", "test"): options.test,
        ("data", "balance"): "class" if augmentation["name"] != "video_blend" else "natural",
        ("trainer", "seed"): seed,
        ("evaluation", "select", "metric"): "last",
        ("paths", "runs"): str(options.runs),
        ("schedule",): {**schedule(settings), "steps": options.steps},
    }
    for path, value in changes.items():
        settings.set(path, value, "perf.vb_generalisation")
    return settings.validate(RunConfig), settings


def schedule(settings: Settings) -> dict[str, Any]:
    """The configuration's schedule without its length and warm-up in epochs, which differ between the variants."""
    own = settings.values.get("schedule") or {}
    return {key: value for key, value in own.items() if key in {"name", "min_lr", "warmup_steps"}}


def scores_of(config: RunConfig, settings: Settings) -> dict[str, float]:
    """Video AUC per test set of one run; trained now, unless it is finished with the same settings."""
    import torch
    import yaml

    from training.distributed import Processes
    from training.session import Session

    folder = config.paths.runs / str(config.name)
    stored = folder / "config.yaml"
    same = stored.is_file() and yaml.safe_load(stored.read_text(encoding="utf-8")) == config.resolved()
    if not same and folder.exists():
        shutil.rmtree(folder)
    device = "cuda" if config.trainer.device != "cpu" and torch.cuda.is_available() else "cpu"
    session = Session(config, settings, Processes(0, 1, torch.device(device)))
    if not session.is_finished() and (status := session.train_and_test(resume=same and session.has_checkpoint())):
        raise SystemExit(status)  # stopped by a signal; the next call goes on from there
    results = [read_result(path) for path in sorted((folder / "results").glob("*.json"))]
    return {result["dataset"]: result["metrics"]["video"]["auc"] for result in results}


def table(found: dict[str, dict[int, dict[str, float]]]) -> str:
    """Markdown: video AUC in percent per test set, every seed, mean and standard deviation, gain over no blending.

    The gain is the mean over the seeds of the difference to the same seed without blending, ± its standard error.
    """
    seeds = sorted(next(iter(found.values())))
    lines = [
        "| test set | blending | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | std | gain |",
        "|---|---|" + "---:|" * (len(seeds) + 3),
    ]
    for dataset in next(iter(found[WITHOUT].values())):
        for variant, runs in found.items():
            values = [100 * runs[seed][dataset] for seed in seeds]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            gains = [100 * (runs[seed][dataset] - found[WITHOUT][seed][dataset]) for seed in seeds]
            error = f" ± {statistics.stdev(gains) / len(gains) ** 0.5:.2f}" if len(gains) > 1 else ""
            gain = "" if variant == WITHOUT else f"{statistics.mean(gains):+.2f}{error}"
            cells = [*(f"{value:.2f}" for value in values), f"{statistics.mean(values):.2f}", f"{spread:.2f}", gain]
            lines.append(f"| {dataset} | {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(options: argparse.Namespace, overrides: list[str]) -> int:
    """Train every variant with every seed, print and store the table; see ``parse``."""
    setup_logging()
    for plugin in options.plugins:
        load_plugin(plugin)
    columns = variants(settings_of(options, overrides, options.seeds[0]), options.shares)
    found: dict[str, dict[int, dict[str, float]]] = {name: {} for name in columns}
    for seed in options.seeds:
        for name, augmentation in columns.items():
            folder = f"{name.replace(' ', '_')}-seed{seed}"
            found[name][seed] = scores_of(*run_config(options, overrides, augmentation, folder, seed))
    text = table(found)
    options.runs.mkdir(parents=True, exist_ok=True)
    facts = {"options": {**vars(options), "runs": str(options.runs)}, "overrides": overrides, "video_auc": found}
    (options.runs / "table.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (options.runs / "table.md").write_text(text + "\n", encoding="utf-8")
    print(f"\nvideo AUC in percent, {options.steps} steps\n\n{text}")
    return 0


def main() -> int:
    """Entry point."""
    return guarded(lambda: run(*parse(sys.argv[1:])))


if __name__ == "__main__":
    sys.exit(main())
