"""What all command lines share: error reporting, logging, plugins, and ``key=value`` overrides."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

from benchmark.errors import BenchmarkError

_OVERRIDE = re.compile(r"^[A-Za-z_]\w*(\.\w+)*=")


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate ``key=value`` words from the rest of a command line, wherever they stand."""
    overrides = [word for word in arguments if _OVERRIDE.match(word)]
    return [word for word in arguments if not _OVERRIDE.match(word)], overrides


def guarded(main: Callable[[], int]) -> int:
    """Run a command: user errors become one clear message and exit status 2, never a traceback.

    Returns:
        Exit status; 130 after Ctrl-C.
    """
    try:
        return main()
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        return 141


def setup_logging(*, main: bool = True) -> None:
    """Console log: time, level, message; other processes only speak up when something is wrong."""
    from loguru import logger

    logger.remove()
    form = "<dim>{time:HH:mm:ss}</dim> <level>{level: <7}</level> {message}"
    logger.add(_through_tqdm, level="INFO" if main else "WARNING", format=form, colorize=sys.stderr.isatty())


def _through_tqdm(message: str) -> None:
    """Write above progress bars instead of through them."""
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr, end="")
