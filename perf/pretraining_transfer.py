"""What pre-training is worth with few labels: FSFM against a plain masked auto-encoder and a random start.

    python -m perf.pretraining_transfer --seeds 3 --labels 16          # from the repository's root

For every seed a small ViT is pre-trained on unlabelled real faces, once as FSFM (CRFR-P masks, region loss, moving
target) and once as a plain masked auto-encoder (random masks, pixel loss only), for the same number of steps. Both, and
a random start, are fine-tuned on the same few labelled videos and scored on worlds that were not trained on. The last
weights are scored: no validation data is looked at. Printed: one Markdown table of video AUC, mean and standard
deviation over the seeds.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

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
STARTS: dict[str, tuple[str, ...] | None] = {"random start": None, "plain masked auto-encoder": PLAIN, "FSFM": ()}
"""What each pre-training changes in the configuration; None is no pre-training."""
RANDOM_START = ("optimizer.layer_decay=null",)  # lower rates in lower layers only make sense for trained ones
FEW = "demo/FewLabels"
TESTS = ["demo/CDFv2", "demo/MCIO/msu", "demo/MCIO/casia", "demo/MCIO/replay", "demo/MCIO/oulu"]


def run(config: Path, overrides: Sequence[str]) -> Path:
    """One run in this process, unless it is finished already.

    Returns:
        The run folder.
    """
    settings, merged = load_run_config(config, list(overrides))
    session = Session(settings, merged, Processes(0, 1, torch.device("cpu")))
    finished = session.run / "finished"
    if not finished.is_file():
        if (session.run / "checkpoints").exists():
            shutil.rmtree(session.run)
        session.train_and_test(resume=False)
        finished.touch()
    return session.run


def few_labels(paths: PathsConfig, word: str, labels: int, seed: int) -> None:
    """An index of ``labels`` real and as many fake training videos, drawn by the seed, as dataset ``FEW``."""
    _, listing = load_word(word, "train", paths, {})
    rng = np.random.default_rng(seed)
    chosen: list[VideoRecord] = []
    for label in (0, 1):
        videos = [record for record in listing.records if record.label == label]
        if len(videos) < labels:
            raise DataError(f"{word} has only {len(videos)} training videos of class {label}, fewer than {labels}.")
        chosen += [videos[number] for number in rng.permutation(len(videos))[:labels]]
    write_index(paths.indexes / "FewLabels.json", FEW, chosen, {"made_by": "perf.pretraining_transfer"})
    card = f"name: {FEW}\ntitle: few labelled videos of {word}\nindex: [FewLabels]\nfolders: ['FF++']\nlevel: c23\n"
    (paths.indexes / "FewLabels.yaml").write_text(card, encoding="utf-8")


def one_seed(options: argparse.Namespace, paths: PathsConfig, seed: int) -> dict[str, dict[str, float]]:
    """Video AUC of every start on every test world."""
    few_labels(paths, options.labelled, options.labels, seed)
    common = [f"trainer.seed={seed}", f"paths.data={paths.data}", f"paths.indexes={paths.indexes}",
              f"paths.runs={paths.runs}", "trainer.device=cpu", "trainer.precision=fp32"]  # fmt: skip
    scores = {}
    for title, change in STARTS.items():
        name = f"{title.replace(' ', '_')}-{seed}"
        weights = "null"
        if change is not None:
            words = [f"name=pretrain-{name}", f"data.train={list(options.unlabelled)}", "schedule.epochs=null",
                     f"schedule.steps={options.pretrain_steps}", "schedule.warmup_epochs=0",
                     f"schedule.warmup_steps={options.pretrain_steps // 10}", *change, *options.pretrain]  # fmt: skip
            weights = str(run(CONFIG_DIR / "fsfm_pretrain_demo.yaml", [*common, *words]))
        words = [f"name=finetune-{name}", f"data.train=[{FEW}]", f"data.test={list(options.test)}",
                 f"backbone.weights={weights}", "data.normalize=" + ("backbone" if change is not None else "dataset"),
                 "schedule.epochs=null", f"schedule.steps={options.finetune_steps}", "schedule.warmup_epochs=0",
                 f"schedule.warmup_steps={options.finetune_steps // 10}", "evaluation.select.metric=last",
                 f"trainer.batch_size={min(64, 2 * options.labels)}",
                 *(RANDOM_START if change is None else ()), *options.finetune]  # fmt: skip
        folder = run(CONFIG_DIR / "fsfm_demo.yaml", [*common, *words])
        results = [read_result(path) for path in sorted((folder / "results").glob("*.json"))]
        scores[title] = {result["dataset"]: float(result["metrics"]["video"]["auc"]) for result in results}
    return scores


def table(scores: Sequence[dict[str, dict[str, float]]]) -> str:
    """Markdown: starts down, worlds across, mean and standard deviation over the seeds; MCIO also averaged."""
    scores = [{start: with_mean(values) for start, values in seed.items()} for seed in scores]
    worlds = list(scores[0]["FSFM"])
    lines = ["| start | " + " | ".join(worlds) + " |", "|---|" + "---:|" * len(worlds)]
    for start in STARTS:
        cells = []
        for world in worlds:
            values = [seed[start][world] for seed in scores]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        lines.append(f"| {start} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_mean(values: dict[str, float]) -> dict[str, float]:
    """Scores by world, with the mean over the domains of MCIO when there are several."""
    domains = [value for world, value in values.items() if world.startswith("demo/MCIO/")]
    return {**values, "demo/MCIO, mean": statistics.mean(domains)} if len(domains) > 1 else values


def compare(options: argparse.Namespace) -> int:
    """Run everything and print the table."""
    setup_logging()
    scores = []
    for seed in range(options.seeds):
        indexes = options.work / "indexes" / f"seed-{seed}"  # each seed has its own few labels
        paths = PathsConfig(data=options.data, indexes=indexes, runs=options.work / "runs")
        shutil.copytree(options.indexes, paths.indexes, dirs_exist_ok=True)
        scores.append(one_seed(options, paths, seed))
    print(
        f"Video AUC; {options.labels} + {options.labels} labelled videos of {options.labelled}; pre-training "
        f"{options.pretrain_steps} steps on {', '.join(options.unlabelled)}; {options.seeds} seeds\n"
    )
    print(table(scores))
    return 0


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(prog="perf.pretraining_transfer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=16, help="labelled videos per class")
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--finetune-steps", type=int, default=200)
    parser.add_argument("--unlabelled", nargs="+", default=["demo/Faces"], metavar="WORLD", help="for pre-training")
    parser.add_argument(
        "--labelled", default="demo/FF++", metavar="WORLD", help="labels are taken from its train split"
    )
    parser.add_argument("--test", nargs="+", default=TESTS, metavar="WORLD")
    parser.add_argument("--pretrain", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the pre-training")
    parser.add_argument("--finetune", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the fine-tuning")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--indexes", type=Path, default=Path("datasets_json"))
    parser.add_argument("--work", type=Path, default=Path("runs/transfer"), help="finished runs here are not repeated")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: compare(parse())))
