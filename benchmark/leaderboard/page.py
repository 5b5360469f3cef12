"""The leaderboard as one self-contained web page.

Nothing in it comes from elsewhere (a content security policy enforces that), and text of result files reaches the
page only as JSON that the script shows with ``textContent``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import yaml

from benchmark.errors import DataError
from benchmark.leaderboard.metrics import METRICS
from benchmark.leaderboard.published import Source
from benchmark.leaderboard.rows import MEASURED, Row, finite

_STATIC = Path(__file__).resolve().parent / "static"


def page(rows: Sequence[Row], details: Mapping[str, Mapping[str, Any]], robustness: Iterable[str] = ()) -> str:
    """The HTML document.

    Args:
        rows: marked rows.
        details: by ``Row.detail``, see ``run_detail`` and ``source_detail``.
        robustness: SVG charts of ``charts.py``, whose text is already escaped.
    """
    style, script = (_STATIC / "page.css").read_text("utf-8"), (_STATIC / "page.js").read_text("utf-8")
    charts = "".join(f'<div class="robustness">{chart}</div>' for chart in robustness)
    section = f"<details open><summary>Robustness</summary>{charts}</details>" if charts else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template((_STATIC / "page.html").read_text("utf-8")).substitute(
        policy=policy, style=style, script=script, data=_json(_data(rows, details)), robustness=section
    )


def _source(text: str) -> str:
    """The content-security-policy source that allows exactly this inline text."""
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _json(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _data(rows: Sequence[Row], details: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    measured = sum(row.kind == MEASURED for row in rows)
    return {
        "about": f"{measured} measured and {len(rows) - measured} published rows.",
        "metrics": [
            {"key": metric.key, "label": metric.label, "lower": metric.lower, "percent": metric.percent}
            for metric in METRICS
            if any(metric.key in row.values for row in rows)
        ],
        "start": _start(rows),
        "rows": [_row(row) for row in rows],
        "details": details,
    }


def _start(rows: Sequence[Row]) -> dict[str, str]:
    """What is shown first: the protocol with most measured rows, and its fullest test set and level."""
    preferred = [row for row in rows if row.kind == MEASURED and "~" not in row.test] or list(rows)
    if not preferred:
        return {}
    protocol = Counter(row.protocol for row in preferred).most_common(1)[0][0]
    inside = [row for row in preferred if row.protocol == protocol]
    counts = Counter((row.test, row.level) for row in inside)
    test, level = max(counts, key=lambda key: (counts[key], key[1] == "video"))
    metric = "auc" if any("auc" in row.values for row in inside) else METRICS[0].key
    return {"protocol": protocol, "test": test, "level": level, "metric": metric}


def _row(row: Row) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "detector": row.detector,
        "about": row.about,
        "train": row.train,
        "test": row.test,
        "level": row.level,
        "protocol": row.protocol,
        "fold": row.fold,
        "values": {name: list(value) for name, value in row.values.items()},
        "marks": [{"text": mark.text, "why": mark.why, "differs": mark.differs} for mark in row.marks],
        "parameters": row.parameters,
        "speed": row.speed,
        "detail": row.detail,
    }


def run_detail(path: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """What the detail view shows of a result file.

    Raises:
        DataError: a part of it is not what a result file holds.
    """
    try:
        return _run_detail(path, result)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: not a complete result file ({type(error).__name__}: {error}).") from error


def _run_detail(path: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    counts, data, code = (result.get(key) or {} for key in ("counts", "data", "code"))
    hardware, versions = result.get("hardware") or {}, result.get("versions") or {}
    weights, predictions = result.get("weights") or {}, result.get("predictions") or {}
    protocol = result.get("protocol") or {}
    commit = code.get("commit")
    facts = [
        ("result file", path.as_posix()),
        ("time", result.get("time")),
        ("protocol", f"{protocol.get('name')} version {protocol.get('version')}" if protocol else None),
        ("scored", f"{counts.get('samples')} samples, {counts.get('videos')} videos, {counts.get('missing')} missing"),
        ("data fingerprint", data.get("fingerprint")),
        *((f"index of {word}", _origin(facts)) for word, facts in (data.get("origin") or {}).items()),
        ("checkpoint rule", json.dumps(result["selection"]) if result.get("selection") else None),
        ("weights", _file(weights)),
        ("predictions", _file(predictions)),
        ("code", f"{commit}{' with uncommitted changes' if code.get('dirty') else ''}" if commit else None),
        ("seed", result.get("seed")),
        ("hardware", ", ".join(f"{key} {value}" for key, value in hardware.items() if value)),
        ("versions", ", ".join(f"{key} {value}" for key, value in versions.items() if value)),
    ]
    config = result.get("config")
    return {
        "facts": [[name, value] for name, value in facts if value not in (None, "")],
        **_curves(result),
        "config": yaml.safe_dump(config, sort_keys=False) if config else None,
    }


def _curves(result: Mapping[str, Any]) -> dict[str, Any]:
    """ROC curves and manipulations with every number checked: the page draws them without asking."""
    roc = {
        level: {axis: [finite(value) for value in curve[axis]] for axis in ("fpr", "tpr")}
        for level, curve in (result.get("roc") or {}).items()
        if curve
    }
    manipulations = {
        name: {"auc": finite(item["auc"]), "interval": [finite(end) for end in item["interval"] or ()] or None}
        for name, item in (result.get("manipulations") or {}).items()
    }
    return {"roc": roc or None, "manipulations": manipulations}


def _origin(facts: Mapping[str, Any]) -> str:
    left_out = len(facts.get("left_out") or ())
    return f"sha256 {facts.get('index_sha256')}; {left_out} entries left out"


def _file(facts: Mapping[str, Any]) -> str | None:
    return f"{facts['file']} (sha256 {facts.get('sha256')})" if facts.get("file") else None


def source_detail(source: Source) -> dict[str, Any]:
    """What the detail view shows of a published source."""
    on_test = {True: "yes", False: "no", None: "not stated"}[source.on_test]
    facts = [
        ("source", source.citation),
        ("evidence", source.evidence),
        ("checkpoint rule", source.selection or "not stated"),
        ("chosen on test data", on_test),
        ("face crop", source.crop or "not stated"),
        ("frames", source.frames or "not stated"),
    ]
    return {"facts": [list(fact) for fact in facts]}
