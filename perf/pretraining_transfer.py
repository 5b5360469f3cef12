"""What pre-training is worth with few labels: FSFM against a plain masked auto-encoder and a random start.

    python -m perf.pretraining_transfer --test demo/FF++ demo/CDFv2 demo/DFDC      # from the repository's root

For every seed a small ViT is pre-trained on unlabelled real faces, once as FSFM (CRFR-P masks, region loss, moving
target) and once as a plain masked auto-encoder (random masks, pixel loss only), for the same number of steps. Both, and
a random start, are fine-tuned on the same few labelled videos and scored on worlds that were not trained on. The last
weights are scored: no validation data is looked at. Printed: one Markdown table of video AUC, mean and standard
deviation over the seeds, and the values of every seed.

What is finished in the working folder with the same settings is not done again, so seeds can be run in several
processes and put together by a last call with all of them. The commands of the tables in ``perf/README.md``,
anti-spoofing too, are there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmark.cli import guarded, setup_logging
from benchmark.config import CONFIG_DIR
from benchmark.data.index import VideoRecord, write_index
from benchmark.data.readers import load_word
from benchmark.errors import DataError
from benchmark.results import read_result
from benchmark.schema import PathsConfig, load_run_config
from training.distributed import Processes
from training.session import Session

PLAIN = ("detector.masking={name: random}", "detector.contrast_weight=0", "detector.region_weight=0")
STARTS: dict[str, tuple[str, ...] | None] = {
    "random start": None,
    "plain masked auto-encoder": PLAIN,
    "FSFM": (),
    "FSFM's masks alone": ("detector.contrast_weight=0", "detector.region_weight=0"),
    "FSFM without its masks": ("detector.masking={name: random}", "detector.region_weight=0"),
}
"""What each pre-training changes in the configuration; None is no pre-training."""
COMPARED = list(STARTS)[:3]
RANDOM_START = ("optimizer.layer_decay=null",)  # lower rates in lower layers only make sense for trained ones


def run(config: Path, overrides: Sequence[str]) -> Path:
    """One run in this process, unless it is finished already with the same settings.

    Returns:
        The run folder.
    """
    settings, merged = load_run_config(config, list(overrides))
    session = Session(settings, merged, Processes(0, 1, torch.device("cpu")))
    finished, stored = session.run / "finished", session.run / "config.yaml"
    same = stored.is_file() and yaml.safe_load(stored.read_text(encoding="utf-8")) == settings.resolved()
    if not (same and finished.is_file()):
        if session.run.exists():
            shutil.rmtree(session.run)
        if status := session.train_and_test(resume=False):
            raise SystemExit(status)  # stopped by a signal
        finished.touch()
    return session.run


def few_labels(paths: PathsConfig, word: str, labels: int, seed: int) -> None:
    """Cut the train split of a world's index down to ``labels`` videos of each class, drawn by the seed."""
    _, listing = load_word(word, "train", paths, {})
    rng = np.random.default_rng(seed)
    chosen: list[VideoRecord] = []
    for label in (0, 1):
        videos = [record for record in listing.records if record.label == label]
        if len(videos) < labels:
            raise DataError(f"{word} has only {len(videos)} training videos of class {label}, fewer than {labels}.")
        chosen += [videos[number] for number in rng.permutation(len(videos))[:labels]]
    for split in ("val", "test"):
        chosen += load_word(word, split, paths, {})[1].records
    index = paths.indexes / f"{word}.json"
    name = next(iter(json.loads(index.read_text(encoding="utf-8"))))
    write_index(index, name, chosen, listing.meta)


def one_seed(options: argparse.Namespace, paths: PathsConfig, seed: int) -> dict[str, dict[str, float]]:
    """Video AUC by start and test world."""
    for word in options.labelled:
        few_labels(paths, word, options.labels, seed)
    common = [f"trainer.seed={seed}", f"paths.data={paths.data}", f"paths.indexes={paths.indexes}",
              f"paths.runs={paths.runs}", "trainer.device=cpu", "trainer.precision=fp32"]  # fmt: skip
    task = f"{'+'.join(options.labelled)}-{options.labels}".replace("/", "_")
    scores = {}
    for title in options.starts:
        change = STARTS[title]
        name = f"{title.replace(' ', '_')}-{seed}".replace("'", "")
        weights = "null"
        if change is not None:
            words = [f"name=pretrain-{name}", f"data.train={list(options.unlabelled)}",
                     *steps(options.pretrain_steps), *change, *options.pretrain]  # fmt: skip
            weights = str(run(CONFIG_DIR / "fsfm_pretrain_demo.yaml", [*common, *words]))
        words = [f"name=finetune-{task}-{name}", f"data.train={list(options.labelled)}",
                 f"data.test={list(options.test)}", f"backbone.weights={weights}",
                 "data.normalize=" + ("backbone" if change is not None else "dataset"),
                 *steps(options.finetune_steps), "evaluation.select.metric=last",
                 *(RANDOM_START if change is None else ()), *options.finetune]  # fmt: skip
        folder = run(CONFIG_DIR / "fsfm_demo.yaml", [*common, *words])
        results = [read_result(path) for path in sorted((folder / "results").glob("*.json"))]
        scores[title] = {result["dataset"]: float(result["metrics"]["video"]["auc"]) for result in results}
    return scores


