"""``python -m benchmark leaderboard``: from folders of result files to a site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loguru import logger

from benchmark.data.store import atomic_write_text
from benchmark.errors import DataError
from benchmark.leaderboard.charts import robustness_charts
from benchmark.leaderboard.marks import mark_rows
from benchmark.leaderboard.page import page, run_detail, source_detail
from benchmark.leaderboard.published import published_sources
from benchmark.leaderboard.rows import Row, find_results, measured_rows, published_rows
from benchmark.leaderboard.tables import comma_separated, markdown


def build_site(places: Sequence[Path], output: Path, *, with_published: bool = True) -> int:
    """Write ``index.html``, ``leaderboard.md`` and ``leaderboard.csv``; the same inputs give the same bytes.

    Args:
        places: folders of result files, or result files.
        output: folder of the site.
        with_published: also show published rows.

    Returns:
        Exit status.

    Raises:
        DataError: a place is missing, or there is nothing to show.
    """
    results = find_results(places)
    rows: list[Row] = [row for path, result in results for row in measured_rows(path, result)]
    details = {path.as_posix(): run_detail(path, result) for path, result in results}
    measured = len(rows)
    if with_published:
        rows += published_rows()
        details |= {f"published:{name}": source_detail(source) for name, source in published_sources().items()}
    if not rows:
        raise DataError(f"No result files below {', '.join(map(str, places))}, and no published rows asked for.")
    mark_rows(rows)
    charts = robustness_charts([result for _, result in results])
    atomic_write_text(output / "index.html", page(rows, details, charts.values()))
    atomic_write_text(output / "leaderboard.md", markdown(rows))
    atomic_write_text(output / "leaderboard.csv", comma_separated(rows))
    logger.info(
        "{} result files ({} rows) and {} published rows: {}",
        len(results), measured, len(rows) - measured, output / "index.html",
    )  # fmt: skip
    return 0
