"""The tasks over a Ray cluster, for several machines (``pip install 'face-security-benchmark[cluster]'``).

Every machine must see the raw files, and the model files named on the command line, under the same paths, and have
this project installed. The machine that runs ``prepare`` is the only one that writes. An address in RAY_ADDRESS joins
a running cluster; without one Ray starts on this machine alone.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from benchmark.errors import DataError, RegistryError
from benchmark.registry import load_plugin
from preprocessing.task import ItemResult, Task, process_item

_RETRIES = 2  # of a task whose machine went away


def load_ray() -> Any:
    """The Ray module.

    Raises:
        RegistryError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise RegistryError(
            "--engine ray needs Ray, which is not installed: pip install 'face-security-benchmark[cluster]'"
        ) from error
    return ray


def run_ray(tasks: Sequence[Task], workers: int | None = None, plugins: Sequence[str] = ()) -> Iterator[ItemResult]:
    """Results in the order of ``tasks``; twice as many tasks as workers are in flight.

    Args:
        tasks: what to do.
        workers: tasks at once; None for one per CPU of the cluster.
        plugins: files or modules a worker loads before each task (once per process).

    Raises:
        DataError: the cluster cannot be reached, or a task failed there for good; names the task.
    """
    ray = load_ray()
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS"), ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise DataError(f"--engine ray: no cluster ({error}). Check RAY_ADDRESS, or use --engine local.") from error
    run = ray.remote(num_cpus=1, max_retries=_RETRIES)(_work)
    window = 2 * (workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
    rest = iter(tasks)
    running: deque[tuple[Task, Any]] = deque()
    while True:
        while len(running) < window and (task := next(rest, None)) is not None:
            running.append((task, run.remote(task, tuple(plugins))))
        if not running:
            return
        task, reference = running.popleft()
        try:
            yield ray.get(reference)
        except ray.exceptions.RayError as error:
            raise DataError(
                f"--engine ray: {task.item.id} failed ({str(error).strip().splitlines()[-1]}). "
                "What was finished is kept; run the same command again."
            ) from error


def _work(task: Task, plugins: Sequence[str]) -> ItemResult:
    import cv2

    cv2.setNumThreads(1)
    for plugin in plugins:
        load_plugin(plugin)
    return process_item(task)
