"""Run tasks in this process, in a pool of processes or on a Ray cluster, giving results in the order of the tasks.

Every engine is a function of one shape, over the same ``process_item``.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

import cv2

from benchmark.errors import ConfigError, DataError, did_you_mean
from benchmark.registry import load_plugin
from preprocessing.task import ItemResult, Task, process_item


def default_workers() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Engine = Callable[[Sequence[Task], int | None, Sequence[str]], Iterator[ItemResult]]


def find_engine(name: str) -> Engine:
    """The engine called ``local`` or ``ray``; Ray is imported only when it is asked for.

    Raises:
        ConfigError: no such engine.
        RegistryError: Ray is not installed.
    """
    if name == "local":
        return run_local
    if name == "ray":
        from preprocessing.engine_ray import load_ray, run_ray

        load_ray()
        return run_ray
    raise ConfigError(f"--engine {name} is not known. Allowed: local, ray.{did_you_mean(name, ['local', 'ray'])}")


def run_local(tasks: Sequence[Task], workers: int | None = None, plugins: Sequence[str] = ()) -> Iterator[ItemResult]:
    """Results in the order of ``tasks``, whatever the number of workers.

    Args:
        tasks: what to do.
        workers: processes; 1 works in this process, None is one per core.
        plugins: files or modules a worker loads before its first task (see ``--plugins``).

    Raises:
        DataError: a worker process died; the message names the tasks it may have been working on.
    """
    workers = workers or default_workers()
    if workers == 1 or len(tasks) < 2:
        yield from map(process_item, tasks)
        return
    pool = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), _start_worker, (tuple(plugins),))
    try:
        yield from _ordered(pool, tasks, window=2 * workers)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ordered(pool: ProcessPoolExecutor, tasks: Sequence[Task], window: int) -> Iterator[ItemResult]:
    """Keep ``window`` tasks in flight: enough to keep workers busy, few enough to bound finished crops in memory."""
    rest = iter(tasks)
    running: deque[tuple[Task, Future[ItemResult]]] = deque()
    try:
        while True:
            while len(running) < window and (task := next(rest, None)) is not None:
                running.append((task, pool.submit(process_item, task)))
            if not running:
                return
            yield running[0][1].result()
            running.popleft()
    except BrokenProcessPool as error:
        names = ", ".join(task.item.id for task, _ in list(running)[:4])
        raise DataError(
            f"A worker process died (out of memory, or a crash in a library), near {names or 'the last item'}. "
            "What was finished is kept; run the same command again, perhaps with --workers 1 to see which item it is."
        ) from error


def _start_worker(plugins: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # on Ctrl-C end at once and silently; the parent keeps what is done
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for plugin in plugins:
        load_plugin(plugin)


def _end_with_parent() -> None:
    """A parent that was killed cannot stop its workers; without this they would wait for ever."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
