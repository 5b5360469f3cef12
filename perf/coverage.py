"""Do 95 % intervals hold the truth 95 % of the time? Simulated videos with a known AUC.

    python -m perf.coverage                # half a minute
    python -m perf.coverage --draws 2000

Scores are normal within each class, pushed through a logistic curve; frames of a video share a part of their variance.
Prints the share of draws in which each interval holds the true AUC, with its simulation error.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from benchmark.intervals import Interval, bootstrap, delong
from benchmark.metrics import Scores


@dataclass(frozen=True)
class Case:
    """One simulated test set.

    Attributes:
        reals, fakes: videos of each class.
        shift: distance of the class means in standard deviations.
        frames: per video.
        shared: part of the variance that the frames of a video share.
    """

    reals: int
    fakes: int
    shift: float
    frames: int = 1
    shared: float = 0.0

    def draw(self, rng: np.random.Generator) -> tuple[Scores, np.ndarray]:
        """Scores and video numbers."""
        videos = np.repeat([0, 1], [self.reals, self.fakes])
        labels, units = np.repeat(videos, self.frames), np.repeat(np.arange(len(videos)), self.frames)
        base = np.repeat(rng.normal(size=len(videos)), self.frames) * np.sqrt(self.shared)
        noise = rng.normal(size=len(labels)) * np.sqrt(1 - self.shared)
        return Scores(labels, 1 / (1 + np.exp(-(self.shift * labels + base + noise)))), units

    @property
    def auc(self) -> float:
        """The true AUC."""
        return NormalDist().cdf(self.shift / np.sqrt(2))

    def __str__(self) -> str:
        frames = f"{self.frames} frames, {self.shared:.0%} shared" if self.frames > 1 else "1 score"
        return f"{self.reals} + {self.fakes} videos, {frames}, AUC {self.auc:.3f}"


CASES = (
    Case(20, 20, 1.0), Case(60, 60, 1.0), Case(140, 560, 1.0), Case(60, 60, 2.5), Case(40, 40, 3.5),
    Case(60, 60, 1.0, frames=8, shared=0.7),
)  # fmt: skip
METHODS: dict[str, Callable[[Scores, np.ndarray, int], Interval | None]] = {
    "DeLong by video": lambda data, units, seed: (estimate := delong(data, units)) and estimate.interval(),
    "bootstrap by video": lambda data, units, seed: bootstrap(data, units, 500, seed)["auc"],
    "DeLong by frame": lambda data, units, seed: (estimate := delong(data)) and estimate.interval(),
}


def main() -> None:
    """Simulate every case and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--draws", type=int, default=400)
    draws = parser.parse_args().draws
    print(f"| test set ({draws} draws) | {' | '.join(METHODS)} |\n|---|{'---:|' * len(METHODS)}")
    for case in CASES:
        rng = np.random.default_rng(0)
        hits = dict.fromkeys(METHODS, 0)
        for seed in range(draws):
            data, units = case.draw(rng)
            for name, method in METHODS.items():
                interval = method(data, units, seed)
                hits[name] += interval is not None and interval[0] <= case.auc <= interval[1]
        shares = [hits[name] / draws for name in METHODS]
        print(f"| {case} | {' | '.join(f'{share:.3f}' for share in shares)} |")
    print(f"\nSimulation error of a share of 0.95: {np.sqrt(0.95 * 0.05 / draws):.3f}.")


if __name__ == "__main__":
    main()
