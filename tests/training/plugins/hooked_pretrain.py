"""Pre-training that is killed on demand and tells what each process holds (see ``hooked.py``)."""

import os
import signal
from pathlib import Path

from safetensors.torch import save_file
from torch import distributed

from benchmark.registry import DETECTORS
from detectors.fsfm_pretrain import FSFMPretrain


@DETECTORS.register("hooked_pretrain")
class HookedPretrain(FSFMPretrain):
    """FSFM pre-training that is killed after a step, or writes every process's target to a folder."""

    def after_step(self, step, total_steps):
        super().after_step(step, total_steps)
        name, _, value = os.environ.get("HOOKED", "").partition(":")
        if name == "kill" and int(value) == step + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "term" and int(value) == step + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if name.startswith("dump") and step in (0, total_steps - 1):
            rank = distributed.get_rank() if distributed.is_initialized() else 0
            when = "first" if step == 0 else "last"
            save_file(self.target.state_dict(), Path(value) / f"{when}-{rank}.safetensors")
        if name == "dump-and-stop" and step + 1 == 8:  # processes agree on a stop every eight steps
            os.kill(os.getpid(), signal.SIGTERM)