def steps(number: int) -> list[str]:
    """A schedule of so many steps, the first tenth of them warm-up."""
    return ["schedule.epochs=null", f"schedule.steps={number}", "schedule.warmup_epochs=0",
            f"schedule.warmup_steps={number // 10}"]  # fmt: skip


def table(scores: Mapping[int, dict[str, dict[str, float]]]) -> str:
    """Markdown: starts down; for every world mean, standard deviation over the seeds, and every seed's value.

    Below them what FSFM is ahead of the others: mean difference of the same seed, ± its standard error.
    """
    starts = list(next(iter(scores.values())))
    worlds = list(next(iter(scores.values()))[starts[0]])
    lines = ["| start | " + " | ".join(worlds) + " |", "|---|" + "---:|" * len(worlds)]
    for start in starts:
        cells = []
        for world in worlds:
            values = [seed[start][world] for seed in scores.values()]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            each = ", ".join(f"{value:.3f}" for value in values)
            cells.append(f"{statistics.mean(values):.3f}{spread} ({each})")
        lines.append(f"| {start} | " + " | ".join(cells) + " |")
    for start in [name for name in starts if name != "FSFM" and "FSFM" in starts]:
        cells = []
        for world in worlds:
            ahead = [seed["FSFM"][world] - seed[start][world] for seed in scores.values()]
            error = f" ± {statistics.stdev(ahead) / len(ahead) ** 0.5:.3f}" if len(ahead) > 1 else ""
            cells.append(f"{statistics.mean(ahead):+.3f}{error}")
        lines.append(f"| FSFM - {start} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_mean(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Scores by start and world, with the mean over the domains of MCIO when there are several."""
    result = {}
    for start, values in scores.items():
        domains = [value for world, value in values.items() if world.startswith("demo/MCIO/")]
        mean = {"demo/MCIO, mean": statistics.mean(domains)} if len(domains) > 1 else {}
        result[start] = {**values, **mean}
    return result


def compare(options: argparse.Namespace) -> int:
    """Run everything and print the table."""
    setup_logging()
    scores = {}
    for seed in options.seeds:
        indexes = options.work / "indexes" / f"seed-{seed}"  # each seed has its own few labels
        paths = PathsConfig(data=options.data, indexes=indexes, runs=options.work / "runs")
        shutil.copytree(options.indexes, paths.indexes, dirs_exist_ok=True)
        scores[seed] = with_mean(one_seed(options, paths, seed))
    print(
        f"Video AUC; {options.labels} + {options.labels} labelled videos of {' and of '.join(options.labelled)}, "
        f"{options.finetune_steps} steps; pre-training {options.pretrain_steps} steps on "
        f"{', '.join(options.unlabelled)}; seeds {', '.join(map(str, options.seeds))}\n"
    )
    print(table(scores))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line to options."""
    parser = argparse.ArgumentParser(prog="perf.pretraining_transfer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--labels", type=int, default=176, help="labelled videos per class and world")
    parser.add_argument("--pretrain-steps", type=int, default=900)
    parser.add_argument("--finetune-steps", type=int, default=600)
    parser.add_argument("--unlabelled", nargs="+", default=["demo/Faces"], metavar="WORLD", help="for pre-training")
    parser.add_argument(
        "--labelled", nargs="+", default=["demo/FF++"], metavar="WORLD", help="labels are taken from the train splits"
    )
    parser.add_argument("--test", nargs="+", default=["demo/FF++", "demo/CDFv2"], metavar="WORLD")
    parser.add_argument("--starts", nargs="+", default=COMPARED, choices=list(STARTS), metavar="START",
                        help=f"what is compared, of: {'; '.join(STARTS)}")  # fmt: skip
    parser.add_argument("--pretrain", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the pre-training")
    parser.add_argument("--finetune", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the fine-tuning")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--indexes", type=Path, default=Path("datasets_json"))
    parser.add_argument("--work", type=Path, default=Path("runs/transfer"), help="finished runs here are not repeated")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: compare(parse(sys.argv[1:]))))
