"""Write the networks of a pre-training run as FSFM's published pair of files.

python training/export.py runs/fsfm_pretrain --out checkpoints
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmark.cli import guarded, setup_logging


def parse(arguments: list[str]) -> argparse.Namespace:
    """Command line to options."""
    parser = argparse.ArgumentParser(
        prog="training/export.py",
        description="Write a pre-training run as checkpoint-E.pth, checkpoint-te-E.pth and the statistics file.",
        epilog="example: python training/export.py runs/fsfm_pretrain --out checkpoints",
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the files go")
    parser.add_argument(
        "--checkpoint", default="last", metavar="last|best|EPOCHS",
        help="which checkpoint of the run; EPOCHS: the one kept after so many epochs (trainer.keep_every_epochs)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def export(run: Path, out: Path, checkpoint: str = "last") -> tuple[Path, Path]:
    """Convert a checkpoint of a run; tensors in the published order of keys.

    Args:
        run: run folder of detector ``fsfm_pretrain``.
        out: folder for the files.
        checkpoint: ``last``, ``best``, or a number of finished epochs.

    Returns:
        The online network's and the target's file.

    Raises:
        CheckpointError: the folder is no pre-training run, has no such checkpoint, or no epoch is finished.
    """
    import torch

    from backbones.fsfm_checkpoints import network, write_pretraining
    from backbones.weights import check_fit, read_checkpoint
    from benchmark.errors import CheckpointError
    from benchmark.schema import load_run_config
    from detectors.fsfm_pretrain import FSFMPretrain
    from training.checkpoint import CheckpointStore
    from training.pipeline import build_detector
    from training.settings import without_initial_weights

    if not (run / "config.yaml").is_file():
        raise CheckpointError(f"{run} is no run folder: it has no config.yaml.")
    config, settings = load_run_config(run / "config.yaml", ["detector.weights=null", "detector.target_weights=null"])
    if config.detector.name != "fsfm_pretrain":
        raise CheckpointError(f"{run} is a run of detector {config.detector.name}, not of fsfm_pretrain.")
    with torch.device("meta"):
        detector = build_detector(without_initial_weights(config), settings)
    assert isinstance(detector, FSFMPretrain)
    store = CheckpointStore(run)
    which: str | int = checkpoint
    if checkpoint.isdecimal():
        which = int(checkpoint) * store.load_state()["steps_per_epoch"]
    elif checkpoint not in {"last", "best"}:
        raise CheckpointError(f"--checkpoint {checkpoint}: expected last, best, or a number of finished epochs.")
    weights = store.weights_path(which)
    content, state = read_checkpoint(weights), store.load_state(which)
    epochs, rest = divmod(state["progress"]["step"], state["steps_per_epoch"])
    if not epochs or rest:
        raise CheckpointError(f"{weights.parent} lies inside an epoch; the published layout knows whole epochs only.")
    networks = {}
    for name in ("online", "target"):
        keys = getattr(detector, name).state_dict()
        tensors = check_fit(keys, network(content["model"], name), weights, may_miss=set())
        networks[name] = {key: tensors[key] for key in keys}
    facts = json.loads(content["metadata"]["input"])
    return write_pretraining(
        out,
        networks["online"],
        networks["target"],
        epoch=epochs - 1,
        optimizer=state["optimizers"]["main"],
        scaler=state["scaler"],
        settings=config.resolved(),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )


def run(options: argparse.Namespace) -> int:
    """Export and say where the files are; see ``parse``."""
    from loguru import logger

    setup_logging()
    for file in export(options.run, options.out, options.checkpoint):
        logger.info("Wrote {}", file)
    return 0


def main() -> int:
    """Entry point."""
    return guarded(lambda: run(parse(sys.argv[1:])))


if __name__ == "__main__":
    sys.exit(main())
