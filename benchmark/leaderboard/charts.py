"""Robustness curves as SVG: one small chart per corruption, one line per detector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from loguru import logger

from benchmark.data.corruptions import KINDS, LEVELS
from benchmark.data.store import atomic_write_text
from benchmark.errors import DataError
from benchmark.leaderboard.rows import find_results

# Blue, orange, green, purple, red, olive: readable on white and on black.
COLOURS = ("#3a7fb5", "#d2691e", "#3d9a60", "#9a63b5", "#c8434b", "#8b8f2d")
_WIDTH, _HEIGHT, _COLUMNS = 210, 150, 4
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 10, 26, 24
Point = tuple[float, float | None, float | None]


def robustness_charts(
    results: Iterable[Mapping[str, Any]], metric: str = "auc", level: str = "video"
) -> dict[str, str]:
    """Charts by clean test set, from result files of corrupted test sets (``NAME~KIND-LEVEL``) and of the clean one.

    Args:
        results: contents of result files; others are passed over.
        metric: a metric of ``benchmark.metrics.summary`` that is a fraction.
        level: frame or video.
    """
    curves: dict[str, dict[str, dict[str, Point]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        test, _, condition = str(result["dataset"]).partition("~")
        value = result["metrics"][level].get(metric)
        if value is None:
            continue
        low, high = ((result.get("intervals") or {}).get(level) or {}).get(metric) or (None, None)
        name = str((result.get("config") or {}).get("name") or result["detector"])
        curves[test][name][condition] = (value, low, high)
    return {
        test: curve_svg(f"{test}: {level} {metric.upper()} under corruption, %", detectors)
        for test, detectors in sorted(curves.items())
        if any(condition for points in detectors.values() for condition in points)
    }


def curve_svg(title: str, detectors: Mapping[str, Mapping[str, Point]]) -> str:
    """Small charts in a grid with a common scale and a legend.

    Args:
        title: heading.
        detectors: by name, values with intervals by condition (``jpeg-3``; empty = untouched frames).
    """
    names = [name for name, points in detectors.items() if any(points)]
    kinds = [kind for kind in KINDS if any(f"{kind}-{step}" in detectors[name] for name in names for step in LEVELS)]
    low, high = _range([point for name in names for point in detectors[name].values()])
    rows = -(-len(kinds) // _COLUMNS)
    head, foot = 24, 18 * len(names) + 10
    width, height = min(len(kinds), _COLUMNS) * _WIDTH, head + rows * _HEIGHT + foot
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {max(width, 420)} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="currentColor">',
        f"<title>{escape(title)}</title>",
        f'<text x="4" y="15" font-size="13" font-weight="600">{escape(title)}</text>',
    ]
    for place, kind in enumerate(kinds):
        x, y = (place % _COLUMNS) * _WIDTH, head + (place // _COLUMNS) * _HEIGHT
        parts.append(f'<g transform="translate({x} {y})">{_panel(kind, names, detectors, low, high)}</g>')
    for place, name in enumerate(names):
        y = head + rows * _HEIGHT + 18 * place + 14
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<rect x="6" y="{y - 6}" width="16" height="3" fill="{colour}"/>')
        parts.append(f'<text x="28" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _range(points: Sequence[Point]) -> tuple[float, float]:
    values = [value for point in points for value in point if value is not None]
    low, high = min(values), max(values)
    return max(0.0, int(low * 20) / 20), min(1.0, (int(high * 20 - 1e-9) + 1) / 20)


def _panel(
    kind: str, names: Sequence[str], detectors: Mapping[str, Mapping[str, Point]], low: float, high: float
) -> str:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x_of(step: int) -> float:
        return _LEFT + width * step / LEVELS[-1]

    def y_of(value: float) -> float:
        return _TOP + height * (1 - (value - low) / max(high - low, 1e-9))

    parts = [f'<text x="{_LEFT}" y="16" font-weight="600">{kind}</text>']
    for value in (low, (low + high) / 2, high):
        y = y_of(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_LEFT + width}" stroke="currentColor" stroke-opacity=".15"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.4g}</text>')
    for step in (0, *LEVELS):
        parts.append(f'<text x="{x_of(step):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{step}</text>')
    for place, name in enumerate(names):
        colour = COLOURS[place % len(COLOURS)]
        points = [(step, detectors[name].get(f"{kind}-{step}" if step else "")) for step in (0, *LEVELS)]
        known = [(x_of(step), point) for step, point in points if point is not None]
        band = [(x, y_of(p[1]), y_of(p[2])) for x, p in known if p[1] is not None and p[2] is not None]
        if len(band) > 1:
            edge = [f"{x:.1f},{bottom:.1f}" for x, bottom, _ in band] + [
                f"{x:.1f},{top:.1f}" for x, _, top in band[::-1]
            ]
            parts.append(f'<polygon points="{" ".join(edge)}" fill="{colour}" fill-opacity=".15"/>')
        line = " ".join(f"{x:.1f},{y_of(point[0]):.1f}" for x, point in known)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y_of(point[0]):.1f}" r="2.2" fill="{colour}"/>' for x, point in known]
    return "".join(parts)


def write_robustness(places: Sequence[Path], output: Path, metric: str, level: str) -> int:
    """Write one SVG per clean test set; several sets go to ``OUTPUT_SET.svg``.

    Raises:
        DataError: no result of a corrupted test set is there.
    """
    charts = robustness_charts([result for _, result in find_results(places)], metric, level)
    if not charts:
        raise DataError(
            f"No results of corrupted test sets below {', '.join(map(str, places))}. Make them: python "
            "training/test.py --detector YAML --weights RUN --protocol robustness (or --test NAME~jpeg-3)."
        )
    for test, chart in charts.items():
        suffix = f"_{test.replace('/', '_')}" if len(charts) > 1 else ""
        path = output.with_name(f"{output.stem}{suffix}.svg")
        atomic_write_text(path, chart)
        logger.info("{}: {}", test, path)
    return 0
